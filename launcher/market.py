"""Asks the market once, beside everything else: a price for the example, and the right time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from launcher import programs
from launcher.places import ROOT

HYPERLIQUID: Final = "https://api.hyperliquid.xyz"
EXAMPLE: Final = "BTC"
EXAMPLE_PRICE: Final = 42000.0  # US dollars, when the market cannot be asked
TIMEOUT_S: Final = 4.0
HOUSE_TIMEOUT_S: Final = 15.0
Probe = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Prices:
    """What the market said: a BTC price, how far our clock is ahead, or a complaint."""

    btc: float = EXAMPLE_PRICE
    clock_ahead_s: float | None = None
    complaint: str = ""


def provider(environment: Mapping[str, str]) -> str:
    """Return the name of the market data provider that is set."""
    return environment.get("PROVIDER_PRIMARY") or "hyperliquid"


def start_probe(environment: Mapping[str, str]) -> Probe:
    """Start asking in a process of its own: looking up a name can take long when offline."""
    base = environment.get("HYPERLIQUID_BASE_URL") or HYPERLIQUID
    asked = base if provider(environment) == "hyperliquid" else provider(environment)
    return programs.start([sys.executable, "-m", "launcher.market", asked], cwd=ROOT)


def outcome(probe: Probe | None, *, within_s: float = TIMEOUT_S) -> Prices:
    """Return what the market said; a complaint when it said nothing in time."""
    if probe is None:
        return Prices()
    try:
        content, _ = probe.communicate(timeout=within_s)
        return Prices(**json.loads(content))
    except (subprocess.TimeoutExpired, ValueError, TypeError):
        return Prices(complaint="the price source does not answer; ./lens demo needs no network")


def told_by_house(name: str, said: Sequence[str]) -> Prices:
    """Return the price in what the installed product said of a provider that only it can ask."""
    text = "\n".join(said).strip()
    try:
        return Prices(btc=float(json.loads(text)["mid"]), complaint=f"prices come from {name!r}")
    except (ValueError, KeyError, TypeError):
        return Prices(complaint=f"the {name!r} provider gives no price: {text}")


def end_probe(probe: Probe) -> None:
    """Stop asking."""
    probe.kill()
    probe.communicate()


def ask(base: str) -> dict[str, Any]:
    """Return a price and our clock's lead over the provider's, or why not."""
    if not base.startswith(("https://", "http://")):
        return {"complaint": f"prices come from the {base!r} provider"}
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        f"{base}/info", data=b'{"type":"allMids"}', headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            price = float(json.load(answer)["BTC"])
            stamp = answer.headers.get("Date", "")
    except (OSError, ValueError, KeyError, TypeError):
        return {"complaint": f"{base} does not answer from here; ./lens demo needs no network"}
    ahead_s = time.time() - parsedate_to_datetime(stamp).timestamp() if stamp else None
    return {"btc": price, "clock_ahead_s": ahead_s}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask(sys.argv[1])))
