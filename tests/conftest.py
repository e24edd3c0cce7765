"""Fixtures of the whole suite: loopback only, a private Redis database per worker, fresh caches."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import connection, connections
from django.test import TransactionTestCase
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker
from rest_framework.test import APIClient

from access import services as access
from access.types import KeyDraft, Scope
from evaluation import services as evaluation
from lens_site.pages import tiles
from outcomes import queries as outcomes
from pipeline import queue
from tests import emptying
from tests.fake_vendors import Vendors, running

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
ROOT = Path(__file__).resolve().parent.parent
DATABASE_FIXTURES = {"db", "transactional_db", "stack"}  # stack: a whole desk of real programs


class NetworkForbidden(RuntimeError):
    """A test tried to leave this machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the second run, on the other database, leave out what no database can change."""
    parser.addoption(
        "--database-only", action="store_true", help="run only the tests that use the database"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep, with ``--database-only``, the tests that ask for rows or for a whole desk."""
    if not config.getoption("--database-only"):
        return
    left_out = [item for item in items if not _uses_database(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _uses_database(item)]


def _uses_database(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return bool(fixtures & DATABASE_FIXTURES) or item.get_closest_marker("django_db") is not None


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker its own Redis database and shut the network."""
    number = int(getattr(config, "workerinput", {}).get("workerid", "gw0")[2:]) + 1
    url = _with_database(settings.REDIS_URL, number)
    settings.REDIS_URL = url
    queue.redis_client()  # it is made once: not by a test whose Redis is away
    layer: dict[str, Any] = settings.CHANNEL_LAYERS["default"]
    layer["CONFIG"] |= {"hosts": [url], "prefix": f"lens{number}"}
    for entry in settings.RQ_QUEUES.values():
        entry["URL"] = url
    if "sqlite" in settings.DATABASES["default"]["ENGINE"]:
        folder = Path(tempfile.gettempdir()) / f"lens-test-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        name = folder / f"{os.getpid()}.sqlite3"
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(name)
    settings.AUDIT_DIR = Path(tempfile.mkdtemp(prefix="lens-audit-"))
    settings.ANSWERS_DIR = Path(tempfile.mkdtemp(prefix="lens-answers-"))
    TransactionTestCase._fixture_teardown = emptying.empty  # type: ignore[attr-defined]
    _shut_the_network()


def pytest_unconfigure() -> None:
    """Take away what tests have written outside the database."""
    shutil.rmtree(settings.AUDIT_DIR, ignore_errors=True)
    shutil.rmtree(settings.ANSWERS_DIR, ignore_errors=True)


def _with_database(url: str, number: int) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}?db={number}"
    return urlunsplit(parts._replace(path=f"/{number}"))


def _shut_the_network() -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if not host.startswith(LOOPBACK):
                raise NetworkForbidden(f"a test tried to reach {host}")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[assignment,method-assign]


@pytest.fixture
def redis_url() -> str:
    """Return the URL of an empty Redis database; ``./lens test`` starts the server."""
    if "REDIS_URL" not in os.environ:
        pytest.skip("no REDIS_URL: run ./lens test, which starts a private Redis")
    client = queue.redis_client()
    client.flushdb()
    return str(settings.REDIS_URL)


@pytest.fixture(autouse=True)
def _fresh_bells() -> Iterator[None]:
    """Forget between tests that Redis was away, and what pages have counted of other rows."""
    yield
    queue.bell.cache_clear()
    outcomes.BOARDS.forget()
    tiles.RECEIVED.forget()
    tiles.RULED.forget()


@pytest.fixture
def _unsealed(transactional_db: None) -> Iterator[None]:
    """Let the tables be emptied although what is sealed cannot be deleted."""
    from pipeline.models import Chain, Seal

    yield
    Chain.objects.update(settled_id=0, trimmed_number=10**9)
    Seal.objects.all().delete()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Note what migrations left, and close at the end what asgiref's thread has opened."""
    with django_db_blocker.unblock():
        emptying.keep_what_is_there()
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    with django_db_blocker.unblock():
        _end_other_connections()


def _end_other_connections() -> None:
    """End what threads of event loops long gone still hold open: they would keep the database."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Return the folder of real recordings, which is not part of the repository."""
    folder = Path(os.environ.get("LENS_MARKET_DATA", ROOT.parent / "shared" / "market-data"))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; LENS_MARKET_DATA names another place")
    return folder


@pytest.fixture(scope="session")
def _vendors() -> Iterator[Vendors]:
    with running() as vendors:
        yield vendors


@pytest.fixture
def fake_vendors(_vendors: Vendors) -> Vendors:
    """Return all vendors on loopback, without any fault and with an empty ledger."""
    _vendors.reset()
    return _vendors


@pytest.fixture
def bold_and_shy(settings: Settings) -> Iterator[None]:
    """Let ``bold``, who follows, decide, with ``shy``, who never does, at hand."""
    scripted = "evaluation.evaluators.scripted.Scripted"
    settings.AI_MODELS = ("bold",)
    settings.EVALUATORS = {
        "bold": {"BACKEND": scripted, "OPTIONS": {}},
        "shy": {"BACKEND": scripted, "OPTIONS": {"follow": False}},
    }
    evaluation.evaluators.cache_clear()
    yield
    evaluation.evaluators.cache_clear()


@pytest.fixture
def api(db: None, redis_url: str) -> Callable[..., APIClient]:
    """Return a maker of HTTP clients: ``api("signals:write")`` carries a fresh key."""
    access.forget_everything()

    def make(*scopes: str) -> APIClient:
        draft = KeyDraft(name="tester", scopes=frozenset(Scope(scope) for scope in scopes))
        _, plain = access.issue_key(draft=draft, actor="test", now=datetime.now(UTC))
        client = APIClient()
        client.credentials(HTTP_X_API_KEY=plain)
        return client

    return make
