"""One call from its arrival to its end: it waits, goes wrong as planned, or is answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.fake_vendors.answers import text_of, verdict_for
from evaluation.fake_vendors.asked import (
    BYTES_PER_TOKEN,
    Asked,
    Ending,
    Said,
    digest,
    tokens,
    usage_of,
)
from evaluation.fake_vendors.deciding import answers_for
from evaluation.fake_vendors.ledger import UNHEARD, Entry
from evaluation.fake_vendors.script import IN_ANSWERS, QUOTA, Fault, Plan
from evaluation.fake_vendors.serving import ConnectionDropped, Receive, Send
from evaluation.fake_vendors.spoiling import UNTOLD, obedient, spoiled
from evaluation.fake_vendors.wires.base import Refusal, Wire

HTML = b"<!doctype html><html><head><title>502</title></head><body>Bad gateway</body></html>"
ELSEWHERE = "/_elsewhere"
MADE_UP_AT = 0.5  # of a call's time: neither while other calls come in nor when answers are due
JSON_TYPE = b"application/json"
MESSAGES: Mapping[int, str] = {
    401: "Incorrect API key provided.",
    402: "Insufficient balance.",
    403: "You are not allowed to use this model.",
    404: "The model does not exist.",
    429: "Rate limit reached for requests per minute.",
    529: "Overloaded.",
}
QUOTA_MESSAGE = "You exceeded your current quota, please check your plan and billing details."


class CallerGone(Exception):
    """Whoever called has closed the connection."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One call under way."""

    wire: Wire
    asked: Asked
    plan: Plan
    turn: int
    entry: Entry
    receive: Receive
    send: Send

    @property
    def request_id(self) -> str:
        """The call's own id, which the same call has in every run."""
        asked = self.asked
        return f"resp_{digest(asked.vendor, asked.model, asked.prompt, self.turn)[:24]}"

    async def run(self) -> None:
        """Let happen what is planned, and write down how it ended."""
        fault = self.plan.fault
        self.entry.request_id = self.request_id
        self.entry.outcome = fault.kind if fault else "ok"
        try:
            if fault is None or fault.kind in IN_ANSWERS:
                await self._say(fault)
                return
            await self._wait(1.0)
            if fault.kind in WAYS:
                await WAYS[fault.kind](self, fault)
            else:
                await self._refuse(fault)
        except (CallerGone, ConnectionError, asyncio.CancelledError) as error:
            self.entry.forget_bill(UNHEARD if fault is None else fault.kind)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def pause(self, seconds: float | None) -> None:
        """Wait, or for ever if there is no number.

        :raises CallerGone: when the caller leaves first.
        """
        if seconds == 0:
            return
        try:
            async with asyncio.timeout(seconds):
                while (await self.receive())["type"] != "http.disconnect":
                    continue
        except TimeoutError:
            return
        raise CallerGone

    async def _wait(self, share: float) -> None:
        """Wait until this share of the call's time is over, counted from when it came in."""
        passed_s = time.perf_counter() - self.entry.came_s
        await self.pause(max(0.0, self.plan.latency_s * share - passed_s))

    def said(self, fault: Fault | None) -> Said:
        """Return what the model says to the call."""
        asked = self.asked
        blank = Said(id=self.request_id, model=asked.model)
        if asked.questions is not None:
            answers = answers_for(asked)
            said = replace(blank, answers=answers, usage=usage_of(asked, text_of(answers)))
        else:
            verdict = verdict_for(asked)
            if self.plan.is_gullible:
                verdict = obedient(verdict, asked)
            text = text_of(verdict)
            said = _within(replace(blank, text=text, usage=usage_of(asked, text)), asked)
        return said if fault is None else spoiled(fault.kind, said, asked)

    def whole(self, fault: Fault | None = None) -> tuple[Said, bytes]:
        """Return what is said, and the body that says it."""
        said = self.said(fault)
        return said, json.dumps(self.wire.write(self.asked, said)).encode()

    async def start(
        self,
        status: int,
        *,
        size: int,
        kind: bytes = JSON_TYPE,
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Send the head of an answer, with ``more`` headers than every answer has."""
        self.entry.status = status
        self.entry.leave()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % size), *more]
        headers.append((self.wire.request_id_header.encode(), self.request_id.encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def end(self, body: bytes) -> None:
        """Send the last of an answer."""
        await self.send({"type": "http.response.body", "body": body})

    async def _say(self, fault: Fault | None) -> None:
        """Answer at the hour: what is said is made up while the caller waits, not afterwards."""
        await self._wait(MADE_UP_AT)
        said, body = self.whole(fault)
        await self._wait(1.0)
        if said.usage is not None and (fault is None or fault.kind not in UNTOLD):
            self.entry.bill(said.usage)  # before the caller can look
        await self.start(200, size=len(body))
        await self.end(body)

    async def _refuse(self, fault: Fault) -> None:
        is_quota = fault.kind == QUOTA
        status = self.wire.quota_status(self.asked.vendor) if is_quota else int(fault.kind)
        message = QUOTA_MESSAGE if is_quota else MESSAGES.get(status, "Something went wrong.")
        after_s = fault.retry_after
        await self.refuse(
            Refusal(status=status, message=message, is_quota=is_quota, retry_after_s=after_s)
        )

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with the vendor's own error."""
        body = json.dumps(self.wire.error(refusal)).encode()
        after_s = refusal.retry_after_s
        more = [] if after_s is None else [(b"retry-after", b"%g" % after_s)]
        await self.start(refusal.status, size=len(body), more=more)
        await self.end(body)


def _within(said: Said, asked: Asked) -> Said:
    """Return what is said, cut off where the call wants no more tokens."""
    if asked.max_tokens is None or tokens(said.text) <= asked.max_tokens:
        return said
    text = said.text.encode()[: asked.max_tokens * BYTES_PER_TOKEN].decode(errors="ignore")
    return replace(said, text=text, ending=Ending.TRUNCATED, usage=usage_of(asked, text))


async def _hang(call: Call, fault: Fault) -> None:
    await call.pause(None)


async def _drip(call: Call, fault: Fault) -> None:
    said, body = call.whole()
    await call.start(200, size=len(body))
    for place in range(len(body) - 1):
        await call.send(
            {"type": "http.response.body", "body": body[place : place + 1], "more_body": True}
        )
        await call.pause(fault.every_ms / 1000)
    if said.usage is not None:
        call.entry.bill(said.usage)
    await call.end(body[-1:])


async def _html(call: Call, fault: Fault) -> None:
    await call.start(200, size=len(HTML), kind=b"text/html")
    await call.end(HTML)


async def _half_json(call: Call, fault: Fault) -> None:
    _, body = call.whole()
    half = body[: len(body) // 2]
    await call.start(200, size=len(half))
    await call.end(half)


async def _redirect(call: Call, fault: Fault) -> None:
    await call.start(307, size=0, more=[(b"location", ELSEWHERE.encode())])
    await call.end(b"")


async def _reset(call: Call, fault: Fault) -> None:
    raise ConnectionDropped


async def _cut(call: Call, fault: Fault) -> None:
    _, body = call.whole()
    await call.start(200, size=len(body))
    half = body[: len(body) // 2]
    await call.send({"type": "http.response.body", "body": half, "more_body": True})
    raise ConnectionDropped


WAYS: Mapping[str, Callable[[Call, Fault], Awaitable[None]]] = {
    "hang": _hang,
    "drip": _drip,
    "html": _html,
    "half_json": _half_json,
    "redirect": _redirect,
    "reset": _reset,
    "cut": _cut,
}
"""Faults below the answer: the body does not come, or not as the wire says."""
