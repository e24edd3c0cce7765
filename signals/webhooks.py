"""The HTTP door of webhooks: programs that send what they like, to an address that is a secret."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import IO, Any, cast

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import Throttled
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import services as access
from access.auth import address_of
from access.types import TooManyCalls, TooManyWrongKeys
from pipeline.parsing import time_text
from pipeline.types import LensError, NotFound, Overloaded
from signals import queries, services
from signals.models import Hook
from signals.types import HookClosed, SignalStatus


class AnyBody(BaseParser):
    """Takes the bytes of any body as they are, one more than allowed at most."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        del media_type, parser_context
        return stream.read(settings.HOOK_BODY_MAX_BYTES + 1)


class HookView(APIView):
    """``/hooks/{slug}``: one message of one program; whoever knows the slug may send.

    Nothing is waited for: the answer is there when the signal is stored.
    """

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []
    parser_classes = [AnyBody]

    @extend_schema(exclude=True)
    def post(self, request: Request, slug: str) -> Response:
        now, address = timezone.now(), address_of(request)
        hook = _hook(slug, address=address)
        body, content_type = cast("bytes", request.data or b""), request.content_type or ""
        try:
            access.spend_call(owner=hook.owner, now=now)
            _check_open(hook, address=address)
            receipt = services.receive_message(
                hook=hook, body=body, content_type=content_type, now=now
            )
        except TooManyCalls as error:
            raise Throttled(wait=error.wait_s, detail=error.detail) from None
        except Overloaded:
            raise
        except LensError as error:
            services.keep_refusal(
                hook=hook,
                error=error,
                body=body,
                content_type=content_type,
                address=address,
                now=now,
            )
            raise
        answer = {
            "event_id": str(receipt.event_id),
            "status": SignalStatus.ENQUEUED,
            "received_at": time_text(receipt.received_at),
            "replayed": receipt.replayed,
        }
        return Response(answer, status=201)


def _hook(slug: str, *, address: str) -> Hook:
    hook = queries.get_hook_by_slug(slug=slug)
    if hook is None:
        try:
            access.count_wrong_guess(address=address, now=timezone.now())
        except TooManyWrongKeys as error:
            raise Throttled(wait=error.wait_s, detail=error.detail) from None
        raise NotFound("There is no such webhook; its address may have been replaced.")
    return hook


def _check_open(hook: Hook, *, address: str) -> None:
    if not hook.is_active:
        raise HookClosed("This webhook is switched off.")
    blocks = [ip_network(block) for block in hook.address_list]
    if blocks and not (address and any(ip_address(address) in block for block in blocks)):
        raise HookClosed(f"This webhook takes nothing from {address or 'an unknown address'}.")
