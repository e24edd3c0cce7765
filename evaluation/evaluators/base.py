"""The contract that every evaluator keeps, and the errors it may raise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, runtime_checkable

from evaluation.types import AttemptStatus, Case, Opinion


class EvaluatorUnavailable(Exception):
    """The model cannot answer now; the caller may try again within its deadline."""

    def __init__(
        self, reason: str, *, status: AttemptStatus, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


class CallFailed(Exception):
    """One call of a vendor did not end in an answer; how, says the status.

    ``answer`` keeps whatever came back, as text.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: AttemptStatus,
        retry_after_s: float | None = None,
        request_id: str = "",
        answer: str = "",
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.answer = answer


class Abstained(Exception):
    """The model has no verdict to give, and asking again will not help."""

    def __init__(self, reason: str, *, status: AttemptStatus) -> None:
        super().__init__(reason)
        self.status = status


class Evaluator(ABC):
    """Turns one case into one opinion.

    An evaluator keeps no state between cases, reads no clock but through its attempts, and never
    turns its own fault into advice: it raises, and the fault is recorded as an abstention.
    """

    needs_network: ClassVar[bool] = True
    version: ClassVar[str] = "1"

    def __init__(self, *, name: str) -> None:
        self.name = name

    @abstractmethod
    async def evaluate(self, case: Case) -> Opinion:
        """Return this model's opinion of ``case``.

        :raises EvaluatorUnavailable: on time-out, rate limit or vendor fault.
        :raises Abstained: when there is no verdict to be had.
        """

    @property
    def terms(self) -> str:
        """What its answers hang on besides the case: under other terms none is used again."""
        return self.version

    def warm_up(self) -> None:  # noqa: B027  most have nothing to load
        """Load what the first question would otherwise wait for."""

    async def close(self) -> None:  # noqa: B027  most have nothing to close
        """Close what this event loop has open to a vendor."""


@runtime_checkable
class LanguageModel(Protocol):
    """An evaluator that is given a prompt, costs money and may be switched off."""

    name: str
    provider: str
    model_id: str
    max_tokens: int
