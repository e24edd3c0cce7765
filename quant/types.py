"""The values that every number in the product is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

TIMEFRAMES: Mapping[str, int] = MappingProxyType(
    {
        "1m": 60,
        "3m": 180,
        "5m": 300,
        "15m": 900,
        "30m": 1800,
        "1h": 3600,
        "2h": 7200,
        "4h": 14400,
        "8h": 28800,
        "12h": 43200,
        "1d": 86400,
    }
)


class Side(StrEnum):
    """The side of a position."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        """+1 when a rising price earns, -1 when a falling one does."""
        return 1 if self is Side.LONG else -1

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SHORT if self is Side.LONG else Side.LONG


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Closed or forming candles of one instrument and one timeframe, oldest first.

    Bars are equal when they hold the same candles, bit for bit, so what a pure function made of
    them may be remembered by them (ADR 0056).

    Shapes: every array is (n,).
    Units: ``open_ms`` in unix milliseconds UTC; prices in quote currency; volume in base units.
    Edges: empty is allowed; missing candles are simply absent (``quant.candles.gaps`` names them).
    :raises ValueError: if shapes or number types differ, or times do not rise strictly.
    """

    open_ms: Times
    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    timeframe_s: int

    def __post_init__(self) -> None:
        if self.timeframe_s < 1:
            raise ValueError(f"timeframe_s must be at least 1, was {self.timeframe_s}")
        if self.open_ms.ndim != 1 or self.open_ms.dtype != np.int64:
            raise ValueError("open_ms must be one row of int64 milliseconds")
        for name in ("open", "high", "low", "close", "volume"):
            column: Array = getattr(self, name)
            if column.shape != self.open_ms.shape or column.dtype != np.float64:
                raise ValueError(f"{name} must hold {self.open_ms.size} float64 values")
        if (np.diff(self.open_ms) <= 0).any():
            raise ValueError("bars must come oldest first, each open time once")

    @classmethod
    def empty(cls, *, timeframe_s: int) -> Bars:
        """Return no bars of that timeframe."""
        none = np.empty(0, dtype=np.float64)
        return cls(np.empty(0, dtype=np.int64), none, none, none, none, none, timeframe_s)

    @property
    def close_ms(self) -> Times:
        """The moment each bar closes, which is the moment the next one may open."""
        return self.open_ms + self.timeframe_s * 1000

    def __len__(self) -> int:
        return int(self.open_ms.size)

    def __getitem__(self, part: slice) -> Bars:
        columns = {name: getattr(self, name)[part] for name in _COLUMNS}
        if columns["open_ms"].size == self.open_ms.size and part.step is None:
            return self
        bars = object.__new__(Bars)
        for name, column in columns.items():
            object.__setattr__(bars, name, column)
        object.__setattr__(bars, "timeframe_s", self.timeframe_s)
        if part.step is not None:  # what is in a row was checked with the whole
            bars.__post_init__()
        return bars

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bars) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())

    def _content(self) -> tuple[int, bytes]:
        columns = [getattr(self, name).tobytes() for name in _COLUMNS]
        return self.timeframe_s, b"".join(columns)


_COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")
