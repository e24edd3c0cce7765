"""Every write of the outcomes room."""

from __future__ import annotations

from outcomes.alerting import acknowledge_alert
from outcomes.appraising import appraise
from outcomes.asking import ask_about_closed, ask_about_decisions, ask_about_signals
from outcomes.biases import finish_audits, start_audit
from outcomes.canaries import (
    accept_canary,
    add_golden,
    drop_golden,
    judge_canaries,
    send_canaries,
)
from outcomes.experimenting import (
    NotProven,
    expectation,
    promote_challenger,
    shadow_signals,
    start_experiment,
    stop_experiment,
    weigh_evidence,
)
from outcomes.tallying import tally
from outcomes.teaching import Hindsight, learn_anew
from outcomes.tracking import advance, close_unfindable, set_missing_levels

__all__ = [
    "Hindsight",
    "NotProven",
    "accept_canary",
    "acknowledge_alert",
    "add_golden",
    "advance",
    "appraise",
    "ask_about_closed",
    "ask_about_decisions",
    "ask_about_signals",
    "close_unfindable",
    "drop_golden",
    "expectation",
    "finish_audits",
    "judge_canaries",
    "learn_anew",
    "promote_challenger",
    "send_canaries",
    "set_missing_levels",
    "shadow_signals",
    "start_audit",
    "start_experiment",
    "stop_experiment",
    "tally",
    "weigh_evidence",
]
