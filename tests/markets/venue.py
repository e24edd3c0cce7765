"""A Hyperliquid in memory: answers the info endpoint for a few coins and adds up the weight."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import httpx2

from quant.types import TIMEFRAMES

COINS = {"BTC": 60_000.0, "ETH": 3_000.0, "SOL": 150.0, "kPEPE": 0.01}


class Venue:
    """Tells a market that is a function of time; ``now`` moves by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.weight = 0
        self.asked: list[dict[str, Any]] = []
        self.refusal: httpx2.Response | None = None
        self.late_bars = 0

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.answer)

    def count(self, kind: str) -> int:
        return sum(question["type"] == kind for question in self.asked)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        question = json.loads(request.content)
        self.asked.append(question)
        if self.refusal is not None:
            return self.refusal
        body = getattr(self, f"_{question['type']}")(question)
        return said(body)

    def _allMids(self, _: dict[str, Any]) -> object:  # noqa: N802  the venue's word
        self.weight += 2
        return {coin: f"{price:.6f}" for coin, price in COINS.items()}

    def _l2Book(self, question: dict[str, Any]) -> object:  # noqa: N802
        self.weight += 2
        price = COINS.get(question["coin"])
        if price is None:
            return None
        sides = [
            [
                {"px": f"{price * (1 + sign * step / 1e4):.8f}", "sz": "1.5", "n": 1}
                for step in (1, 2)
            ]
            for sign in (-1, 1)
        ]
        return {"coin": question["coin"], "time": _ms(self.now), "levels": sides}

    def _metaAndAssetCtxs(self, _: dict[str, Any]) -> object:  # noqa: N802
        self.weight += 20
        context = {"funding": "0.0000125", "openInterest": "10.0"}
        return [
            {"universe": [{"name": coin} for coin in COINS]},
            [{**context, "markPx": f"{p:.6f}", "oraclePx": f"{p:.6f}"} for p in COINS.values()],
        ]

    def _predictedFundings(self, _: dict[str, Any]) -> object:  # noqa: N802
        self.weight += 20
        return [[coin, [["HlPerp", {"fundingRate": "0.00001"}]]] for coin in COINS]

    def _candleSnapshot(  # noqa: N802
        self, question: dict[str, Any]
    ) -> list[dict[str, Any]] | None:
        wish = question["req"]
        step_ms = TIMEFRAMES[wish["interval"]] * 1000
        if wish["coin"] not in COINS:
            return None
        first = wish["startTime"] // step_ms * step_ms
        rows = [
            _candle(wish["coin"], wish["interval"], open_ms)
            for open_ms in range(first, wish["endTime"] + 1, step_ms)
            if open_ms <= _ms(self.now) - self.late_bars * step_ms
        ]
        self.weight += 20 + math.ceil(len(rows) / 60)
        return rows


def said(body: object) -> httpx2.Response:
    """Return an answer that holds ``body``, which may be null."""
    return httpx2.Response(
        200, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )


def at(text: str) -> datetime:
    """Return a time of day on the day that the tests live in."""
    return datetime.fromisoformat(f"2026-03-04T{text}").replace(tzinfo=UTC)


def _candle(coin: str, interval: str, open_ms: int) -> dict[str, Any]:
    step_ms = TIMEFRAMES[interval] * 1000
    first, last = (
        COINS[coin] * (1 + 0.01 * math.sin(ms / 7e6)) for ms in (open_ms, open_ms + step_ms)
    )
    return {
        "t": open_ms,
        "T": open_ms + step_ms - 1,
        "s": coin,
        "i": interval,
        "o": f"{first:.8f}",
        "c": f"{last:.8f}",
        "h": f"{max(first, last) * 1.001:.8f}",
        "l": f"{min(first, last) * 0.999:.8f}",
        "v": "12.5",
        "n": 7,
    }


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
