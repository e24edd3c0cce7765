from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from django.test import Client

from decisions import consumers
from decisions.parsing import FIELDS, TYPES
from lens_site.asyncapi import CLOSE_CODES, HEARD, SENT, Kind, WantedFilters, description


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    read: dict[str, Any] = client.get("/api/asyncapi").json()
    return read


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def test_the_document_is_served_and_names_every_message(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert set(document["components"]["messages"]) == {model.__name__ for model in (*SENT, *HEARD)}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        place: Any = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]
        assert isinstance(place, dict)


def test_every_close_code_of_the_socket_is_explained() -> None:
    used = {
        consumers.BAD_MESSAGE,
        consumers.NO_KEY,
        consumers.NO_SCOPE,
        consumers.NO_PATH,
        consumers.AUTH_TIMEOUT,
        consumers.TOO_MANY,
        consumers.RESTARTING,
        consumers.TRY_LATER,
    }

    assert set(CLOSE_CODES) == used


def test_the_filters_and_kinds_are_those_that_the_socket_takes() -> None:
    assert set(WantedFilters.model_fields) == set(FIELDS)
    assert set(get_args(Kind)) == set(TYPES)


def test_the_document_is_plain_json() -> None:
    assert json.loads(json.dumps(description())) == description()
