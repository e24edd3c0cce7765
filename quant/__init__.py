"""Numbers only: pure functions of their arguments, with no framework, clock or network.

Under ``Source:`` a docstring names where a definition comes from: a book, a library, the golden
``vectors`` in tests/vectors, or a part of the written ``specification`` (A is the engine, B the
ensemble) whose numbers those vectors fix.
"""

from __future__ import annotations
