"""The fuse box: everything that plugs into something, by name and dotted path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Plug = dict[str, Any]

# event -> the services that it calls inside the announcing transaction; the flow, top to bottom
ROUTES: dict[str, tuple[str, ...]] = {
    "signal.submitted": ("enrichment.services.request_enrichment",),
    "signal.enriched": ("evaluation.services.request_evaluations",),
    "evaluations.requested": ("decisions.services.summon_jury",),
    "evaluation.finished": ("decisions.services.decide",),
    "signal.closed": ("evaluation.services.skip_open_evaluations",),
    "enrich.retried": ("signals.services.rerun",),
    "evaluate.retried": ("evaluation.services.reopen",),
    "jury.retried": ("signals.services.rerun",),
}

# what a worker runs, first things last: nearly finished work goes before new work
STAGES: tuple[str, ...] = (
    "decisions.jobs.JURY",
    "evaluation.jobs.EVALUATE",
    "enrichment.jobs.ENRICH",
)

BUILT_IN_MODELS = ("ensemble", "rules")


def providers(
    *, hyperliquid_url: str, timeout_ms: int, recording: str, seed: int
) -> dict[str, Plug]:
    """Return the market-data plugs by name."""
    return {
        "hyperliquid": {
            "BACKEND": "markets.providers.hyperliquid.Hyperliquid",
            "OPTIONS": {"base_url": hyperliquid_url, "timeout_ms": timeout_ms},
        },
        "recorded": {
            "BACKEND": "markets.providers.recorded.Recorded",
            "OPTIONS": {"path": recording},
        },
        "simulated": {
            "BACKEND": "markets.providers.simulated.Simulated",
            "OPTIONS": {"seed": seed},
        },
    }


def evaluators(
    *, names: Sequence[str], ensemble: Mapping[str, Any], rules: Mapping[str, Any]
) -> dict[str, Plug]:
    """Return the evaluator plugs of the models that ``AI_MODELS`` names, in that order.

    A name that nothing is known of keeps an empty plug, which the system checks refuse by name.
    """
    built_in: dict[str, Plug] = {
        "ensemble": {
            "BACKEND": "evaluation.evaluators.ensemble.Ensemble",
            "OPTIONS": dict(ensemble),
        },
        "rules": {"BACKEND": "evaluation.evaluators.rules.Rules", "OPTIONS": dict(rules)},
        "scripted": {"BACKEND": "evaluation.evaluators.scripted.Scripted", "OPTIONS": {}},
    }
    return {name: built_in.get(name, {}) for name in names}
