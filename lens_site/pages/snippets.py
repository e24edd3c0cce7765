"""What the Connect page gives to paste, with the reader's own host and key filled in; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _

from signals.types import HookKind

KEY_TO_COME = "YOUR_KEY"
PRICE, LIQUIDATION = "65500", "58950"
"""What stands in a snippet until the market has told its price."""

CURL = """curl -s @URL@/api/v1/signals \\
  -H "X-API-Key: @KEY@" -H "Content-Type: application/json" \\
  -d '{"event_type": "OPEN_SIGNAL", "symbol": "BTC", "signal_direction": "long",
       "entry_price": @PRICE@, "size": 0.1, "liquidation_price": @LIQUIDATION@,
       "ts_utc": "'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'", "source": "my_first_signal"}'"""

PYTHON = """import json
from datetime import datetime, timezone
from urllib.error import HTTPError
from urllib.request import Request, urlopen

signal = {
    "event_type": "OPEN_SIGNAL", "symbol": "BTC", "signal_direction": "long",
    "entry_price": @PRICE@, "size": 0.1, "liquidation_price": @LIQUIDATION@,
    "ts_utc": datetime.now(timezone.utc).isoformat(), "source": "my_first_signal",
}
request = Request(
    "@URL@/api/v1/signals",
    data=json.dumps(signal).encode(),
    headers={"X-API-Key": "@KEY@", "Content-Type": "application/json"},
)
try:
    print(urlopen(request).read().decode())
except HTTPError as refusal:
    print(refusal.read().decode())  # says which field breaks which rule"""

JAVASCRIPT = """const signal = {
  event_type: "OPEN_SIGNAL", symbol: "BTC", signal_direction: "long",
  entry_price: @PRICE@, size: 0.1, liquidation_price: @LIQUIDATION@,
  ts_utc: new Date().toISOString(), source: "my_first_signal",
};
const answer = await fetch("@URL@/api/v1/signals", {
  method: "POST",
  headers: { "X-API-Key": "@KEY@", "Content-Type": "application/json" },
  body: JSON.stringify(signal),
});
console.log(answer.status, await answer.json());"""

TRADINGVIEW = """{
  "ticker": "{{ticker}}",
  "action": "{{strategy.order.action}}",
  "position": "{{strategy.market_position}}",
  "previous": "{{strategy.prev_market_position}}",
  "price": "{{close}}",
  "contracts": "{{strategy.order.contracts}}",
  "comment": "{{strategy.order.comment}}",
  "time": "{{timenow}}"
}"""

FREQTRADE = """"webhook": {
  "enabled": true,
  "url": "@HOOK@",
  "format": "json",
  "entry": {
    "event": "entry", "trade_id": "{trade_id}", "pair": "{pair}", "direction": "{direction}",
    "price": "{open_rate}", "amount": "{amount}", "tag": "{enter_tag}"
  },
  "exit": {
    "event": "exit", "trade_id": "{trade_id}", "pair": "{pair}", "direction": "{direction}",
    "price": "{limit}", "amount": "{amount}", "tag": "{exit_reason}"
  }
}"""

GENERIC = """curl -s @HOOK@ \\
  -d '{"event_type": "OPEN_SIGNAL", "symbol": "BTC", "signal_direction": "long",
       "entry_price": @PRICE@, "size": 0.1}'"""

LISTEN = """curl -N @URL@/api/v1/decisions/stream -H "X-API-Key: @KEY@\""""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One language of the Connect page; with a ``hook`` it needs a webhook instead of a key."""

    key: str
    words: str
    text: str
    hook: HookKind | None = None


TABS = (
    Tab(key="curl", words="curl", text=CURL),
    Tab(key="python", words="Python", text=PYTHON),
    Tab(key="javascript", words="JavaScript", text=JAVASCRIPT),
    Tab(key="tradingview", words="TradingView", text=TRADINGVIEW, hook=HookKind.TRADINGVIEW),
    Tab(key="freqtrade", words="freqtrade", text=FREQTRADE, hook=HookKind.FREQTRADE),
    Tab(key="webhook", words=_("Any webhook"), text=GENERIC, hook=HookKind.GENERIC),  # type: ignore[arg-type]
)


def filled(text: str, values: Mapping[str, str]) -> SafeString:
    """Return a snippet as HTML; what the market tells later stands in places of its own."""
    html = str(escape(text))
    for name, value in values.items():
        html = html.replace(f"@{name}@", escape(value))
    for name, value in {"PRICE": PRICE, "LIQUIDATION": LIQUIDATION}.items():
        place = f'<span data-market="{name.lower()}">{value}</span>'
        html = html.replace(f"@{name}@", place)
    return mark_safe(html)  # noqa: S308  escaped above, piece by piece


def sample(kind: HookKind) -> str:
    """Return a message of one kind, as its sender fills it in."""
    return SAMPLES[kind]


SAMPLES: Mapping[str, str] = {
    HookKind.TRADINGVIEW: """{"ticker": "BTCUSDT.P", "action": "buy", "position": "long",
 "previous": "flat", "price": "65500", "contracts": "0.1", "comment": "breakout"}""",
    HookKind.FREQTRADE: """{"event": "entry", "trade_id": "17", "pair": "BTC/USDT:USDT",
 "direction": "Long", "price": "65500", "amount": "0.1", "tag": "breakout"}""",
    HookKind.GENERIC: """{"event_type": "OPEN_SIGNAL", "symbol": "BTC",
 "signal_direction": "long", "entry_price": "65500", "size": "0.1"}""",
}
