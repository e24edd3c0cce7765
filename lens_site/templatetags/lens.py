"""Tags and filters of the pages; what they say is decided in ``lens_site.pages.formats``.

What stands many times on a page is put together from plain strings, each escaped where it goes in:
``format_html`` asks of every piece whether it is lazy, and was a third of the board's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from html import escape
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from lens_site.pages import formats, phrases
from lens_site.pages.pointing import fault_in
from lens_site.pages.rows import Row, Square
from lens_site.pages.words import ACTIONS, CAUSES, DIRECTIONS, ENDINGS, FOLLOWING, REFUSALS, phrase
from signals.types import Origin

register = template.Library()

KINDS: Mapping[str, Callable[[Any], str]] = {
    "price": formats.price,
    "whole": formats.whole,
    "percent": formats.percent,
    "points": formats.points,
    "change": formats.change,
    "bps": formats.bps,
    "usd": formats.usd,
    "ratio": formats.ratio,
    "score": formats.score,
    "delta": formats.delta,
    "span": formats.span,
}
MOMENTS: Mapping[str, Callable[[datetime], str]] = {
    "clock": formats.clock,
    "day": formats.day,
    "short": formats.short_stamp,
}
UNKNOWN = SafeString(f'<span class="unknown">{formats.UNKNOWN}</span>')


def _figure(kind: str, value: Any) -> SafeString:
    found = formats.number(value)
    if found is None:
        return UNKNOWN
    text = escape(KINDS[kind](found))
    return SafeString(f'<data value="{found:f}" data-as="{kind}">{text}</data>')


@register.filter
def price(value: Any) -> SafeString:
    """Show a price."""
    return _figure("price", value)


@register.filter
def level(value: Any, like: Any) -> SafeString:
    """Show a calculated price with the digits of one that was sent."""
    found = formats.number(value)
    known = formats.number(like)
    return _figure("price", found if found is None or not known else _rounded(found, known))


def _rounded(value: Decimal, like: Decimal) -> Decimal:
    return round(value, formats.digits_of(like))


@register.filter
def whole(value: Any) -> SafeString:
    """Show a count."""
    return _figure("whole", value)


@register.filter
def percent(value: Any) -> SafeString:
    """Show a share of 0 to 1 as per cent."""
    return _figure("percent", value)


@register.filter
def points(value: Any) -> SafeString:
    """Show 0 to 100 as per cent."""
    return _figure("points", value)


@register.filter
def change(value: Any) -> SafeString:
    """Show a relative change as per cent with its sign."""
    return _figure("change", value)


@register.filter
def bps(value: Any) -> SafeString:
    """Show basis points."""
    return _figure("bps", value)


@register.filter
def usd(value: Any) -> SafeString:
    """Show US dollars."""
    return _figure("usd", value)


@register.filter
def percent_text(value: Any) -> str:
    """Write a share of 0 to 1 as per cent where no element may stand, as in a tooltip."""
    return formats.percent(value)


@register.simple_tag
def figure(kind: str, value: Any) -> SafeString:
    """Show a figure of a kind that is only known when the page is made."""
    return _figure(kind, value)


@register.filter
def ratio(value: Any) -> SafeString:
    """Show R multiples and the like."""
    return _figure("ratio", value)


@register.filter
def score(value: Any) -> SafeString:
    """Show a score of forecasts."""
    return _figure("score", value)


@register.filter
def delta(value: Any) -> SafeString:
    """Show a difference between scores."""
    return _figure("delta", value)


@register.filter
def span(value: Any) -> SafeString:
    """Show a length of time given in milliseconds."""
    return _figure("span", value)


@register.filter
def moment(at: datetime | None, kind: str = "clock") -> SafeString:
    """Show a moment as ``clock``, ``stamp`` or ``age``; the whole of it stands in the tooltip."""
    if at is None:
        return UNKNOWN
    at = at.astimezone(UTC)
    whole_stamp = formats.stamp(at)
    text = MOMENTS[kind](at) if kind in MOMENTS else f"{whole_stamp} UTC"
    iso = at.isoformat().replace("+00:00", "Z")
    return SafeString(
        f'<time datetime="{iso}" data-as="{escape(kind)}" title="{whole_stamp} UTC">{text}</time>'
    )


@register.filter
def iso(at: datetime) -> str:
    """Write a moment as programs read it."""
    return at.isoformat()


@register.filter
def plain(text: object) -> SafeString:
    """Show a stranger's text as text: isolated, escaped, with what would hide made visible."""
    found = formats.pieces(str(text))
    shown = "".join(escape(piece) + (_hidden(code) if code else "") for piece, code in found)
    return SafeString(f'<bdi class="plain">{shown}</bdi>')


def _hidden(code: str) -> str:
    return f'<i class="hidden-letter" title="{escape(formats.name_of(code))}">{escape(code)}</i>'


@register.simple_tag
def raw_answer(attempt: Any) -> SafeString:
    """Show a raw answer, with the place marked that it was refused for."""
    answer = str(attempt.answer)
    span = fault_in(answer, attempt.error) if attempt.error else None
    if span is None:
        return plain(answer)
    first, last = span
    told = f'<mark title="{escape(attempt.error)}">{plain(answer[first:last])}</mark>'
    return SafeString(plain(answer[:first]) + told + plain(answer[last:]))


@register.filter
def short_id(value: object) -> str:
    """Show the beginning of an id."""
    return formats.short_id(value)


@register.simple_tag
def words() -> str:
    """Give scripts their phrases in the language of the request."""
    return phrases.translated()


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """Draw an icon; without a ``label`` it is decoration and silent to screen readers."""
    told = f'role="img" aria-label="{escape(str(label))}"' if label else 'aria-hidden="true"'
    return SafeString(
        f'<svg class="icon" {told}><use href="{_sheet()}#{escape(name)}"></use></svg>'
    )


@cache
def _sheet() -> str:
    return escape(static("lens/icons.svg"))


SIGNS = {"abstained": "!", "pending": "·", "skipped": "–"}


@register.simple_tag
def squares(found: Iterable[Square]) -> SafeString:
    """Draw one square a model: a letter or a sign to see, words to hear."""
    return SafeString(f'<span class="squares">{"".join(map(_square, found))}</span>')


def _square(each: Square) -> str:
    said, letter = escape(each.words), escape(each.letter)
    return (
        f'<i class="sq {each.state}" role="img" data-model="{escape(each.model)}" '
        f'data-letter="{letter}" title="{said}" aria-label="{said}">'
        f"{SIGNS.get(each.state, letter)}</i>"
    )


@register.filter
def of(table: Mapping[str, Any], key: str) -> Any:
    """Return what a table holds under a key that only the page knows, or None."""
    return table.get(key)


@register.simple_tag
def cause(code: str) -> str:
    """Say why a model gave no verdict, or that it did."""
    return _("answered") if code == "ok" else str(phrase(CAUSES, code))


@register.simple_tag
def refusal(gate: str) -> str:
    """Say why a gate refused a signal."""
    return str(phrase(REFUSALS, gate))


@register.simple_tag
def gate_told(gate: Mapping[str, Any]) -> SafeString:
    """Show what a gate looked at, and the limit or the list that it held it to."""
    value, limit, unit = gate.get("value"), gate.get("limit"), str(gate.get("unit") or "")
    if unit == "bps":
        most = f"±{formats.whole(limit)}{formats.THIN}bps"
        return format_html("{} · {} {}", _figure("bps", value), _("limit"), most)
    if unit == "s":
        most = formats.age(limit)
        return format_html("{} · {} {}", _figure("span", _ms(value)), _("limit"), most)
    if limit in (None, ""):
        return format_html("{}", plain(value))
    return format_html("{} · {}", plain(value), plain(limit))


def _ms(seconds: Any) -> float | None:
    return None if seconds is None else 1_000 * float(seconds)


@register.filter
def told(value: object) -> object:
    """Write what a line of the trail holds as people write it, not as programs do."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {told(each)}" for name, each in value.items()) or _("none")
    if isinstance(value, list | tuple):
        return ", ".join(str(told(each)) for each in value) or _("none")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return formats.UNKNOWN if value is None else value


@register.simple_tag
def ending(outcome: Any) -> str:
    """Say how the question of a bet ended, or that it has not."""
    return str(phrase(ENDINGS, outcome.resolution or outcome.status))


@register.filter
def action(code: str) -> str:
    """Say what a decision advises."""
    return str(phrase(ACTIONS, code))


@register.simple_tag(name="action")
def action_badge(code: str) -> SafeString:
    """Show what a decision advises as a badge."""
    kind = "follow" if code in FOLLOWING else "warn" if code == "TIGHTEN_STOP" else ""
    return format_html('<span class="badge {}">{}</span>', kind, action(code).upper())


ARROWS = {"long": "▲", "short": "▼", "close_long": "△", "close_short": "▽"}


@register.simple_tag
def direction(value: str) -> SafeString:
    """Show a direction with an arrow and a word."""
    side = value.removeprefix("close_") if value in ARROWS else ""
    said = escape(str(DIRECTIONS.get(value, value)))
    arrow = f'<span aria-hidden="true">{ARROWS.get(value, "◆")}</span>'
    return SafeString(f'<span class="direction {side}">{arrow} {said}</span>')


@register.simple_tag(name="origin")
def origin_badge(origin: str, *, simulated: bool) -> SafeString | str:
    """Mark a signal that nobody sent in earnest, and one that a made-up market was asked about."""
    if origin != Origin.LIVE:
        marked = '<span class="badge demo" data-testid="{}">{}</span>'
        return format_html(marked, origin.lower(), origin)
    if not simulated:
        return ""
    said = _("judged on a simulated market")
    return format_html('<span class="badge demo" title="{}">SIMULATED</span>', said)


@register.simple_tag
def row_opens(row: Row) -> SafeString:
    """Open a row of signals, with what the board's script needs to know of it."""
    signal, ruling = row.signal, row.ruling
    told = {
        "id": signal.event_id,
        "symbol": signal.symbol,
        "state": row.state,
        "seq": row.seq,
        "decision": ruling.decision if ruling else "",
        "asked": row.asked,
        "received": iso(signal.received_at),
        "drift": "unknown" if row.drift_bps is None else "known",
    }
    if row.stale_at is not None:
        told["expires"] = iso(row.stale_at)
    data = " ".join(f'data-{name}="{escape(str(value))}"' for name, value in told.items())
    return SafeString(f'<tr id="row-{signal.event_id}" data-testid="row" {data}>')


@register.simple_tag
def received(row: Row, kind: str) -> SafeString:
    """Show when a row's signal came in: as the list says, or the day of what is not of today."""
    return moment(row.signal.received_at, kind or ("clock" if row.is_today else "day"))


ENDS = {"rejected": "warn", "dead": "error"}


@register.simple_tag
def verdict(row: Row) -> SafeString:
    """Show what the jury said and how many of the models follow; before that, how far it is."""
    word = str(row.word)
    if row.state == "waiting":
        kinds, shown = "open", word
    elif row.state == "partial":
        kinds, shown = "open", f"{row.answered}/{row.asked} {_('answered')}"
    elif row.state in {"decided", "stale"}:
        kinds = "follow" if row.is_follow else ""
        shown = f"{word.upper()} {row.followed}/{row.asked}"
    else:
        kinds, shown = ENDS.get(row.state, "stale"), word.upper()
    shown = escape(shown)
    if row.state == "stale":
        kinds, shown = f"{kinds} past", f"<s>{shown}</s>"
    return SafeString(f'<span class="badge {kinds}" data-testid="verdict">{shown}</span>')
