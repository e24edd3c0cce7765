"""Print what the jury says to follow, for ever, and which models abstained and why."""

from __future__ import annotations

import os

from lens_client import Abstention, Decision, Gap, Lens

URL = os.environ.get("LENS_URL", "http://127.0.0.1:8000")

with Lens(URL, api_key=os.environ["LENS_API_KEY"]) as lens:
    for message in lens.listen(types=["decision", "abstention"]):
        match message:
            case Decision(model="jury", decision="FOLLOW_ENTER" | "FOLLOW_EXIT"):
                print(message.seq, message.symbol, message.decision, message.confidence, flush=True)
            case Abstention():
                print(
                    message.symbol, message.model, "abstained:", message.raw["reason"], flush=True
                )
            case Gap():
                print("not sent over the socket:", message.first, "to", message.last, flush=True)
