"""Phrases that scripts say, marked for translation; English needs none of them sent along."""

from __future__ import annotations

import json
from functools import cache

from django.utils.translation import get_language, gettext, gettext_noop

PHRASES = (
    gettext_noop("copied"),
    gettext_noop("connecting"),
    gettext_noop("connection: {text}"),
    gettext_noop("live {ms} ms"),
    gettext_noop("replaying {missed}"),
    gettext_noop("reconnecting in {left}"),
    gettext_noop("offline since {at}"),
    gettext_noop("signed out"),
    gettext_noop("1 new decision"),
    gettext_noop("Paused, {count} new"),
    gettext_noop("calibrated by outcomes; said {share}"),
    gettext_noop("decisions {from} to {to} are not shown here"),
    gettext_noop("forget this view"),
    gettext_noop("stale"),
    gettext_noop("while you were away ({left}): {count} decisions"),
    gettext_noop("{answered}/{asked} answered"),
    gettext_noop("{count} new decisions"),
    gettext_noop("{model}: abstained: {cause}"),
    gettext_noop("{model}: {word}, {share}"),
    gettext_noop("{word} {symbol}, {share}"),
    gettext_noop("entry"),
    gettext_noop("stop"),
    gettext_noop("target"),
    gettext_noop("liquidation"),
    gettext_noop("signal"),
    gettext_noop("{count} closed candles of {timeframe}, the last at {at}"),
    gettext_noop("{after} of them after the decision, drawn pale"),
    gettext_noop("none of them after the decision"),
    gettext_noop("SIMULATED market"),
    gettext_noop("The candles cannot be had now: {why}"),
    gettext_noop("the server answered {status}"),
    gettext_noop("not connected; the answer below says why"),
    gettext_noop("{level} lies off the chart at {price}"),
    gettext_noop("follow"),
    gettext_noop("ignore"),
    gettext_noop("exit"),
    gettext_noop("hold"),
    gettext_noop("tighten stop"),
)


def translated() -> str:
    """Return as JSON the phrases that read otherwise in the language of the request."""
    return _translated(get_language())


@cache
def _translated(_language: str | None) -> str:
    found = {phrase: gettext(phrase) for phrase in PHRASES}
    return json.dumps({phrase: text for phrase, text in found.items() if text != phrase})
