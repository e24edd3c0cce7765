"""What a source's signals are worth: how fast they fade, and whether chance would do as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from quant.lifecycle import MINUTE_MS, Costs, Fill, Question, Recording, follow, settle
from quant.types import Array

DECAY_MINUTES = (1, 5, 15, 60)
RESAMPLES = 5_000


def decay(
    question: Question, recording: Recording, *, minutes: tuple[int, ...] = DECAY_MINUTES
) -> Mapping[int, float | None]:
    """Return how a signal stood so many minutes after it was given, whatever its levels.

    Shapes: (n,) bars -> one value for each of ``minutes``.
    Units: R, before costs, at the close of the bar that ends at that moment.
    Edges: None where the recording has no such bar.
    Source: signal decay as in alphalens, in R.
    """
    bars = recording.bars
    return {
        after: _close_at(question, question.opens_ms + after * MINUTE_MS, bars.close_ms, bars.close)
        for after in minutes
    }


def random_entry(
    question: Question, recording: Recording, *, place: int, costs: Costs
) -> float | None:
    """Return what the same trade would have earned, had it been entered with another bar.

    Shapes: scalar place -> scalar.
    Units: R, after costs.
    Edges: side, horizon and distances in percent stay the same; the entry is the bar's first
        price; None where a gap or the end of the recording leaves it open.
    Source: entry significance with unchanged exits, as in jesse's rule test.
    """
    entry = float(recording.bars.open[place])
    ratio = entry / question.entry
    moved = replace(
        question,
        entry=entry,
        target=question.target * ratio,
        stop=question.stop * ratio,
        asked_ms=int(recording.bars.open_ms[place]),
        fill=Fill.AT_ONCE,
    )
    track = follow(moved, recording)
    return settle(moved, track, costs=costs).net_r if track.status.has_exit else None


def random_entries(
    question: Question,
    recording: Recording,
    *,
    costs: Costs,
    count: int,
    rng: np.random.Generator,
    within: slice = slice(None),
) -> list[float]:
    """Return what the same trade would have earned at random moments.

    Shapes: (n,) bars -> at most ``count`` values.
    Units: R, after costs.
    Edges: moments are drawn without regard to the signal, from the bars of ``within``; those that
        find no end are left out; no bars, no values.
    Source: ``random_entry``.
    """
    places = np.arange(len(recording.bars))[within]
    if not places.size:
        return []
    drawn = rng.choice(places, size=count)
    found = (random_entry(question, recording, place=int(at), costs=costs) for at in drawn)
    return [each for each in found if each is not None]


def chance_p_value(
    net_r: Array,
    elsewhere: list[list[float]],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> float | None:
    """Return how often random entries would have earned at least as much on average.

    Shapes: (n,), n lists of random entries of the same trades -> scalar.
    Units: a share; small values speak for the source.
    Edges: signals without random entries are left out; None if none are left. Never 0, for more
        draws could always find one.
    Source: Monte Carlo test with (b + 1) / (m + 1), Phipson and Smyth 2010.
    """
    pairs = [(earned, other) for earned, other in zip(net_r, elsewhere, strict=True) if other]
    if not pairs:
        return None
    observed = float(np.mean([earned for earned, _ in pairs]))
    totals = np.zeros(resamples)
    for _, other in pairs:
        totals += rng.choice(np.array(other), size=resamples)
    as_good = int((totals / len(pairs) >= observed - 1e-12).sum())
    return (as_good + 1) / (resamples + 1)


def _close_at(
    question: Question, moment_ms: int, close_ms: npt.NDArray[np.int64], close: Array
) -> float | None:
    place = int(np.searchsorted(close_ms, moment_ms))
    if place == close_ms.size or close_ms[place] != moment_ms:
        return None
    return question.in_r(float(close[place]))
