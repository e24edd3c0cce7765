"""The weighted rule score, and whether timeframes confirm each other.

Two profiles. ``published`` adds up strengths whichever way they point, as it was published;
``aligned`` counts evidence with its sign, in the instrument's own volatility. What is unknown
is named in ``missing`` and lowers ``coverage``: it adds nothing, and need not pass for neutral.
"""

from __future__ import annotations

from collections.abc import Sequence

from quant.engine_features import EngineFeatures, Liquidations, engine_features
from quant.market_events import MarketEvent, standing_events
from quant.scoring.aligned import aligned_score
from quant.scoring.published import published_score
from quant.scoring.result import (
    SCORE_PROFILES,
    THRESHOLD,
    WEIGHTS,
    EngineScore,
    ScoreProfile,
    ScoreReason,
)
from quant.scoring.timeframes import (
    Confirmation,
    TimeframeDirection,
    confirm,
    timeframe_direction,
)

__all__ = [
    "SCORE_PROFILES",
    "THRESHOLD",
    "WEIGHTS",
    "Confirmation",
    "EngineFeatures",
    "EngineScore",
    "Liquidations",
    "MarketEvent",
    "ScoreProfile",
    "ScoreReason",
    "TimeframeDirection",
    "confirm",
    "engine_features",
    "score",
    "standing_events",
    "timeframe_direction",
]


def score(
    features: EngineFeatures,
    *,
    events: Sequence[MarketEvent] | None,
    profile: ScoreProfile,
) -> EngineScore:
    """Return how strongly the features speak for a side.

    Shapes: one value and any number of events -> one score.
    Units: see ``EngineScore``.
    Edges: ``events`` None means that nobody looked, an empty sequence that there were none. In
        ``published`` a tie of votes is long; with every directed component unknown there is no
        side in either profile.
    Source: specification A5; vectors ``engine.scoring_cases``.
    :raises ValueError: if ``profile`` is unknown.
    """
    if profile not in SCORE_PROFILES:
        raise ValueError(f"profile must be one of {', '.join(SCORE_PROFILES)}, was {profile!r}")
    scored = published_score if profile == "published" else aligned_score
    return scored(features, events)
