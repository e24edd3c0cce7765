"""The house's settings with two models that can be told, by symbol, to break down.

Language models that the environment names are asked beside them. After faults in a row a model is
left alone for seconds, not minutes: a frozen worker wakes up with several at once, and for the rest
of a trial nobody would be asked.
"""

from __future__ import annotations

from lens_site.settings import *  # noqa: F403
from lens_site.settings import AI_MODELS as NAMED
from lens_site.settings import EVALUATORS as BUILT
from lens_site.settings import VAR_DIR

AI_MODELS = ("steady", "fragile", *(name for name in NAMED if name not in ("ensemble", "rules")))
EVALUATORS = {
    **BUILT,
    "steady": {
        "BACKEND": "evaluation.evaluators.scripted.Scripted",
        "OPTIONS": {"pause_s": 0.02},
    },
    "fragile": {
        "BACKEND": "chaos.evaluators.Fragile",
        "OPTIONS": {"directory": str(VAR_DIR)},
    },
}
LLM_BREAKER_OPEN_S = LLM_SAFE_MODE_OPEN_S = 5
