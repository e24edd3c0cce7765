"""Values that pass between the evaluation room, its evaluators and its readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Action(StrEnum):
    """What a model may advise; the first two on an OPEN signal, the others on a CLOSE."""

    FOLLOW_ENTER = "FOLLOW_ENTER"
    IGNORE = "IGNORE"
    FOLLOW_EXIT = "FOLLOW_EXIT"
    HOLD = "HOLD"
    TIGHTEN_STOP = "TIGHTEN_STOP"


ACTIONS: Mapping[str, tuple[Action, ...]] = {
    "OPEN_SIGNAL": (Action.FOLLOW_ENTER, Action.IGNORE),
    "CLOSE_SIGNAL": (Action.FOLLOW_EXIT, Action.HOLD, Action.TIGHTEN_STOP),
}

REASONS: tuple[str, ...] = (
    "bullish_trend",
    "bearish_trend",
    "no_trend",
    "ema_bullish_stack",
    "ema_bearish_stack",
    "ema_mixed",
    "macd_bullish_cross",
    "macd_bearish_cross",
    "macd_divergence",
    "rsi_oversold",
    "rsi_overbought",
    "rsi_neutral",
    "funding_favorable",
    "funding_unfavorable",
    "funding_neutral",
    "tight_liquidation",
    "good_rr_ratio",
    "poor_rr_ratio",
    "wide_spread",
    "tight_spread",
)
"""The vocabulary of reasons; extend it here."""


class AttemptStatus(StrEnum):
    """How one attempt at judging ended; only ``OK`` carries a verdict."""

    OK = "ok"
    REFUSED = "refused"
    BLOCKED = "blocked"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    TIMEOUT = "timeout"
    NETWORK = "network"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    AUTH = "auth"
    OVERLOADED = "overloaded"
    BAD_REQUEST = "bad_request"
    BAD_BODY = "bad_body"
    OVER_BUDGET = "over_budget"
    DISABLED = "disabled"
    STALE_INPUT = "stale_input"
    INSUFFICIENT_DATA = "insufficient_data"
    FAULT = "fault"


RETRYABLE = frozenset(
    {
        AttemptStatus.TRUNCATED,
        AttemptStatus.INVALID,
        AttemptStatus.NETWORK,
        AttemptStatus.RATE_LIMITED,
        AttemptStatus.OVERLOADED,
        AttemptStatus.BAD_BODY,
    }
)
"""What another attempt within the deadline may mend."""

FAULTS = frozenset(AttemptStatus) - {
    AttemptStatus.OK,
    AttemptStatus.OVER_BUDGET,
    AttemptStatus.DISABLED,
    AttemptStatus.STALE_INPUT,
    AttemptStatus.INSUFFICIENT_DATA,
}
"""What counts against a model's health: it was asked and did not give a usable answer."""


ALL_MODELS = "*"
"""The name under which switches, breakers and accounts of all language models together stand."""


class EvaluationKind(StrEnum):
    """Why a model is asked: for a decision, or to judge a stored case again."""

    LIVE = "LIVE"
    REPLAY = "REPLAY"


class EvaluationStatus(StrEnum):
    """Where one model's judgement of one signal stands."""

    PENDING = "PENDING"
    DECIDED = "DECIDED"
    ABSTAINED = "ABSTAINED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A prompt as one model gets it for one case; the hash is of both texts."""

    name: str
    version: int
    system: str
    user: str
    sha256: str

    @property
    def label(self) -> str:
        """The prompt's name and version as attempts record it."""
        return f"{self.name} v{self.version}"

    @property
    def text(self) -> str:
        """Both texts as attempts record them."""
        return f"{self.system}\n\n{self.user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known of one vendor's model: how to call it and what it is able to do.

    ``structured`` says how an answer's shape can be enforced: ``json_schema``, ``json_object``
    or ``none``; ``effort`` is the value that asks for little reasoning, empty if there is none.
    """

    provider: str
    model_id: str
    api: str
    structured: str
    supports_seed: bool = False
    supports_temperature: bool = False
    effort: str = ""
    context_tokens: int | None = None
    output_tokens: int | None = None
    knowledge_cutoff: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything an evaluator is given: one signal with its frozen facts, and nothing else.

    ``payload`` is the frozen text for language models, ``facts`` the frozen numbers for
    quantitative ones; ``constraints`` is the policy that no verdict may exceed. ``prompt`` and
    ``card`` are there for language models only.
    """

    event_id: UUID
    event_type: str
    symbol: str
    side: str
    entry_price: float
    payload: str
    facts: Mapping[str, Any]
    constraints: Mapping[str, Any]
    as_of: datetime
    prompt: Rendered | None = None
    card: Card | None = None

    @property
    def is_opening(self) -> bool:
        """Whether the signal asks to enter."""
        return self.event_type == "OPEN_SIGNAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One model's advice on one signal.

    ``confidence`` is the probability in [0, 1] that the advice is right; ``details`` are the
    numbers behind it, for people who ask why.
    """

    action: Action
    confidence: float
    reasons: tuple[str, ...]
    size_pct: float = 0.0
    entry_plan: Mapping[str, Any] | None = None
    risk_plan: Mapping[str, Any] | None = None
    invalidation: str | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one model, kept whatever came of it."""

    status: AttemptStatus
    started_at: datetime
    latency_ms: float
    error: str = ""
    model_requested: str = ""
    model_reported: str = ""
    request_id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prompt_version: str = ""
    prompt_sha256: str = ""
    prompt: str = ""
    answer: str = ""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_cache_write: int | None = None
    tokens_out: int | None = None
    tokens_reasoning: int | None = None
    cost_usd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one evaluator made of one case: a verdict, or an abstention with its cause.

    An abstention is never an IGNORE. ``retry_after_s`` is set when another attempt may help.
    """

    verdict: Verdict | None
    status: AttemptStatus
    attempts: tuple[Attempt, ...]
    reason: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRate:
    """How often a source's signals of one kind won of late: a fraction of ``n``."""

    source: str
    event_type: str
    frac: float
    n: int
