"""What web, conductor and workers need beyond the rooms; imported while the database is prepared.

Daphne's reactor and the middleware are left to the web process: see ``lens_site.preload``.
"""

from __future__ import annotations

import autobahn.twisted.websocket  # noqa: F401
import twisted.internet.asyncioreactor
import twisted.internet.ssl
import twisted.web.http  # noqa: F401

import decisions.routing  # noqa: F401
import lens_site.doors
import lens_site.urls  # noqa: F401
from lens_site.management.commands import run_conductor, run_worker  # noqa: F401
