"""Any order of claims, deaths, wakings and ends keeps the rules of lease and token."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db.models.functions import Now
from hypothesis import HealthCheck
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from pipeline import services
from pipeline.models import StageRun
from pipeline.services import LeaseLost, Opening
from pipeline.types import Claim, RetryIn

ATTEMPTS_MAX = 5
WORKERS = st.sampled_from(["a", "b", "c"])


class Errand:
    """Just enough of a stage to claim for."""

    name = "errand"


class Desk(RuleBasedStateMachine):
    """Three workers and one table; ``claims`` are all ever given, those of the dead too."""

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        StageRun.objects.all().delete()
        self.ended: dict[UUID, int] = {}
        self.tokens: dict[int, int] = {}
        self.holder: dict[int, int] = {}
        self.rng = Random(0)

    @rule()
    def open(self) -> None:
        subject = uuid4()
        opening = Opening(stage="errand", subject=subject, trace=subject, attempts_max=ATTEMPTS_MAX)
        services.open_runs([opening, opening])

    @rule(target=claims, worker=WORKERS, limit=st.integers(1, 3), suspects=st.booleans())
    def claim(self, worker: str, limit: int, suspects: bool) -> MultipleResults[Claim]:
        claims = services.claim(stage=Errand(), limit=limit, worker=worker, suspects=suspects)
        assert len(claims) <= limit
        for claim in claims:
            assert claim.token > self.tokens.get(claim.id, 0)
            assert claim.id not in self.holder, "taken while somebody held it"
            assert claim.subject not in self.ended
            self.tokens[claim.id] = self.holder[claim.id] = claim.token
        return multiple(*claims)

    @rule(claim=claims)
    def lease_lapses(self, claim: Claim) -> None:
        if self.holder.get(claim.id) == claim.token:
            StageRun.objects.filter(id=claim.id).update(lease_until=Now() - timedelta(seconds=1))
            del self.holder[claim.id]

    @rule(claim=claims, worker=WORKERS)
    def renew(self, claim: Claim, worker: str) -> None:
        row = StageRun.objects.get(id=claim.id)
        services.renew(claims=[claim], worker=worker)
        if row.status == "RUNNING" and row.worker == worker:
            self.holder[claim.id] = row.token

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        is_mine = self._is_mine(claim)
        try:
            services.finish(claim)
        except LeaseLost:
            assert not is_mine
        else:
            assert is_mine
            self._end(claim)

    @rule(claim=claims)
    def finish_many(self, claim: Claim) -> None:
        is_mine = self._is_mine(claim)
        held = services.finish_all([claim])
        assert held == ({claim.id} if is_mine else set())
        if is_mine:
            self._end(claim)

    @rule(claim=claims)
    def postpone(self, claim: Claim) -> None:
        is_mine = self._is_mine(claim)
        try:
            services.postpone(claim, result=RetryIn("later", code="TIMEOUT"), rng=self.rng)
        except LeaseLost:
            assert not is_mine
        else:
            assert is_mine
            self.holder.pop(claim.id, None)
            StageRun.objects.filter(id=claim.id).update(next_at=Now())

    @rule(claim=consumes(claims))
    def give_back(self, claim: Claim) -> None:
        is_mine, before = self._is_mine(claim), StageRun.objects.get(id=claim.id)
        services.give_back([claim])
        after = StageRun.objects.get(id=claim.id)
        assert (after.attempts == before.attempts - 1) is is_mine
        if is_mine:
            self.holder.pop(claim.id, None)

    @rule(claim=claims)
    def skip(self, claim: Claim) -> None:
        was_open = StageRun.objects.unfinished().filter(id=claim.id).exists()
        services.skip_runs(traces=[claim.trace], reason="its signal ended")
        if was_open:
            self._end(claim)

    @invariant()
    def every_row_is_what_was_done_to_it(self) -> None:
        for row in StageRun.objects.all():
            assert row.attempts <= ATTEMPTS_MAX
            assert row.losses <= settings.LEASE_LOSSES_MAX
            assert (row.status in ("DONE", "SKIPPED")) == (row.subject in self.ended)
            if row.id in self.holder:
                assert (row.status, row.token) == ("RUNNING", self.holder[row.id])
        assert all(times == 1 for times in self.ended.values())

    def _is_mine(self, claim: Claim) -> bool:
        """Say whether the row still carries the token: a lapsed lease that nobody took is ours."""
        return StageRun.objects.filter(id=claim.id, token=claim.token, status="RUNNING").exists()

    def _end(self, claim: Claim) -> None:
        self.holder.pop(claim.id, None)
        self.ended[claim.subject] = self.ended.get(claim.subject, 0) + 1


@pytest.mark.django_db
def test_no_order_of_claims_deaths_and_ends_breaks_the_rules_of_lease_and_token() -> None:
    run_state_machine_as_test(
        Desk,
        settings=examples(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
