"""People who are signed in, and a signal that was judged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from access.models import User


@pytest.fixture
def as_member(db: None) -> Callable[[str], Client]:
    """Return a maker of clients that are signed in as a member of a group."""

    def make(group: str) -> Client:
        user = User.objects.create_user(group.lower())
        user.groups.add(Group.objects.get(name=group))
        client = Client()
        client.force_login(user)
        return client

    return make
