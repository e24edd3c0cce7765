"""An evaluator that does as it was told; for tests, trials and demonstrations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from evaluation.evaluators.base import EvaluatorUnavailable
from evaluation.evaluators.quantitative import Quantitative
from evaluation.types import Action, AttemptStatus, Case, Opinion, Verdict


class Scripted(Quantitative):
    """Follows everything (or ignores it), after a pause, failing the first so many times."""

    needs_network: ClassVar[bool] = False

    def __init__(
        self,
        *,
        name: str,
        follow: bool = True,
        confidence: float = 0.75,
        pause_s: float = 0.0,
        faults: Sequence[AttemptStatus] = (),
    ) -> None:
        super().__init__(name=name)
        self.follow = follow
        self.confidence = confidence
        self.pause_s = pause_s
        self.faults = list(faults)
        self.seen: list[Case] = []

    async def evaluate(self, case: Case) -> Opinion:
        self.seen.append(case)
        await asyncio.sleep(self.pause_s)
        if self.faults:
            raise EvaluatorUnavailable("told to fail", status=self.faults.pop(0))
        return await super().evaluate(case)

    def judge(self, case: Case) -> Verdict:
        if case.is_opening:
            action = Action.FOLLOW_ENTER if self.follow else Action.IGNORE
        else:
            action = Action.FOLLOW_EXIT if self.follow else Action.HOLD
        return Verdict(
            action=action,
            confidence=self.confidence,
            reasons=("no_trend",),
            size_pct=10.0 if self.follow else 0.0,
            entry_plan={"type": "market", "offset_bps": 0} if case.is_opening else None,
            risk_plan={"stop_method": "atr", "atr_multiple": 2.0} if case.is_opening else None,
        )
