"""The house's settings for measurements: models that answer at once, and work that does nothing."""

from __future__ import annotations

import os

from lens_site.settings import *  # noqa: F403
from lens_site.settings import PROVIDERS, STAGES

MODELS = 4
AI_MODELS = tuple(f"canned-{number}" for number in range(MODELS))
EVALUATORS = {
    name: {"BACKEND": "evaluation.evaluators.scripted.Scripted", "OPTIONS": {}}
    for name in AI_MODELS
}
PROVIDERS = {**PROVIDERS, "slow": {"BACKEND": "benchmarks.slow_market.Slow", "OPTIONS": {}}}
STAGES = ("benchmarks.errand.ERRAND",) if os.environ.get("BENCH_ERRAND") else STAGES
