"""How a web process stops: it says so at ``/ready`` first, and serves on until balancers know."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

from django.conf import settings

_stopping = threading.Event()


def is_stopping() -> bool:
    """Say whether this process was asked to stop."""
    return _stopping.is_set()


def begin_late() -> None:
    """Put ``WEB_DRAIN_S`` between the request to stop and the server's own answer to it.

    Daphne takes the signal over when its loop starts to run, uvicorn before it imports us.
    """
    if not settings.WEB_DRAIN_S or threading.current_thread() is not threading.main_thread():
        return
    reactor: Any = getattr(sys.modules.get("twisted.internet"), "reactor", None)
    if reactor is None:
        _stand_before_the_server()
    else:
        reactor.callWhenRunning(_stand_before_the_server)


def _stand_before_the_server() -> None:
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        return

    def announce(number: int, frame: FrameType | None) -> None:
        if is_stopping():
            stop(number, frame)
            return
        _stopping.set()
        timer = threading.Timer(settings.WEB_DRAIN_S, stop, (number, frame))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, announce)
