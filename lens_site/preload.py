"""What the house's programs import, for the fork server to import once for all of them.

Nothing here may open a connection, start a thread or an event loop: a fork would share it.
Daphne's reactor and the middleware are therefore left to the web process.
"""

from __future__ import annotations

import django

django.setup()

import autobahn.websocket.protocol  # noqa: E402, F401

import decisions.routing  # noqa: E402, F401
import lens_site.doors  # noqa: E402
import lens_site.urls  # noqa: E402, F401
from lens_site.management.commands import run_conductor, run_worker  # noqa: E402, F401
