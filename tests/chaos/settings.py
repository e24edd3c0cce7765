"""The house's settings with two models that can be told, by symbol, to break down."""

from __future__ import annotations

from lens_site.settings import *  # noqa: F403
from lens_site.settings import VAR_DIR

AI_MODELS = ("steady", "fragile")
EVALUATORS = {
    "steady": {
        "BACKEND": "evaluation.evaluators.scripted.Scripted",
        "OPTIONS": {"pause_s": 0.02},
    },
    "fragile": {
        "BACKEND": "tests.chaos.evaluators.Fragile",
        "OPTIONS": {"directory": str(VAR_DIR)},
    },
}
