"""The six figures above the board, each with its period and, where there is one, its target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from decisions import queries as decisions
from evaluation import queries as evaluation
from lens_site.pages import formats
from lens_site.pages.counting import SoFar
from lens_site.pages.rows import midnight
from lens_site.pages.words import Words
from pipeline import queries as pipeline
from signals import queries as signals
from signals.types import Origin

TARGET_MS = 6_000
"""End to end, at the 95th percentile."""

DELAYS_LOOKED_AT = 100
DEMO_COUNTED = 1_000
QUEUE_TARGET = 100
"""Due pieces of work; more than the workers take up in a second or two."""

RECEIVED, RULED = SoFar(), SoFar()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure: what it is, how it reads, what it is measured against."""

    key: str
    label: Words
    href: str
    kind: str
    value: Any
    under: Words
    is_breach: bool = False


def board_tiles(*, now: datetime) -> list[Tile]:
    """Return the tiles as of ``now``."""
    since = midnight(now)
    return [
        _signals(since=since, now=now),
        _follow_rate(since=since, now=now),
        _delay(),
        _queue(),
        _letters(),
        _spend(now=now),
    ]


def _signals(*, since: datetime, now: datetime) -> Tile:
    (live,) = RECEIVED.count(_received, since=since, now=now)
    demo = _demo_said(since=since)
    return Tile(
        key="signals",
        label=_("Signals today"),
        href="/signals",
        kind="whole",
        value=live,
        under=_("and %s demo, not counted") % demo if demo else _("since 00:00 UTC"),
    )


def _demo_said(*, since: datetime) -> str:
    """Say how many demo signals there are; they may be cleared at any time, so none is kept."""
    count = signals.count_received(origin=Origin.DEMO, since=since, most=DEMO_COUNTED)
    more = "+" if count == DEMO_COUNTED else ""
    return f"{formats.whole(count)}{more}" if count else ""


def _received(since: datetime, until: datetime | None) -> tuple[int, ...]:
    return (signals.count_received(origin=Origin.LIVE, since=since, until=until),)


def _follow_rate(*, since: datetime, now: datetime) -> Tile:
    first = RULED.count(_ruled, since=since, now=now)
    later = decisions.count_later_rulings(since=since)
    ruled, followed = (one + other for one, other in zip(first, later, strict=True))
    return Tile(
        key="follow",
        label=_("Follow rate"),
        href="/models",
        kind="percent",
        value=followed / ruled if ruled else None,
        under=_("%(followed)s of %(ruled)s decided today") % {"followed": followed, "ruled": ruled}
        if ruled
        else _("nothing live decided today"),
    )


def _ruled(since: datetime, until: datetime | None) -> tuple[int, ...]:
    return decisions.count_first_rulings(since=since, until=until)


def _delay() -> Tile:
    delays = sorted(decisions.list_delays_ms(limit=DELAYS_LOOKED_AT))
    value = delays[min(len(delays) - 1, int(len(delays) * 0.95))] if delays else None
    is_breach = value is not None and value > TARGET_MS
    said = (
        _("of the last %(n)s, over %(target)s")
        if is_breach
        else _("of the last %(n)s, target %(target)s")
    )
    return Tile(
        key="p95",
        label=_("p95 end to end"),
        href="/status",
        kind="span",
        value=value,
        under=said % {"n": len(delays), "target": formats.span(TARGET_MS)},
        is_breach=is_breach,
    )


def _queue() -> Tile:
    waiting = sum(depth.waiting for depth in pipeline.list_depths())
    is_breach = waiting > QUEUE_TARGET
    return Tile(
        key="queue",
        label=_("Waiting jobs"),
        href="/status",
        kind="whole",
        value=waiting,
        under=_("a backlog") if is_breach else _("due now"),
        is_breach=is_breach,
    )


def _letters() -> Tile:
    count = pipeline.count_open_letters()
    return Tile(
        key="letters",
        label=_("Dead letters"),
        href="/dead-letters",
        kind="whole",
        value=count,
        under=_("waiting for an operator") if count else _("nothing has failed for good"),
        is_breach=count > 0,
    )


def _spend(*, now: datetime) -> Tile:
    spend = evaluation.get_spend(day=now.date())
    value = spend.spent_usd + spend.reserved_usd if spend else 0
    budget = settings.LLM_BUDGET_USD_PER_DAY
    is_breach = budget is not None and value >= budget
    of = _("the budget of %s is used up") if is_breach else _("of %s today")
    return Tile(
        key="spend",
        label=_("Model spend"),
        href="/models",
        kind="usd",
        value=value,
        under=of % formats.usd(budget) if budget is not None else _("today, no limit set"),
        is_breach=is_breach,
    )
