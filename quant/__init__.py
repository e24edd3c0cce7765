"""Numbers only: pure functions of their arguments, with no framework, clock or network."""

from __future__ import annotations
