"""The demo of a fresh desk: signals on a simulated market, until somebody sends their own.

The conductor asks here every second. Of several conductors one has the turn.
"""

from __future__ import annotations

from datetime import datetime

from lens_site.demonstration import OWNER, Order, PriceOf, Trader, simulated_price
from signals import services
from signals.types import Origin, Submission

SYMBOLS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "ADA")


class DemoFeed:
    """Sends the next demo signal when its turn has come."""

    def __init__(self, *, price_of: PriceOf = simulated_price) -> None:
        self._trader = Trader(Order(symbols=SYMBOLS))
        self._price_of = price_of

    def look(self, *, now: datetime) -> None:
        """Send one signal if it is time for one."""
        if not services.take_demo_turn(now=now):
            return
        draft = self._trader.next_draft(price_of=self._price_of, now=now)
        submission = Submission(draft=draft, owner=OWNER, origin=Origin.DEMO)
        services.submit_signals(submissions=[submission], now=now)
