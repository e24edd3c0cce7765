from __future__ import annotations

import importlib
import sys

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import DjangoAssertNumQueries, Settings

from evaluation.models import PromptVersion
from lens_site import migrating
from lens_site.serving import unwanted, without


@pytest.mark.django_db
def test_a_database_with_every_migration_waits_for_none(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(2):  # is there a table of them, and which are in it
        waiting = migrating.count_waiting()

    assert waiting == 0


@pytest.mark.django_db
def test_a_migration_that_is_not_recorded_is_counted() -> None:
    MigrationRecorder.Migration.objects.filter(app="signals").latest("name").delete()

    assert migrating.count_waiting() == 1


@pytest.mark.django_db
def test_a_next_start_migrates_nothing_and_stores_what_ships(
    capsys: pytest.CaptureFixture[str],
) -> None:
    PromptVersion.objects.all().delete()

    call_command("prepare")

    assert "migrations" not in capsys.readouterr().out
    assert PromptVersion.objects.exists()


@pytest.mark.django_db
def test_a_start_is_refused_with_settings_that_nothing_understands(settings: Settings) -> None:
    settings.PROVIDER_PRIMARY = "nowhere"

    with pytest.raises(SystemCheckError, match="PROVIDER_PRIMARY"):
        call_command("prepare")


def test_what_is_unwanted_cannot_be_imported_meanwhile_and_can_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)

    with without("this", "json"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("this")
        kept = importlib.import_module("json")

    assert kept.loads("1") == 1
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("url", "endpoint", "left_out"),
    [
        ("sqlite:///lens.sqlite3", "", {"psycopg", "opentelemetry"}),
        ("postgres://lens@db/lens", "http://127.0.0.1:4318", set()),
    ],
)
def test_a_desk_imports_the_database_and_the_telemetry_that_it_was_asked_for(
    settings: Settings, url: str, endpoint: str, left_out: set[str]
) -> None:
    settings.DATABASE_URL = url
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint

    assert {"psycopg", "opentelemetry"} & set(unwanted()) == left_out
