"""What came of judging stored cases again: the old word and the new one, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from decisions import queries as decisions
from decisions.models import Decision
from decisions.types import JURY
from enrichment import queries as enrichment
from enrichment.models import Enrichment
from evaluation import queries as evaluation
from evaluation.models import Evaluation, Rerun
from evaluation.rerunning import REQUESTED, payload_sha256
from evaluation.types import EvaluationStatus
from pipeline import queries as pipeline
from pipeline.parsing import decimal_text, read_cursor, time_text, write_cursor

CHUNK = 500  # signals compared at a time
ABSTAINED = "ABSTAINED"
NOTHING = "NONE"
"""What stands for an answer where there was none: an abstention, or nobody was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What one judge said of one signal; ``cause`` says why it has no advice."""

    model: str
    action: str
    confidence: float | None = None
    size_pct: float | None = None
    reasons: tuple[str, ...] = ()
    cause: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "model": self.model,
            "action": self.action,
            "confidence": self.confidence,
            "size_pct": self.size_pct,
            "reasons": list(self.reasons),
            "cause": self.cause,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One signal: what was said of it, and what is said now; ``after`` None is still waited for.

    Both words are the model's own, before the policy; ``published`` is what became of the old
    one. ``is_input_same`` compares the hash noted when the model was asked again with that of
    the facts as they are stored now and with the one they were frozen under.
    """

    evaluation: Evaluation
    before: Word | None
    after: Word | None
    published: str
    contaminated: bool | None
    payload_sha256: str
    is_input_same: bool

    @property
    def change(self) -> str:
        """One word for the difference: SAME, DIFFERENT, NEW where there was none, or PENDING."""
        if self.after is None:
            return "PENDING"
        if self.before is None:
            return "NEW"
        return "SAME" if self.before.action == self.after.action else "DIFFERENT"

    @property
    def reasons_added(self) -> list[str]:
        """The reasons that only the new answer gives."""
        return _without(self.after, self.before)

    @property
    def reasons_removed(self) -> list[str]:
        """The reasons that only the old answer gave."""
        return _without(self.before, self.after) if self.after else []

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        signal = self.evaluation.signal
        cost = self.evaluation.cost_usd
        return {
            "event_id": str(signal.event_id),
            "evaluation_id": str(self.evaluation.id),
            "symbol": signal.symbol,
            "event_type": signal.event_type,
            "signal_direction": signal.direction,
            "source": signal.source,
            "ts_utc": time_text(signal.ts_utc),
            "run": self.evaluation.run,
            "status": self.evaluation.status,
            "change": self.change,
            "before": self.before.as_json() if self.before else None,
            "after": self.after.as_json() if self.after else None,
            "published": self.published or None,
            "reasons_added": self.reasons_added,
            "reasons_removed": self.reasons_removed,
            "contaminated": self.contaminated,
            "payload_sha256": self.payload_sha256,
            "input_same": self.is_input_same,
            "grounding_score": self.evaluation.grounding_score,
            "latency_ms": self.evaluation.latency_ms,
            "cost_usd": decimal_text(cost),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """A rerun in figures; ``pairs`` counts each old answer with its new one.

    ``cost_usd`` is what is known of the cost; ``unpriced`` answers have none on record.
    """

    asked: int
    pending: int
    same: int
    different: int
    new: int
    abstained: int
    contaminated: int
    contamination_unknown: int
    inputs_same: int
    unpriced: int
    cost_usd: Decimal
    pairs: Mapping[tuple[str, str], int]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "asked": self.asked,
            "pending": self.pending,
            "same": self.same,
            "different": self.different,
            "new": self.new,
            "abstained": self.abstained,
            "contaminated": self.contaminated,
            "contamination_unknown": self.contamination_unknown,
            "inputs_same": self.inputs_same,
            "cost_usd": decimal_text(self.cost_usd),
            "unpriced": self.unpriced,
            "pairs": [
                {"before": before, "after": after, "signals": count}
                for (before, after), count in self.pairs.items()
            ],
        }


def _without(one: Word | None, other: Word | None) -> list[str]:
    known = set(other.reasons) if other else set()
    return [reason for reason in one.reasons if reason not in known] if one else []


def list_differences(*, rerun: Rerun, limit: int, after_signal: int = 0) -> list[Difference]:
    """Return the comparison signal by signal, after the row of one, in the order of the signals."""
    rows = evaluation.list_judged_again(rerun_id=rerun.id, limit=limit, after_signal=after_signal)
    return _compare(rerun, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a rerun's signals, and the mark of those that follow."""

    items: Sequence[Difference]
    next_cursor: str | None


def page_of(rerun: Rerun, *, cursor: str | None, limit: int) -> Page:
    """Return the comparison of the signals behind a mark.

    :raises InvalidRequest: if the mark is not one of ours.
    """
    place = read_cursor(cursor) if cursor else 0
    found = list_differences(rerun=rerun, limit=limit + 1, after_signal=place)
    items = found[:limit]
    more = len(found) > limit
    return Page(
        items=items,
        next_cursor=write_cursor(items[-1].evaluation.signal_id) if more else None,
    )


def _compare(rerun: Rerun, rows: Sequence[Evaluation]) -> list[Difference]:
    event_ids = [row.signal.event_id for row in rows]
    live = evaluation.list_live(model=rerun.model, signal_ids=[row.signal_id for row in rows])
    frozen = enrichment.list_enrichments(event_ids=event_ids).only(
        "event_id", "run", "payload", "payload_sha256"
    )
    words = decisions.list_last_words(event_ids=event_ids, models=(rerun.model, JURY))
    lines = pipeline.list_lines(traces=[row.id for row in rows], verb=REQUESTED)
    known = _Known(
        first={(row.signal_id, row.run): row for row in live},
        decided={(row.event_id, row.run, row.model): row for row in words},
        noted={line.trace: line.details for line in lines if line.trace},
        facts={(row.event_id, row.run): row for row in frozen},
    )
    return [_difference(row, known) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a comparison draws on, by what it is found by."""

    first: Mapping[tuple[int, int], Evaluation]
    decided: Mapping[tuple[UUID, int, str], Decision]
    noted: Mapping[UUID, Mapping[str, Any]]
    facts: Mapping[tuple[UUID, int], Enrichment]


def _difference(row: Evaluation, known: _Known) -> Difference:
    event_id = row.signal.event_id
    first = known.first.get((row.signal_id, row.run))
    decision = known.decided.get((event_id, row.run, JURY if first is None else row.model))
    note = known.noted.get(row.id, {})
    frozen = known.facts.get((event_id, row.run))
    given = str(note.get("payload_sha256", ""))
    return Difference(
        evaluation=row,
        before=_word_before(first, decision),
        after=_word(row),
        published=decision.decision if decision and decision.published_at else "",
        contaminated=note.get("contaminated"),
        payload_sha256=given,
        is_input_same=frozen is not None
        and given == frozen.payload_sha256 == payload_sha256(frozen),
    )


def _word_before(first: Evaluation | None, decision: Decision | None) -> Word | None:
    """Return the same model's first verdict, or the jury's ruling if it was not asked then."""
    if first is not None:
        return _word(first)
    if decision is None:
        return None
    return Word(
        model=decision.model,
        action=decision.decision,
        confidence=decision.confidence,
        size_pct=decision.size_pct,
        reasons=tuple(decision.reasons),
    )


def _word(row: Evaluation) -> Word | None:
    if row.status == EvaluationStatus.PENDING:
        return None
    verdict: Mapping[str, Any] | None = row.verdict
    if row.status != EvaluationStatus.DECIDED or verdict is None:
        return Word(model=row.model, action=ABSTAINED, cause=row.outcome or row.status)
    return Word(
        model=row.model,
        action=str(verdict["action"]),
        confidence=float(verdict["confidence"]),
        size_pct=float(verdict["size_pct"]),
        reasons=tuple(verdict["reasons"]),
    )


def total(*, rerun: Rerun) -> Totals:
    """Return a rerun in figures, as far as it has come."""
    changes: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    marks: Counter[str] = Counter()
    cost = Decimal(0)
    for each in _all_differences(rerun):
        changes[each.change] += 1
        marks["contaminated"] += bool(each.contaminated)
        marks["unknown"] += each.contaminated is None
        marks["same_input"] += each.is_input_same
        if each.after is not None:
            pairs[each.before.action if each.before else NOTHING, each.after.action] += 1
            marks["abstained"] += each.after.action == ABSTAINED
            marks["unpriced"] += _is_unpriced(each.evaluation, rerun)
            cost += each.evaluation.cost_usd or 0
    return Totals(
        asked=changes.total(),
        pending=changes["PENDING"],
        same=changes["SAME"],
        different=changes["DIFFERENT"],
        new=changes["NEW"],
        abstained=marks["abstained"],
        contaminated=marks["contaminated"],
        contamination_unknown=marks["unknown"],
        inputs_same=marks["same_input"],
        unpriced=marks["unpriced"],
        cost_usd=cost,
        pairs=dict(sorted(pairs.items())),
    )


def _is_unpriced(row: Evaluation, rerun: Rerun) -> bool:
    """Say whether an answer was paid for and nobody knows how much."""
    is_free = rerun.estimate_usd == 0
    return row.status == EvaluationStatus.DECIDED and row.cost_usd is None and not is_free


def _all_differences(rerun: Rerun) -> Iterator[Difference]:
    place = 0
    while page := list_differences(rerun=rerun, limit=CHUNK, after_signal=place):
        yield from page
        place = page[-1].evaluation.signal_id


def rerun_json(rerun: Rerun) -> dict[str, Any]:
    """Return what was asked for, for programs."""
    return {
        "id": str(rerun.id),
        "model": rerun.model,
        "prompt": f"{rerun.prompt_name}@{rerun.prompt_version}" if rerun.prompt_name else None,
        "signals": rerun.signals,
        "estimate_usd": None if rerun.estimate_usd is None else str(rerun.estimate_usd),
        "created_at": time_text(rerun.created_at),
        "created_by": rerun.created_by,
    }
