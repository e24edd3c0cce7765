"""How many recorded signals a core replays a second, judged by the models by numbers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from benchmarks.desk import ROOT, STARTS_WITHIN_S, desk, part
from benchmarks.frame import REPEATS, Figure, Skipped

DAYS, EVERY = 45, "15m"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def figures(*, quick: bool) -> list[Figure]:
    """Return signals a second with one worker, which is one core's worth."""
    with tempfile.TemporaryDirectory(prefix="lens-bench-") as folder:
        candles = Path(folder) / "candles.csv"
        candles.write_text(walk(days=6 if quick else DAYS), encoding="utf-8")
        told = [_replayed(candles) for _ in range(1 if quick else REPEATS)]
    return [
        Figure(
            target="P12",
            what="signals replayed by one worker",
            unit="/s",
            samples=told,
            at_least=200,
        )
    ]


def walk(*, days: int) -> str:
    """Return minutes of a market that moves by about 0.05 % each, as a CSV file."""
    rng, price, lines = Random(1), 50_000.0, ["open_time,open,high,low,close,volume"]  # noqa: S311
    for minute in range(days * 1_440):
        at = FIRST + timedelta(minutes=minute)
        close = price * (1 + rng.gauss(0, 0.0005))
        high, low = max(price, close) * 1.0002, min(price, close) * 0.9998
        lines.append(f"{at.isoformat()},{price:.2f},{high:.2f},{low:.2f},{close:.2f},10")
        price = close
    return "\n".join(lines) + "\n"


def _replayed(candles: Path) -> float:
    with desk({"DEMO_FEED_SIGNALS": "0"}, workers=1) as here:
        part("benchmarks.replay", here)
        command = [sys.executable, "manage.py", "replay", "--candles", str(candles)]
        options = ["--symbol", "BTC", "--every", EVERY, "--no-outcomes", "--json"]
        ended = subprocess.run(
            [*command, *options], cwd=ROOT, env=here, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise Skipped(f"the replay failed: {ended.stdout}{ended.stderr}")
        told = json.loads(ended.stdout.strip().splitlines()[-1])
        return float(told["signals_per_s"])


def main() -> None:
    """Wait inside a desk until its programs have reported: nothing is replayed without them."""
    import django

    django.setup()
    from lens_site.desk import NobodyAtWork, require_programs

    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end:
        with contextlib.suppress(NobodyAtWork):
            require_programs(now=datetime.now(UTC))
            break
        time.sleep(0.1)
    sys.stdout.write(json.dumps({}))


if __name__ == "__main__":
    main()
