"""What every program needs, for the fork server to import once for all of them: the rooms.

Nothing here, nor in what is imported after it (``lens_site.preload_doors``), may open a connection,
start a thread or an event loop: a fork would share it.
"""

from __future__ import annotations

import django

from lens_site import serving

with serving.without(*serving.unwanted()):
    django.setup()
