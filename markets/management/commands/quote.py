"""Ask a market for one price: a quick look at whether it answers, and what."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from markets.services import (
    BadMarketData,
    MarketDataUnavailable,
    UnknownInstrument,
    close_markets,
    market_named,
)
from markets.types import Quote


class Command(BaseCommand):
    help = "Show the present price of a symbol, as the market data provider tells it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("symbol")
        parser.add_argument("--provider", default=settings.PROVIDER_PRIMARY)
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, **options: Any) -> None:
        try:
            quote = asyncio.run(_ask(options["provider"], symbol=options["symbol"].upper()))
        except (MarketDataUnavailable, BadMarketData, UnknownInstrument) as error:
            raise CommandError(f"{options['provider']}: {error}") from error
        if options["json"]:
            plain = {"symbol": quote.symbol, "mid": quote.mid, "source": quote.source}
            self.stdout.write(json.dumps({**plain, "as_of": quote.as_of.isoformat()}))
        else:
            asked = f"{quote.source}, {quote.as_of:%Y-%m-%d %H:%M:%S} UTC"
            self.stdout.write(f"{quote.symbol} {quote.mid:g} ({asked})")


async def _ask(provider: str, *, symbol: str) -> Quote:
    try:
        return await market_named(provider).quote(symbol=symbol, as_of=timezone.now())
    finally:
        await close_markets()
