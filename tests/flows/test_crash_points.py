"""The process dies at every single commit of a signal's life; the next one ends what it began.

"Dies" means: from then on nothing of it reaches the database, neither a tidying up nor a good-bye.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from decisions.models import Decision
from pipeline.models import AuditEvent, StageRun
from pipeline.reconcile import reconcile
from signals.models import Signal
from signals.services import submit_signals
from tests.enrichment.market import Script
from tests.factories import make_submission
from tests.running import run_everything

WRITES = ("INSERT", "UPDATE", "DELETE", "WITH")
MODELS = {"bold", "shy", "jury"}


class Killed(BaseException):
    """The process is gone; nothing may catch this."""


class Reaper:
    """Counts what is made lasting, and kills the process before or after one of them."""

    def __init__(self, *, at: int, after: bool) -> None:
        self.at, self.after = at, after
        self.count = 0
        self.has_struck = False

    def lasting(self, keep: Callable[[], Any]) -> Any:
        """Make something last, or not."""
        self.count += 1
        if self.count != self.at:
            return keep()
        self.has_struck = True
        if self.after:
            keep()
        connection.close()
        raise Killed

    def statement(
        self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Let a statement of its own, which lasts at once, count as a commit."""
        if connection.in_atomic_block or not sql.lstrip().startswith(WRITES):
            return execute(sql, params, many, context)
        return self.lasting(lambda: execute(sql, params, many, context))


@contextmanager
def watched(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]  # what Atomic ends with

    def counted(self: BaseDatabaseWrapper) -> None:
        reaper.lasting(lambda: commit(self))

    with monkeypatch.context() as patch, connection.execute_wrapper(reaper.statement):
        patch.setattr(BaseDatabaseWrapper, "_commit", counted)
        yield


def live(key: str) -> None:
    """Do what client, worker and conductor do, from the beginning, as after a start."""
    now = datetime.now(UTC)
    submission = make_submission(idempotency_key=key, body_sha256="1" * 64, ts_utc=now)
    submit_signals(submissions=[submission], now=now)
    run_everything()
    reconcile(now=datetime.now(UTC))


def let_leases_lapse() -> None:
    StageRun.objects.filter(status="RUNNING").update(lease_until=Now() - timedelta(seconds=1))


def die_once(key: str, reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(reaper, monkeypatch):
        try:
            live(key)
        except Killed:
            connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_that_dies_at_any_commit_loses_and_doubles_nothing(
    script: Script, redis_url: str, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    undisturbed = Reaper(at=0, after=after)
    die_once("undisturbed", undisturbed, monkeypatch)

    for point in range(1, undisturbed.count + 1):
        key, reaper = f"point-{point}", Reaper(at=point, after=after)
        die_once(key, reaper, monkeypatch)
        let_leases_lapse()
        live(key)

        assert reaper.has_struck
        signal = Signal.objects.get(idempotency_key=key)
        assert signal.status == "PUBLISHED", point
        decided = Decision.objects.filter(signal=signal).values_list("model", "revision")
        assert sorted(decided) == sorted((model, 1) for model in MODELS), point
        verbs = Counter(
            AuditEvent.objects.filter(trace=signal.event_id).values_list("verb", flat=True)
        )
        assert verbs["RECEIVED"] == verbs["PUBLISHED"] == verbs["ENRICHED"] == 1, point

    assert undisturbed.count >= 6
    numbers = list(Decision.objects.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    assert Signal.objects.count() == undisturbed.count + 1
    assert not StageRun.objects.filter(status="RUNNING").exists()
