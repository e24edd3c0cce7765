from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    made = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in METHODS & set(methods):
            yield method, path, methods[method]


def test_every_request_has_an_example(document: dict[str, Any]) -> None:
    without = [
        f"{method} {path}"
        for method, path, operation in operations(document)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if not content.get("examples")
    ]

    assert without == []


def test_every_refusal_has_an_example_of_its_own_code(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        refusals = {code: told for code, told in operation["responses"].items() if code >= "400"}

        assert {"401", "403", "429", "503"} <= set(refusals), f"{method} {path}"
        for code, told in refusals.items():
            problem = told["content"]["application/problem+json"]["example"]
            assert problem["status"] == int(code), f"{method} {path}"


def test_every_operation_is_shown_in_three_languages(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        shell, python, javascript = (each["source"] for each in operation["x-codeSamples"])

        ast.parse(python)
        assert f"http://127.0.0.1:8000{path}" in shlex.split(shell)
        assert f"'http://127.0.0.1:8000{path}'" in javascript


def test_the_sample_of_a_request_carries_its_example(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/v1/signals"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["examples"]["OpenALong"]

    words = shlex.split(operation["x-codeSamples"][0]["source"])

    assert json.loads(words[words.index("-d") + 1]) == example["value"]
