"""Paths of the WebSocket door."""

from __future__ import annotations

from django.urls import re_path

from decisions.consumers import DecisionsConsumer, UnknownPath

websocket_urlpatterns = [
    re_path(r"^ws/decisions/?$", DecisionsConsumer.as_asgi()),
    re_path(r"", UnknownPath.as_asgi()),
]
