"""Static files, sent packed to browsers that unpack them; packed once and kept in memory."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware

PACKED_KINDS = ("text/", "application/javascript", "application/json", "image/svg+xml")
PACKED_FILES_KEPT = 64


class PackedStatics(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise ships no types
    """Serves static files as whitenoise does, and texts among them with gzip where it is taken."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponseBase:
        answer: HttpResponseBase = WhiteNoiseMiddleware.serve(static_file, request)
        kind = str(answer.headers.get("Content-Type", ""))
        if answer.status_code != 200 or not kind.startswith(PACKED_KINDS):
            return answer
        answer["Vary"] = "Accept-Encoding"
        if request.method != "GET" or "gzip" not in request.headers.get("Accept-Encoding", ""):
            return answer
        path = Path(static_file.alternatives[-1][1])
        packed = HttpResponse(_packed(path, path.stat().st_mtime_ns))
        for name, value in answer.items():
            if name != "Content-Length":
                packed[name] = value
        packed["Content-Encoding"] = "gzip"
        packed["Content-Length"] = str(len(packed.content))
        answer.close()
        return packed


@lru_cache(maxsize=PACKED_FILES_KEPT)
def _packed(path: Path, changed_ns: int) -> bytes:
    """Return a file's bytes packed; ``changed_ns`` makes a changed file another one."""
    del changed_ns
    return gzip.compress(path.read_bytes(), compresslevel=9, mtime=0)
