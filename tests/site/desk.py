"""A desk whose programs only seem to run: the conveyor turns when somebody waits."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline import services
from tests.running import run_everything


def report_programs(*, at: datetime) -> None:
    """Leave the signs of life that a worker and a conductor leave."""
    for kind in ("worker", "conductor"):
        services.beat(name=f"{kind}-test", kind=kind, started_at=at, at=at)


class Turning:
    """A clock on the wall, and a waiting in which all the work gets done."""

    def __init__(self) -> None:
        self.pauses = 0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def pause(self, seconds: float) -> None:
        del seconds
        self.pauses += 1
        run_everything()
