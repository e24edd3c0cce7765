"""All vendors behind one ASGI app: any key is good, every call is on the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import MutableMapping
from typing import Any

from evaluation.fake_vendors.answers import text_of, verdict_for
from evaluation.fake_vendors.asked import Asked, Said, digest, usage_of
from evaluation.fake_vendors.deciding import answers_for
from evaluation.fake_vendors.ledger import Entry, Ledger
from evaluation.fake_vendors.serving import Receive, Send
from evaluation.fake_vendors.wires.base import Json, Wire
from evaluation.fake_vendors.wires.known import vendor_of, wire_of


class FakeVendors:
    """The ASGI app."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._asked: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget all calls; those under way no longer count."""
        self.ledger = Ledger()
        self._asked = Counter()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        path: str = scope["path"]
        if path == "/_ledger":
            await reply(send, 200, self.ledger.told())
            return
        wire = wire_of(path, body)
        if wire is None:
            await reply(send, 404, {"error": {"message": f"nothing is at {path}"}})
            return
        asked = wire.read(body, vendor=vendor_of(path, wire), path=path)
        ledger = self.ledger
        entry = ledger.open(asked)
        try:
            await self._answer(wire, asked, entry, receive, send)
        finally:
            ledger.close()

    async def _answer(
        self, wire: Wire, asked: Asked, entry: Entry, receive: Receive, send: Send
    ) -> None:
        said = self._said(asked)
        if said.usage:
            entry.bill(said.usage)
        entry.outcome, entry.status, entry.request_id = "ok", 200, said.id
        await reply(send, 200, wire.write(asked, said))

    def _said(self, asked: Asked) -> Said:
        key = digest(asked.vendor, asked.model, asked.prompt)
        self._asked[key] += 1
        request_id = f"resp_{digest(key, self._asked[key])[:24]}"
        if asked.questions is not None:
            answers = answers_for(asked)
            usage = usage_of(asked, text_of(answers))
            return Said(id=request_id, model=asked.model, answers=answers, usage=usage)
        text = text_of(verdict_for(asked))
        usage = usage_of(asked, text)
        return Said(id=request_id, model=asked.model, text=text, usage=usage)


async def reply(send: Send, status: int, body: object) -> None:
    """Answer with JSON."""
    plain = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(plain))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": plain})


async def _body(receive: Receive) -> Json:
    message = await receive()
    body: Json = json.loads(message.get("body") or b"{}")
    return body
