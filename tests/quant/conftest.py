from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant.types import Array, Bars

VECTORS = Path(__file__).parent.parent / "vectors"


@cache
def _vectors(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return read


@pytest.fixture
def indicator_vectors() -> dict[str, Any]:
    return _vectors("indicator_vectors.json")


@pytest.fixture
def ensemble_vectors() -> dict[str, Any]:
    return _vectors("ensemble_vectors.json")


@pytest.fixture
def consensus_vectors() -> dict[str, Any]:
    return _vectors("consensus_vectors.json")


@pytest.fixture
def synth(indicator_vectors: dict[str, Any]) -> Bars:
    """The 300 bars that the golden values were computed from."""
    series = indicator_vectors["series"]
    times = np.array(series["ts_ms"], dtype=np.int64)
    prices = {name: np.array(series[name]) for name in ("open", "high", "low", "close", "volume")}
    return Bars(open_ms=times, **prices, timeframe_s=series["bar_seconds"])


@pytest.fixture
def walk() -> Bars:
    return random_walk(seed=7, count=260)


def random_walk(*, seed: int, count: int, timeframe_s: int = 900) -> Bars:
    """Return made-up bars whose every price is positive and whose high and low bound the rest."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(scale=0.004, size=count)))
    opened = np.concatenate(([100.0], close))[:count]
    spread = 1 + np.abs(rng.normal(scale=0.002, size=count))
    high, low = np.maximum(opened, close) * spread, np.minimum(opened, close) / spread
    times = np.arange(count, dtype=np.int64) * timeframe_s * 1000
    return Bars(times, opened, high, low, close, rng.gamma(2.0, 50.0, size=count), timeframe_s)


def flat(*, price: float = 100.0, count: int = 200, volume: float = 1.0) -> Bars:
    """Return bars on which nothing moves."""
    prices, times = np.full(count, price), np.arange(count, dtype=np.int64) * 900_000
    return Bars(times, prices, prices, prices, prices, np.full(count, volume), 900)


def of_closes(close: Array) -> Bars:
    """Return bars without range that close at these prices, one unit of volume each."""
    times = np.arange(close.size, dtype=np.int64) * 900_000
    return Bars(times, close, close, close, close, np.ones(close.size), 900)
