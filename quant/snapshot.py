"""Freezing a flat value into plain JSON and thawing it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Snapshot = TypeVar("Snapshot", bound="DataclassInstance")


class BadSnapshot(ValueError):
    """The stored mapping is not one that this version of the product wrote."""


def freeze(values: DataclassInstance, *, version: int) -> dict[str, Any]:
    """Return the fields as a mapping that JSON can hold, with the version of their meaning."""
    return {"version": version} | {each.name: getattr(values, each.name) for each in fields(values)}


def thaw(kind: type[Snapshot], plain: Mapping[str, Any], *, version: int) -> Snapshot:
    """Return the value that was frozen.

    :raises BadSnapshot: if the version differs, or a field is missing or unknown.
    """
    if plain.get("version") != version:
        raise BadSnapshot(f"{kind.__name__} has version {version}, not {plain.get('version')!r}")
    expected, found = {field.name for field in fields(kind)}, set(plain) - {"version"}
    if expected != found:
        raise BadSnapshot(f"{kind.__name__} differs in {', '.join(sorted(expected ^ found))}")
    return kind(**{name: plain[name] for name in expected})
