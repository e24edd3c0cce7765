"""What helps against a failure, in words for whoever looks at it; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from evaluation.types import AttemptStatus

Words = str | Promise


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What is advised, and the page where it is done."""

    words: Words
    href: str = ""
    link: Words = ""


def _at_models(words: Words) -> Advice:
    return Advice(words=words, href="/models", link=_("to the models"))


def _at_health(words: Words) -> Advice:
    return Advice(words=words, href="/status", link=_("to the health page"))


BY_CODE: Mapping[str, Advice] = {
    "MARKET_DATA_UNAVAILABLE": _at_health(
        _(
            "The market did not answer, or limits us. Wait until it does, then requeue; what is"
            " past its validity will only be stored."
        )
    ),
    "BAD_MARKET_DATA": Advice(
        words=_("The market answered something else than was asked. Read the reason and report it.")
    ),
    "BAD_RECORDING": Advice(
        words=_("The candle file cannot be read. Correct the line that is named, then requeue.")
    ),
    "BAD_POLICY": Advice(
        words=_("The policy in force breaks a rule. Store a correct version, then requeue."),
        href="/admin/",
        link=_("to the back office"),
    ),
    "TIMEOUT": _at_health(
        _("It took longer than its deadline. Look at the market and the load, then requeue.")
    ),
    "NO_VERDICT": _at_models(
        _("Every model abstained. Remove the causes that are named, then requeue.")
    ),
    "EXHAUSTED": _at_health(
        _("Its attempts ran out while workers died. Look at their logs: ./lens logs")
    ),
    "POISON": Advice(
        words=_("It took its worker down time and again. Do not requeue it; report it.")
    ),
    "UNFORESEEN": Advice(
        words=_("Nobody foresaw this. The traceback is in the worker's log; report it.")
    ),
}

BY_CAUSE: Mapping[AttemptStatus, Words] = {
    AttemptStatus.AUTH: _("The vendor rejected the key: set another one, then requeue."),
    AttemptStatus.QUOTA: _("The account at the vendor is used up: top it up, then requeue."),
    AttemptStatus.RATE_LIMITED: _("The vendor limits how often it is asked: wait, then requeue."),
    AttemptStatus.OVERLOADED: _("The vendor is overloaded, or left alone after faults: wait."),
    AttemptStatus.TIMEOUT: _("The vendor answered too late: look at its latency."),
    AttemptStatus.NETWORK: _("The vendor could not be reached: check the network."),
    AttemptStatus.INVALID: _(
        "The answer broke the rules: open the signal and read the raw answer."
    ),
    AttemptStatus.OVER_BUDGET: _(
        "The day's budget is spent: raise it, or wait until midnight UTC."
    ),
    AttemptStatus.DISABLED: _("The model is switched off: switch it on, then requeue."),
    AttemptStatus.STALE_INPUT: _("The facts had grown old before the model was asked."),
    AttemptStatus.INSUFFICIENT_DATA: _("There are too few candles for this symbol."),
}

OTHER = Advice(words=_("Read the reason; docs/operations.md tells of every code."))


def advice_on(*, code: str, reason: str) -> Advice:
    """Return what helps, by the cause that the reason names if there is one, else by the code."""
    named = set(re.findall(r"[a-z_]+", reason))
    for cause, words in BY_CAUSE.items():
        if cause.value in named or code.lower() == cause.value:
            return _at_models(words)
    return BY_CODE.get(code, OTHER)
