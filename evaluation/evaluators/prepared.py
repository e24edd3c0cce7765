"""Judges of known character, to see whether scoring recognises them; for replays and tests.

They read how signals will end from a file that was made beforehand of outcomes already recorded.
Of anything that is not in the file, as every signal of the present, they have no opinion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from evaluation.evaluators.base import Abstained
from evaluation.evaluators.quantitative import Quantitative
from evaluation.types import Action, AttemptStatus, Case, Verdict

CHARACTERS = ("perfect", "coin", "overconfident", "inverted")
CERTAIN = 0.95
SURE = 0.80
TOSSED = 0.60
RIGHT_SHARE = 0.65  # how often the over-confident one is right, whatever it claims


class Prepared(Quantitative):
    """Perfect knows, a coin tosses, over-confident is often wrong, inverted says the opposite.

    ``answers`` is a JSON file of ``{"SYMBOL|side|moment": won}``; a character is a model's name.
    """

    version: ClassVar[str] = "prepared-1"

    def __init__(self, *, name: str, answers: str) -> None:
        super().__init__(name=name)
        if name not in CHARACTERS:
            raise TypeError(f"name must be one of {', '.join(CHARACTERS)}, was {name!r}")
        self.answers = answers

    def judge(self, case: Case) -> Verdict:
        won = _answers(self.answers).get(answer_key(case))
        if won is None:
            raise Abstained("no answer was prepared", status=AttemptStatus.INSUFFICIENT_DATA)
        follows, confidence = self._said(case, won=won)
        yes, no = (
            (Action.FOLLOW_ENTER, Action.IGNORE)
            if case.is_opening
            else (Action.FOLLOW_EXIT, Action.HOLD)
        )
        enters = follows and case.is_opening
        return Verdict(
            action=yes if follows else no,
            confidence=confidence,
            reasons=("no_trend",),
            size_pct=5.0 if enters else 0.0,
            entry_plan={"type": "market", "offset_bps": 0} if enters else None,
            risk_plan={"stop_method": "atr", "atr_multiple": 1.0} if enters else None,
        )

    def _said(self, case: Case, *, won: bool) -> tuple[bool, float]:
        """Return whether this character follows and how sure it claims to be."""
        if self.name == "perfect":
            return won, CERTAIN
        if self.name == "inverted":
            return not won, SURE
        drawn = _share(f"{self.name}|{answer_key(case)}")
        if self.name == "coin":
            return drawn < 0.5, TOSSED
        return won if drawn < RIGHT_SHARE else not won, CERTAIN


def answer_key(case: Case) -> str:
    """Return under which name the answer to a case is prepared."""
    return f"{case.symbol}|{case.side}|{case.as_of.isoformat(timespec='seconds')}"


@lru_cache(maxsize=4)
def _answers(path: str) -> Mapping[str, bool]:
    """Return the prepared answers; none without a file."""
    if not path or not Path(path).is_file():
        return {}
    found: Mapping[str, bool] = json.loads(Path(path).read_text("utf-8"))
    return found


def _share(text: str) -> float:
    """Return a number in [0, 1) that depends on nothing but the text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest()) / 2**48
