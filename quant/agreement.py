"""How much judges agree beyond what chance would have them agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How much two judges agree.

    Units: ``kappa`` is 1 for always, 0 for as often as chance, negative for less; ``same`` the
        share of decisions on which they said the same; ``n`` decisions that both gave.
    Edges: ``kappa`` is NaN where each always says one and the same thing.
    """

    kappa: float
    same: float
    n: int


def agreement(first: Sequence[str | None], second: Sequence[str | None]) -> Agreement:
    """Return how much two judges agree on the decisions that both gave.

    Shapes: (n,), (n,); None where a judge gave none.
    Units: see ``Agreement``.
    Edges: NaN for both shares without a common decision.
    Source: Cohen 1960; equals ``sklearn.metrics.cohen_kappa_score``.
    """
    pairs = [
        (one, other)
        for one, other in zip(first, second, strict=True)
        if one is not None and other is not None
    ]
    if not pairs:
        return Agreement(kappa=float("nan"), same=float("nan"), n=0)
    words = sorted({word for pair in pairs for word in pair})
    table: npt.NDArray[np.float64] = np.zeros((len(words), len(words)))
    for one, other in pairs:
        table[words.index(one), words.index(other)] += 1.0
    n = float(len(pairs))
    same = float(np.trace(table)) / n
    by_chance = float(table.sum(axis=1) @ table.sum(axis=0)) / (n * n)
    kappa = (same - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else float("nan")
    return Agreement(kappa=kappa, same=same, n=len(pairs))


def agreement_matrix(
    decisions: Mapping[str, Sequence[str | None]],
) -> dict[tuple[str, str], Agreement]:
    """Return the agreement of every pair of judges, each pair once, by name.

    Shapes: k judges of n decisions each -> k (k - 1) / 2 pairs.
    Units: see ``Agreement``.
    Edges: as ``agreement``.
    Source: as ``agreement``.
    """
    names = sorted(decisions)
    return {
        (one, other): agreement(decisions[one], decisions[other])
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }
