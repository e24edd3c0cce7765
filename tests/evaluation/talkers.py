"""A language model without a vendor, and signals that are put to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from enrichment.queries import Enriched
from evaluation import services
from evaluation.evaluators.base import Evaluator
from evaluation.models import Evaluation, Spend
from evaluation.types import ALL_MODELS, Action, AttemptStatus, Case, Opinion, Verdict
from evaluation.types import Attempt as AttemptMade
from signals.models import Signal
from signals.types import SignalStatus
from tests.factories import NOON, make_enrichment, make_signal

Wire = Callable[..., None]


class Talker(Evaluator):
    """A language model that says what it is told to, without any vendor."""

    provider = "openai"
    model_id = "talker-1"
    max_tokens = 1000

    def __init__(self, *, name: str, statuses: tuple[AttemptStatus, ...] = ()) -> None:
        super().__init__(name=name)
        self.statuses = list(statuses)
        self.seen: list[Case] = []
        self.evidence: tuple[dict[str, Any], ...] = ()
        self.wishes = ""

    @property
    def terms(self) -> str:
        return f"{self.model_id} {self.wishes}"

    async def evaluate(self, case: Case) -> Opinion:
        self.seen.append(case)
        status = self.statuses.pop(0) if self.statuses else AttemptStatus.OK
        is_ok = status is AttemptStatus.OK
        attempt = AttemptMade(
            status=status,
            started_at=datetime.now(UTC),
            latency_ms=5.0,
            model_requested=self.model_id,
            model_reported="talker-1-0611",
            prompt_version=case.prompt.label if case.prompt else "",
            prompt_sha256=case.prompt.sha256 if case.prompt else "",
            prompt=case.prompt.text if case.prompt else "",
            request_id=f"req-{len(self.seen)}",
            tokens_in=1000 if is_ok else None,
            tokens_out=100 if is_ok else None,
        )
        verdict = Verdict(
            action=Action.FOLLOW_ENTER,
            confidence=0.7,
            reasons=("no_trend",),
            size_pct=5.0,
            evidence=self.evidence,
        )
        return Opinion(
            verdict=verdict if is_ok else None,
            status=status,
            attempts=(attempt,),
            reason="" if is_ok else "told to fail",
        )


def enriched(payload: str = "{}") -> Signal:
    signal = make_signal(status=SignalStatus.ENRICHED)
    enrichment = make_enrichment(signal, payload=payload)
    services.request_evaluations(
        enriched=[Enriched(signal=signal, enrichment=enrichment)], now=NOON
    )
    return signal


def evaluation(model: str = "a") -> Evaluation:
    return Evaluation.objects.get(model=model)


def account(model: str = ALL_MODELS) -> tuple[Decimal, Decimal, int]:
    row = Spend.objects.get(model=model)
    return row.reserved_usd, row.spent_usd, row.calls
