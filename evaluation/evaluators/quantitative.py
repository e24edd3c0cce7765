"""What the evaluators without a language model share: one timed attempt, no network."""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import UTC, datetime
from typing import ClassVar

from evaluation.evaluators.base import Evaluator
from evaluation.types import Attempt, AttemptStatus, Case, Opinion, Verdict


class Quantitative(Evaluator):
    """Judges by arithmetic over the frozen facts; the same case always gives the same verdict."""

    needs_network: ClassVar[bool] = False

    @abstractmethod
    def judge(self, case: Case) -> Verdict:
        """Return the verdict on ``case``.

        :raises Abstained: when the facts do not suffice.
        """

    async def evaluate(self, case: Case) -> Opinion:
        started_at, started = datetime.now(UTC), time.perf_counter()
        verdict = self.judge(case)
        attempt = Attempt(
            status=AttemptStatus.OK,
            started_at=started_at,
            latency_ms=(time.perf_counter() - started) * 1000,
            model_requested=self.name,
            model_reported=self.name,
        )
        return Opinion(verdict=verdict, status=AttemptStatus.OK, attempts=(attempt,))
