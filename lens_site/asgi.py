"""The web process's protocols: HTTP by Django through two doors, WebSocket by Channels."""

from __future__ import annotations

import os
from typing import Final

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connections

POOL_WAIT_S: Final = 5  # for a connection, before the request fails

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lens_site.settings")

people = get_asgi_application()

from decisions.routing import websocket_urlpatterns  # noqa: E402  rows exist only after setup
from lens_site import draining, serving  # noqa: E402
from lens_site.doors import Doors, ProgramHandler  # noqa: E402


def share_connections() -> None:
    """Let the threads of this process share a few connections to PostgreSQL.

    Under ASGI a thread's own connection would be opened anew for nearly every request.
    """
    entry = connections.settings["default"]
    if settings.DATABASE_POOL_SIZE and entry["ENGINE"].endswith("postgresql"):
        size = settings.DATABASE_POOL_SIZE
        entry["OPTIONS"]["pool"] = {"min_size": 1, "max_size": size, "timeout": POOL_WAIT_S}


share_connections()
draining.begin_late()
serving.leave_forms_to_django()
serving.take_short_turns()
http = Doors(people=people, programs=ProgramHandler())

application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(websocket_urlpatterns)})
serving.settle_in()
