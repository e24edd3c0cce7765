"""All vendors behind one ASGI app: any key is good, every call is on the ledger.

Beside the vendors' own paths it knows ``/_ledger`` (GET: what was called), ``/_script`` (POST: add
rules, GET: how many, DELETE: forget them) and ``/_reset`` (POST: forget everything).
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

from evaluation.fake_vendors.calls import ELSEWHERE, Call
from evaluation.fake_vendors.ledger import Ledger
from evaluation.fake_vendors.script import BadScript, Plan, Script
from evaluation.fake_vendors.serving import Receive, Send
from evaluation.fake_vendors.wires.base import Refusal, Wire
from evaluation.fake_vendors.wires.known import listing_at, vendor_of, wire_of

Scope = MutableMapping[str, Any]
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class FakeVendors:
    """The ASGI app."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.script = Script()

    def reset(self) -> None:
        """Forget all calls and rules; calls under way no longer count."""
        self.ledger = Ledger()
        self.script = Script()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        path, method = str(scope["path"]), str(scope["method"])
        if path.startswith("/_"):
            status, told = self._control(f"{method} {path}", body)
            await reply(send, status, told)
            return
        listing = listing_at(path) if method == "GET" else None
        wire = None if listing else wire_of(path, body)
        if listing is not None:
            await reply(send, 200, listing)
        elif wire is None or method != "POST":
            await reply(send, 404, {"error": {"message": f"nobody listens at {method} {path}"}})
        else:
            await self._call(wire, scope, body, receive, send)

    def _control(self, order: str, body: object) -> tuple[int, object]:
        if order == "GET /_ledger":
            return 200, self.ledger.told()
        if order == "POST /_script":
            return self._add(body)
        if order == "GET /_script":
            return 200, {"rules": len(self.script.rules)}
        if order == "DELETE /_script":
            self.script = Script()
        elif order == "POST /_reset":
            self.reset()
        elif order.endswith(ELSEWHERE):
            self.ledger.strayed += 1
        else:
            return 404, {"error": f"nothing is at {order}"}
        return 200, {}

    def _add(self, body: object) -> tuple[int, object]:
        try:
            self.script.add(body)
        except BadScript as error:
            return 400, {"error": str(error)}
        return 200, {"rules": len(self.script.rules)}

    async def _call(
        self, wire: Wire, scope: Scope, body: object, receive: Receive, send: Send
    ) -> None:
        path, headers = str(scope["path"]), dict(scope["headers"])
        vendor = vendor_of(path, wire)
        try:
            asked = wire.read(body, vendor=vendor, path=path)  # type: ignore[arg-type]
            turn = self.script.turn_of(asked)
            complaint = wire.complaint(body, asked, headers)  # type: ignore[arg-type]
        except UNREADABLE as error:
            told = wire.error(Refusal(status=400, message=f"no call of {vendor}: {error!r}"))
            await reply(send, 400, told)
            return
        ledger = self.ledger
        call = Call(
            wire=wire,
            asked=asked,
            plan=Plan() if complaint else self.script.plan(asked, turn),
            turn=turn,
            entry=ledger.open(asked),
            receive=receive,
            send=send,
        )
        try:
            if complaint:
                status, message = complaint
                call.entry.outcome = str(status)
                await call.refuse(Refusal(status=status, message=message))
            else:
                await call.run()
        finally:
            ledger.close()


async def reply(send: Send, status: int, told: object) -> None:
    """Answer with JSON."""
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> object:
    text = (await receive()).get("body") or b"{}"
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
