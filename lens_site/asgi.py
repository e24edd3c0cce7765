"""The web process's protocols: HTTP by Django through two doors, WebSocket by Channels."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lens_site.settings")
os.environ.setdefault("LENS_DB_POOL_SIZE", "16")

people = get_asgi_application()

from decisions.routing import websocket_urlpatterns  # noqa: E402  rows exist only after setup
from lens_site import draining  # noqa: E402
from lens_site.doors import Doors, ProgramHandler  # noqa: E402

draining.begin_late()
http = Doors(people=people, programs=ProgramHandler())

application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(websocket_urlpatterns)})
