"""The shapes of outcomes and scores: what a reader may ask, and what is answered."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from decisions.types import LIVE
from outcomes.models import Outcome
from outcomes.queries import Scoreboard
from outcomes.standing import Figure, Standing, threshold_in_words
from outcomes.types import SCOPE_CHARS
from pipeline.parsing import LIMIT_DEFAULT, LIMIT_MAX, decimal_text, time_text
from quant.gates import CurvePoint, RiskCoverage
from quant.scores import Bin

Word = Annotated[str, Field(min_length=1, max_length=100)]
Group = Literal["model", "prompt_version", "source", "symbol", "regime"]


class WindowQuery(BaseModel):
    """Which scored decisions are looked at."""

    model_config = ConfigDict(extra="forbid")

    scope: Annotated[
        str,
        Field(
            max_length=SCOPE_CHARS,
            description="`live`; `simulated`, `demo` and `replay:<id>` stand apart from it",
        ),
    ] = LIVE
    event_type: Literal["OPEN_SIGNAL", "CLOSE_SIGNAL"] = "OPEN_SIGNAL"
    since: Annotated[date | None, Field(description="from this day on")] = None
    until: Annotated[date | None, Field(description="before this day")] = None
    model: Word | None = None
    prompt_version: Word | None = None
    source: Word | None = None
    symbol: Word | None = None
    regime: Word | None = None

    def filters(self) -> dict[str, str]:
        """Return what divides decisions, as far as it was named."""
        named = {"model", "prompt_version", "source", "symbol", "regime"}
        return self.model_dump(include=named, exclude_none=True)


class ScoresQuery(WindowQuery):
    """The window of a scoreboard, and what its lines are divided by."""

    by: Annotated[Group, Field(description="`model`, or what each model's line is divided by")] = (
        "model"
    )


class ExportQuery(WindowQuery):
    """The window of an export, and its form."""

    file: Literal["csv", "parquet"] = "csv"


class OutcomeQuery(BaseModel):
    """Filters and page of the list of outcomes."""

    model_config = ConfigDict(extra="forbid")

    scope: Annotated[str, Field(max_length=SCOPE_CHARS)] = LIVE
    event_id: UUID | None = None
    model: Annotated[
        str | None,
        Field(max_length=64, description="a model's own plan; without it the signals' questions"),
    ] = None
    source: Word | None = None
    symbol: Word | None = None
    status: Literal["OPEN", "RESOLVED", "UNRESOLVABLE"] | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str, Field(max_length=200)] | None = None


class FigureAnswer(BaseModel):
    """A figure and where it may lie; the ends are null below five days."""

    value: float | None
    low: float | None
    high: float | None


class StandingAnswer(BaseModel):
    """How one model, or one part of its decisions, stands."""

    group: dict[str, str]
    n: int
    asked: int
    is_too_few: bool
    coverage: float | None
    win_rate: FigureAnswer
    mean_p: float | None
    brier: FigureAnswer
    brier_raw: float | None
    skill: FigureAnswer
    skill_raw: FigureAnswer
    log_loss: float | None
    auc: float | None
    ece: float | None
    followed: int
    hit_rate: FigureAnswer
    followed_r: FigureAnswer
    ignored_r: FigureAnswer
    plan_r: float | None
    cost_usd: float
    cost_per_decision_usd: float | None
    skill_usd: float | None
    latency_ms: float | None


class VerdictAnswer(BaseModel):
    """Whether the jury did better than its best member, and if not, why."""

    jury: str
    best: str
    gain: FigureAnswer
    is_better: bool
    why: str


class ScoreboardAnswer(BaseModel):
    """How models stand beside one another and beside judges that know nothing."""

    scope: str
    event_type: str
    standings: list[StandingAnswer]
    baselines: list[StandingAnswer]
    verdict: VerdictAnswer | None
    leave_one_out: dict[str, float]


class BinAnswer(BaseModel):
    """Probabilities that lie close together, and how often they came true."""

    lowest: float
    highest: float
    n: int
    mean_p: float
    win_rate: float
    low: float
    high: float


class ReliabilityAnswer(BaseModel):
    """A model's bins, from low to high; none without scored decisions."""

    model: str
    bins: list[BinAnswer]


class PointAnswer(BaseModel):
    """What following at and above one probability would have earned, in R after costs."""

    threshold: float
    coverage: float
    n: int
    mean_r: float
    low: float | None
    high: float | None


class CoverageAnswer(BaseModel):
    """From following everything to following the best alone, and what that advises.

    `best` is null unless the advice is `THRESHOLD`: take its `threshold` as your `min_confidence`.
    """

    model: str
    advice: Literal["THRESHOLD", "NO_EDGE", "NOT_ENOUGH"]
    why: str
    best: PointAnswer | None
    points: list[PointAnswer]


class SourcesQuery(BaseModel):
    """Whose signals are looked at."""

    model_config = ConfigDict(extra="forbid")

    scope: Annotated[str, Field(max_length=SCOPE_CHARS)] = LIVE
    event_type: Literal["OPEN_SIGNAL", "CLOSE_SIGNAL"] = "OPEN_SIGNAL"


class SourceCardAnswer(BaseModel):
    """What following every signal of a source would have come to.

    ``decay_r`` says how the signals stood after 1, 5, 15 and 60 minutes, before costs;
    ``p_value`` how often the same trades at random moments would have earned as much.
    """

    source: str
    n: int
    is_too_few: bool
    hit_rate: FigureAnswer
    break_even: float | None
    net_r: FigureAnswer
    decay_r: dict[str, FigureAnswer]
    p_value: float | None


class SourceCards(BaseModel):
    """Every source, the busiest first."""

    items: list[SourceCardAnswer]


class OutcomeAnswer(BaseModel):
    """A question as it was fixed, and what the market answered so far."""

    id: UUID
    event_id: UUID
    run: int
    model: str | None
    decision: str | None
    scope: str
    event_type: str
    symbol: str
    source: str
    side: str
    asked_at: str
    opens_at: str
    entry_rule: str
    entry_price: str
    target_price: str | None
    stop_price: str | None
    horizon_s: int
    costs: dict[str, float]
    definition: int
    sha256: str
    status: str
    resolution: str | None
    reason: str | None
    won: bool | None
    ambiguous: bool
    gapped: bool
    entered_at: str | None
    exit_at: str | None
    exit_price: float | None
    known_at: str | None
    bars: int
    gross_r: float | None
    cost_r: float | None
    net_r: float | None
    mfe_r: float
    mae_r: float
    decay_r: dict[str, float | None]


class OutcomePage(BaseModel):
    """One page of outcomes."""

    items: list[OutcomeAnswer]
    next_cursor: str | None


def outcome_json(row: Outcome) -> dict[str, Any]:
    """Return one outcome with its question as clients see it."""
    question = row.question
    return {
        "id": str(question.id),
        "event_id": str(question.event_id),
        "run": question.run,
        "model": question.model or None,
        "decision": question.decision or None,
        "scope": question.scope,
        "event_type": question.event_type,
        "symbol": question.symbol,
        "source": question.source,
        "side": question.side,
        "asked_at": time_text(question.asked_at),
        "opens_at": time_text(question.opens_at),
        "entry_rule": question.entry_rule,
        "entry_price": decimal_text(question.entry_price),
        "target_price": decimal_text(question.target_price),
        "stop_price": decimal_text(question.stop_price),
        "horizon_s": question.horizon_s,
        "costs": question.costs,
        "definition": question.definition,
        "sha256": question.sha256,
        "status": row.status,
        "resolution": row.resolution or None,
        "reason": row.reason or None,
        "won": row.won,
        "ambiguous": row.ambiguous,
        "gapped": row.gapped,
        "entered_at": time_text(row.entered_at),
        "exit_at": time_text(row.exit_at),
        "exit_price": row.exit_price,
        "known_at": time_text(row.known_at),
        "bars": row.bars,
        "gross_r": row.gross_r,
        "cost_r": row.cost_r,
        "net_r": row.net_r,
        "mfe_r": row.mfe_r,
        "mae_r": row.mae_r,
        "decay_r": row.decay_r,
    }


def scoreboard_json(board: Scoreboard, leave_one_out: dict[str, float]) -> dict[str, Any]:
    """Return a scoreboard as clients see it."""
    verdict = board.verdict
    return {
        "scope": board.scope,
        "event_type": board.event_type,
        "standings": [standing_json(each) for each in board.standings],
        "baselines": [standing_json(each) for each in board.baselines],
        "verdict": verdict and asdict(verdict) | {"gain": verdict.gain.as_json()},
        "leave_one_out": leave_one_out,
    }


def standing_json(line: Standing) -> dict[str, Any]:
    """Return one line of a scoreboard as clients see it."""
    values = {name: getattr(line, name) for name in StandingAnswer.model_fields}
    told = {
        name: value.as_json() if isinstance(value, Figure) else value
        for name, value in values.items()
    }
    return told | {"group": dict(line.group)}


def bin_json(each: Bin) -> dict[str, Any]:
    """Return one bin of a reliability plot as clients see it."""
    low, high = each.interval
    told = asdict(each) | {"low": low, "high": high}
    del told["interval"]
    return told


def coverage_json(found: RiskCoverage, *, model: str) -> dict[str, Any]:
    """Return a risk-coverage curve as clients see it."""
    return {
        "model": model,
        "advice": str(found.advice),
        "why": threshold_in_words(found, model=model),
        "best": None if found.best is None else _point_json(found.best),
        "points": [_point_json(each) for each in found.points],
    }


def _point_json(point: CurvePoint) -> dict[str, Any]:
    low, high = point.interval or (None, None)
    told = asdict(point) | {"low": low, "high": high}
    del told["interval"]
    return told
