"""The room's own paths, and one path per scope to knock at."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import scope
from access.types import Scope


@extend_schema(exclude=True)
class Door(APIView):
    """Opens for one scope and says who came in."""

    def get(self, request: Request) -> Response:
        return Response({"owner": getattr(request.auth, "owner", None)})

    def post(self, request: Request) -> Response:
        return self.get(request)


@extend_schema(exclude=True)
class OpenDoor(Door):
    """Opens for everybody."""

    permission_classes = []


doors = [
    path(f"door/{wanted.name}", Door.as_view(permission_classes=[scope(wanted)]))
    for wanted in Scope
]

urlpatterns = [
    path("api/v1/", include("access.urls")),
    path("shut", Door.as_view()),
    path("open", OpenDoor.as_view()),
    *doors,
]
