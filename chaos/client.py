"""A client outside the product: it posts until it is answered, and listens until it has all."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import httpx2
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from markets.providers.simulated import Simulated

ENDS = {"PUBLISHED", "REJECTED", "EXPIRED", "CANCELLED", "DEAD"}
POSTS_WITHIN_S = 60.0
PATIENCE_S = 900.0
"""How long a client goes on while the desk answers that it should come again later."""
PAUSE_S = 0.2
AT_ONCE = 32
BUSY = frozenset({429, 502, 503, 504})


class Unanswered(RuntimeError):
    """The desk gave no final answer in time."""


@dataclass
class Client:
    """Speaks the REST contract and keeps a ledger of every answer to every key.

    With a ``second`` door it knocks there when the first does not answer, and back again.
    """

    http: httpx2.AsyncClient
    second: httpx2.AsyncClient | None = None
    ledger: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    unexpected: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    slowest_s: float = 0.0

    async def post(self, key: str, body: dict[str, Any]) -> str:
        """Post until the signal is accepted and return its id.

        :raises Unanswered: when it is not in time.
        """
        began_s = time.monotonic()
        answer = await self._ask("POST", "/signals", json=body, headers={"Idempotency-Key": key})
        if answer.status_code != 201:
            raise Unanswered(f"{key} was refused: {answer.text}")
        self.took_s.append(time.monotonic() - began_s)
        event_id = str(answer.json()["event_id"])
        self.ledger[key].add(event_id)
        return event_id

    async def post_unheard(self, key: str, body: dict[str, Any]) -> None:
        """Post and hang up before the answer can come: whether it was stored is not known."""
        with suppress(httpx2.TransportError):
            answer = await self.http.post(
                "/api/v1/signals", json=body, headers={"Idempotency-Key": key}, timeout=0.002
            )
            if answer.status_code == 201:
                self.ledger[key].add(str(answer.json()["event_id"]))

    async def post_conflict(self, key: str, body: dict[str, Any]) -> None:
        """Post something else under a key that is spent; only a refusal is right.

        :raises Unanswered: when there is no answer in time.
        """
        answer = await self._ask("POST", "/signals", json=body, headers={"Idempotency-Key": key})
        if answer.status_code == 201:
            self.ledger[key].add(str(answer.json()["event_id"]))
        if answer.status_code != 422:
            self.unexpected.append(f"another body under {key}: {answer.status_code}")

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Read until there is an answer.

        :raises Unanswered: when there is none in time.
        """
        answer = await self._ask("GET", path, params=query)
        if answer.status_code != 200:
            raise Unanswered(f"{path}: {answer.status_code} {answer.text}")
        content: dict[str, Any] = answer.json()
        return content

    async def _ask(self, method: str, path: str, **parts: Any) -> httpx2.Response:
        """Ask until the answer is neither "busy" nor "gone"; the two doors take turns.

        A desk that says when to come again is asked then, and only its silence is counted.
        """
        doors = cycle([self.http, *([self.second] if self.second else [])])
        patient_until_s = time.monotonic() + PATIENCE_S
        deadline_s = time.monotonic() + POSTS_WITHIN_S
        trouble = ""
        while time.monotonic() < min(deadline_s, patient_until_s):
            pause_s = PAUSE_S
            began_s = time.monotonic()
            try:
                answer = await next(doors).request(method, f"/api/v1{path}", **parts)
                if answer.status_code not in BUSY:
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
                    return answer
                trouble = answer.text
                if "Retry-After" in answer.headers:
                    pause_s = float(answer.headers["Retry-After"])
                    deadline_s = time.monotonic() + pause_s + POSTS_WITHIN_S
            except httpx2.TransportError as error:
                trouble = repr(error)
            await asyncio.sleep(pause_s)
        raise Unanswered(f"{path} was not answered in time: {trouble}")

    async def statuses(self, event_ids: Iterable[str]) -> dict[str, str]:
        """Return where each of the signals stands."""
        ids, lane = list(event_ids), asyncio.Semaphore(AT_ONCE)

        async def status(event_id: str) -> str:
            async with lane:
                return str((await self.get(f"/signals/{event_id}/status"))["status"])

        found = await asyncio.gather(*(status(each) for each in ids))
        return dict(zip(ids, found, strict=True))

    async def ended(self, event_ids: Iterable[str], *, within_s: float) -> dict[str, str]:
        """Return how the signals ended.

        :raises Unanswered: when some have not in time.
        """
        open_ids, found = set(event_ids), {}
        deadline_s = time.monotonic() + within_s
        while open_ids:
            for event_id, status in (await self.statuses(open_ids)).items():
                if status in ENDS:
                    found[event_id] = status
                    open_ids.discard(event_id)
            if time.monotonic() > deadline_s:
                raise Unanswered(f"{len(open_ids)} open after {within_s:.0f} s")
            await asyncio.sleep(PAUSE_S if open_ids else 0)
        return found

    async def decisions(self, *, after_seq: int) -> list[dict[str, Any]]:
        """Return all published decisions after a number, page by page."""
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"after_seq": after_seq, "limit": 100}
        while True:
            page = await self.get("/decisions", **query)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def listed(self, *, source: str) -> list[str]:
        """Return the ids of all signals of a source, page by page."""
        return [item["event_id"] for item in await self.items(source=source)]

    async def items(self, *, source: str) -> list[dict[str, Any]]:
        """Return all signals of a source, as they stand, page by page."""
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"source": source, "limit": 100}
        while True:
            page = await self.get("/signals", **query)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]


@dataclass
class Subscriber:
    """Listens on the WebSocket and resumes after the last number it has, as integrators do."""

    address: str
    key: str
    received: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    last_seq: int = 0

    @property
    def complaints(self) -> list[str]:
        """What was said that a client cannot make good by coming again in a moment."""
        names = [fault.get("code") or fault["reason"] for fault in self.faults]
        return [name for name in names if name != "SERVICE_UNAVAILABLE"]

    async def listen(self) -> None:
        """Listen until cancelled."""
        while True:
            with suppress(OSError, TimeoutError, WebSocketException):
                await self._listen_once()
            await asyncio.sleep(PAUSE_S)

    async def _listen_once(self) -> None:
        headers = {"X-API-Key": self.key}
        url = f"{self.address.replace('http', 'ws', 1)}/ws/decisions"
        async with connect(url, additional_headers=headers, proxy=None, open_timeout=5) as socket:
            self.connections += 1
            await socket.send(json.dumps({"action": "subscribe", "after_seq": self.last_seq}))
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "decision":
                    self.received.append(message)
                    self.last_seq = message["seq"]
                elif message["type"] in ("error", "gap"):
                    self.faults.append(message)


async def make_body(*, source: str, symbol: str = "BTC") -> dict[str, Any]:
    """Return a signal at the simulated market's price of now."""
    now = datetime.now(UTC)
    price = (await Simulated(name="simulated").quote(symbol=symbol, as_of=now)).mid
    return {
        "event_type": "OPEN_SIGNAL",
        "symbol": symbol,
        "signal_direction": "long",
        "entry_price": f"{price:.8f}",
        "size": "1",
        "liquidation_price": f"{price * 0.8:.8f}",
        "ts_utc": now.isoformat(),
        "source": source,
    }
