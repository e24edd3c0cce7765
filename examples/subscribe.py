"""Print every decision, for ever: survives restarts of the server and misses nothing."""

from __future__ import annotations

import asyncio
import json
import os

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL = os.environ.get("LENS_WS_URL", "ws://127.0.0.1:8000/ws/decisions")
HEADERS = {"X-API-Key": os.environ["LENS_API_KEY"]}
KEY_REFUSED = (4401, 4403)


async def main() -> None:
    """Subscribe, print, and whenever the connection is lost begin again after the last one."""
    place: dict[str, int] = {}  # nothing before the first answer: begin with what comes next
    async for socket in connect(URL, additional_headers=HEADERS):  # connects again for ever
        try:
            await socket.send(json.dumps({"action": "subscribe", **place}))
            async for text in socket:
                message = json.loads(text)
                match message["type"]:
                    case "subscribed":
                        place = place or {"after_seq": message["last_seq"]}
                    case "decision":
                        print(json.dumps(message["decision"]), flush=True)
                        place = {"after_seq": message["seq"]}
                    case "gap":
                        print(json.dumps(message), flush=True)
                        place = {"after_seq": message["to"]}
        except ConnectionClosed as end:
            if end.rcvd and end.rcvd.code in KEY_REFUSED:
                raise SystemExit(f"the key was refused ({end.rcvd.code})") from None


asyncio.run(main())
