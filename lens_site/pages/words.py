"""What the house's codes are called on pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Words = str | Promise

ACTIONS: Mapping[str, Words] = {
    "FOLLOW_ENTER": _("follow"),
    "IGNORE": _("ignore"),
    "FOLLOW_EXIT": _("exit"),
    "HOLD": _("hold"),
    "TIGHTEN_STOP": _("tighten stop"),
}
FOLLOWING = frozenset({"FOLLOW_ENTER", "FOLLOW_EXIT"})
DIRECTIONS: Mapping[str, Words] = {
    "long": _("long"),
    "short": _("short"),
    "close_long": _("close long"),
    "close_short": _("close short"),
}
STATUSES: Mapping[str, Words] = {
    "ENQUEUED": _("waiting for its facts"),
    "ENRICHED": _("being judged"),
    "EVALUATED": _("judged, not yet published"),
    "PUBLISHED": _("published"),
    "REJECTED": _("rejected by a gate"),
    "EXPIRED": _("expired before it was judged"),
    "CANCELLED": _("cancelled"),
    "DEAD": _("dead letter"),
}
CAUSES: Mapping[str, Words] = {
    "refused": _("refused to answer"),
    "blocked": _("answer blocked by the vendor"),
    "truncated": _("answer cut off"),
    "invalid": _("answer not valid"),
    "timeout": _("timed out"),
    "network": _("vendor not reached"),
    "rate_limited": _("rate limit of the vendor"),
    "quota": _("quota used up"),
    "auth": _("key rejected by the vendor"),
    "overloaded": _("vendor overloaded"),
    "bad_request": _("request rejected by the vendor"),
    "bad_body": _("answer not readable"),
    "over_budget": _("over the budget"),
    "disabled": _("switched off"),
    "stale_input": _("facts too old"),
    "insufficient_data": _("too few facts"),
    "fault": _("fault inside Lens"),
}
REASONS: Mapping[str, Words] = {
    "bullish_trend": _("trend is up"),
    "bearish_trend": _("trend is down"),
    "no_trend": _("no trend"),
    "ema_bullish_stack": _("EMAs stacked upwards"),
    "ema_bearish_stack": _("EMAs stacked downwards"),
    "ema_mixed": _("EMAs mixed"),
    "macd_bullish_cross": _("MACD crossed up"),
    "macd_bearish_cross": _("MACD crossed down"),
    "macd_divergence": _("MACD diverges"),
    "rsi_oversold": _("RSI oversold"),
    "rsi_overbought": _("RSI overbought"),
    "rsi_neutral": _("RSI neutral"),
    "funding_favorable": _("funding favours the trade"),
    "funding_unfavorable": _("funding is against the trade"),
    "funding_neutral": _("funding neutral"),
    "tight_liquidation": _("liquidation is near"),
    "good_rr_ratio": _("good reward for the risk"),
    "poor_rr_ratio": _("poor reward for the risk"),
    "wide_spread": _("spread is wide"),
    "tight_spread": _("spread is tight"),
}
GATES: Mapping[str, Words] = {
    "signal_age": _("signal is fresh"),
    "unknown_symbol": _("symbol is known to the market"),
    "price_drift": _("price has not run away"),
    "feature_profile": _("feature profile is in force"),
}
REFUSALS: Mapping[str, Words] = {
    "signal_age": _("too old"),
    "unknown_symbol": _("unknown symbol"),
    "price_drift": _("price drifted"),
    "feature_profile": _("no such profile"),
}


ENDINGS: Mapping[str, Words] = {
    "TARGET": _("target reached"),
    "STOP": _("stopped out"),
    "EXPIRED": _("ended at the horizon"),
    "NOT_FILLED": _("never entered"),
    "OPEN": _("open"),
    "UNRESOLVABLE": _("cannot be told"),
}


def phrase(table: Mapping[str, Words], code: str) -> Words:
    """Return what a code is called; an unknown one is shown as it is, with spaces."""
    return table.get(code) or code.replace("_", " ").lower()


def letters(names: Iterable[str]) -> dict[str, str]:
    """Return one capital for each name, its first that no earlier name has taken.

    Edges: a name whose letters are all taken gets a digit.
    """
    given: dict[str, str] = {}
    for name in names:
        own = [letter for letter in name.upper() if letter.isalnum()]
        spare = [*own, *"0123456789"]
        given[name] = next((one for one in spare if one not in given.values()), "?")
    return given
