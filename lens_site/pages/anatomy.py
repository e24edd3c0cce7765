"""One signal taken apart: how long each step took, what each model said, where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from decisions.models import Decision
from enrichment.models import Enrichment
from evaluation.models import Attempt, Evaluation
from evaluation.types import EvaluationStatus
from lens_site.pages import formats, words
from lens_site.pages.rows import SQUARES
from pipeline.models import AuditEvent, DeadLetter
from signals.models import Signal

BAR_LEAST_PCT = 0.6
BY_PEOPLE = frozenset({"NOTED", "HOLD_PLACED", "HOLD_LIFTED"})
"""What people do about a signal at any time; it is no part of how long its life took."""

VERBS: Mapping[str, words.Words] = {
    "RECEIVED": _("received"),
    "ENQUEUED": _("queued"),
    "ENRICHED": _("facts frozen"),
    "REJECTED": _("rejected"),
    "EVALUATED": _("judged by all"),
    "PUBLISHED": _("published"),
    "EXPIRED": _("expired"),
    "DEAD": _("dead letter"),
    "RETRIED": _("taken up again"),
    "CANCELLED": _("cancelled"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the timeline; the bar's ends are in per cent of the whole."""

    label: words.Words
    offset_ms: float
    took_ms: float | None
    detail: str
    state: str
    actor: str
    run: int
    letter: DeadLetter | None
    bar_start: float
    bar_width: float


def timeline(
    signal: Signal, *, lines: Sequence[AuditEvent], letters: Sequence[DeadLetter]
) -> list[Step]:
    """Return what happened, each with its distance from receipt and how long it took."""
    own = [line for line in lines if line.verb not in BY_PEOPLE]
    lines = sorted(own, key=lambda line: (line.at, line.pk))
    offsets = [(line.at - signal.received_at).total_seconds() * 1000 for line in lines]
    whole = max([1.0, *offsets])
    open_letters = {letter.stage: letter for letter in letters}
    return [
        _step(line, offset_ms=offset, whole_ms=whole, letters=open_letters)
        for line, offset in zip(lines, offsets, strict=True)
    ]


def _step(
    line: AuditEvent, *, offset_ms: float, whole_ms: float, letters: Mapping[str, DeadLetter]
) -> Step:
    took = line.details.get("duration_ms", line.details.get("latency_ms"))
    took_ms = float(took) if isinstance(took, int | float) else None
    model = str(line.details.get("model", ""))
    status = str(line.details.get("status", ""))
    has_failed = line.verb in {"DEAD", "REJECTED"} or (bool(model) and status != "ok")
    width = max(BAR_LEAST_PCT, 100 * (took_ms or 0.0) / whole_ms)
    return Step(
        label=model or VERBS.get(line.verb, line.verb.replace("_", " ").lower()),
        offset_ms=offset_ms,
        took_ms=took_ms,
        detail=_detail(line, status=status),
        state="failed" if has_failed else "done",
        actor=line.actor,
        run=line.run,
        letter=letters.get("evaluate" if model else "enrich") if has_failed else None,
        bar_start=max(0.0, min(100 - width, 100 * offset_ms / whole_ms - width)),
        bar_width=min(100.0, width),
    )


def _detail(line: AuditEvent, *, status: str) -> str:
    details = line.details
    if line.verb == "MODEL_DONE":
        return _("answered") if status == "ok" else str(words.phrase(words.CAUSES, status))
    if line.verb == "REJECTED":
        return str(words.phrase(words.REFUSALS, str(details.get("gate", ""))))
    if line.verb == "EVALUATED":
        return _("%(decided)s of %(asked)s decided") % {
            "decided": details.get("decided", formats.UNKNOWN),
            "asked": details.get("asked", formats.UNKNOWN),
        }
    return str(details.get("profile", details.get("source", details.get("reason", ""))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """How good one input was."""

    name: str
    state: str
    words: str


def quality(facts: Enrichment | None) -> list[Chip]:
    """Return one chip for each group of facts, the bad ones first."""
    if facts is None:
        return []
    flagged = [*_flagged(facts.quality_flags)]
    named = {chip.name for chip in flagged}
    bad = _gathered(flagged)
    groups = [name for name, told in facts.provenance.items() if isinstance(told, Mapping)]
    good = [
        Chip(name=_name_of(group), state="good", words=_("fresh"))
        for group in groups
        if _name_of(group) not in named
    ]
    return [*bad, *good]


def _gathered(flagged: Sequence[Chip]) -> list[Chip]:
    """Return the chips with those of one group that say the same gathered into one."""
    alike: dict[tuple[str, str, str], list[Chip]] = {}
    for chip in flagged:
        group, dot, _rest = chip.name.partition(".")
        alike.setdefault((group if dot else chip.name, chip.state, chip.words), []).append(chip)
    return [
        chips[0] if len(chips) == 1 else _gathered_chip(group, chips)
        for (group, _state, _words), chips in alike.items()
    ]


def _gathered_chip(group: str, chips: Sequence[Chip]) -> Chip:
    said = _("%(n)s values %(said)s") % {"n": len(chips), "said": chips[0].words}
    return Chip(name=group, state=chips[0].state, words=said)


def _flagged(flags: Mapping[str, Any]) -> Iterator[Chip]:
    kinds = (
        ("provider_errors", "bad", _("provider failed")),
        ("stale_data", "warn", _("stale")),
        ("missing_data", "warn", _("missing")),
        ("out_of_range", "warn", _("out of range")),
    )
    for kind, state, said in kinds:
        for entry in flags.get(kind, ()):
            path, _sep, why = str(entry).partition(":")
            yield Chip(name=_name_of(path), state=state, words=f"{said} {why.strip()}".strip())


def _name_of(path: str) -> str:
    names = {"market": _("price"), "derivs": _("funding and open interest"), "levels": _("levels")}
    return names.get(path, path.removeprefix("ta.timeframes.").removeprefix("market."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component of a quantitative model: its score from -1 to 1, and the bar for it."""

    name: str
    score: float | None
    start: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A phrase for people and the code behind it."""

    code: str
    words: words.Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What one model made of the signal."""

    row: Evaluation
    decision: Decision | None
    state: str
    word: words.Words
    reasons: tuple[Reason, ...]
    entry: str
    stop: str
    parts: tuple[Part, ...]
    attempts: tuple[Attempt, ...]
    tokens: int | None
    parsed: str

    @property
    def verdict(self) -> Mapping[str, Any]:
        """The model's own verdict, before the policy."""
        return self.row.verdict or {}


def cards(evaluations: Sequence[Evaluation], *, decided: Sequence[Decision]) -> list[Card]:
    """Return a card a model, in the order they were asked."""
    last = {each.model: each for each in decided}
    return [_card(row, last.get(row.model)) for row in evaluations]


def _card(row: Evaluation, decision: Decision | None) -> Card:
    verdict: Mapping[str, Any] = row.verdict or {}
    action = decision.decision if decision else str(verdict.get("action", ""))
    attempts = tuple(row.attempts.all())
    counted = [each.tokens_in for each in attempts if each.tokens_in is not None]
    counted += [each.tokens_out for each in attempts if each.tokens_out is not None]
    reasons = decision.reasons if decision else verdict.get("reasons", ())
    return Card(
        row=row,
        decision=decision,
        state=_card_state(row, action),
        word=_card_word(row, action),
        reasons=tuple(
            Reason(code=code, words=words.phrase(words.REASONS, code)) for code in reasons
        ),
        entry=entry_text(decision.entry_plan if decision else verdict.get("entry_plan")),
        stop=stop_text(decision.risk_plan if decision else verdict.get("risk_plan")),
        parts=tuple(_parts(verdict.get("details") or {})),
        attempts=attempts,
        tokens=sum(counted) if counted else None,
        parsed=json.dumps(verdict, indent=2, ensure_ascii=False) if verdict else "",
    )


def _card_state(row: Evaluation, action: str) -> str:
    if row.status == EvaluationStatus.ABSTAINED:
        return "abstained"
    return SQUARES.get(action, "pending")


def _card_word(row: Evaluation, action: str) -> words.Words:
    if row.status == EvaluationStatus.ABSTAINED:
        return _("abstained")
    if row.status == EvaluationStatus.SKIPPED:
        return _("not asked")
    return words.phrase(words.ACTIONS, action) if action else _("not answered yet")


def entry_text(plan: Mapping[str, Any] | None) -> str:
    """Return an entry plan in words."""
    if not plan:
        return ""
    offset = plan.get("offset_bps") or 0
    kind = _("limit") if plan.get("type") == "limit" else _("market")
    return f"{kind} {formats.bps(offset)}" if offset else kind


def stop_text(plan: Mapping[str, Any] | None) -> str:
    """Return a risk plan in words."""
    if not plan:
        return ""
    method = plan.get("stop_method")
    if method == "atr":
        return _("%s ATR") % formats.ratio(plan.get("atr_multiple"))
    if method == "trailing":
        return _("trailing %s") % formats.points(plan.get("trail_pct"))
    return _("at %s") % formats.price(plan.get("stop_level"))


def _parts(details: Mapping[str, Any]) -> Iterator[Part]:
    """Return the scores that a quantitative model's word is made of."""
    scores: dict[str, float | None] = dict(details.get("components") or {})
    for name, vote in (details.get("votes") or {}).items():
        sign = -1 if vote.get("direction") == "short" else 1
        scores[name] = sign * float(vote["score"]) if vote.get("direction") else None
    for name, score in scores.items():
        width = min(50.0, 50 * abs(score or 0.0))
        start = 50 - width if (score or 0.0) < 0 else 50.0
        yield Part(name=name.replace("_", " "), score=score, start=start, width=width)


def differences(shown: Sequence[Card]) -> str:
    """Return in one sentence where the models that decided agree and where they differ."""
    decided = [card for card in shown if card.state not in {"abstained", "pending"}]
    if len(decided) < 2:
        return ""
    agree, differ = [], []
    followers = [card for card in decided if card.state == "follow"]
    for name, values in (
        (_("what to do"), {str(card.word) for card in decided}),
        (_("entry"), {card.entry for card in followers}),
        (_("stop"), {card.stop for card in followers}),
        (
            _("size"),
            {formats.points(card.decision.size_pct) for card in followers if card.decision},
        ),
    ):
        if len(values) == 1:
            agree.append(name)
        elif values:
            differ.append(f"{name} ({_(' against ').join(sorted(values))})")
    told = []
    if agree:
        told.append(_("agree on %s") % ", ".join(agree))
    if differ:
        told.append(_("differ on %s") % ", ".join(differ))
    said = "; ".join(told)
    return said[:1].upper() + said[1:]
