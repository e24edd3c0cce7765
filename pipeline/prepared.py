"""Queries that are composed once and sent with other values each time.

For work that is done for every signal Django takes three times as long to compose a statement as
the database takes to run it. What is prepared here is a query set like any other, with a place
where each value goes; its SQL is kept.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models.expressions import Expression
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

from pipeline.statements import column_of, read

SLOT = re.compile(r"(?<!%)%s")
WORD = re.compile(r"[A-Za-z_]+")

M = TypeVar("M", bound=models.Model)
Values = Mapping[str, Any]


class Place(Expression):
    """Where a value goes: the one of that name, or the one at that index of several."""

    def __init__(self, name: str, field: models.Field[Any, Any], index: int | None = None) -> None:
        super().__init__(output_field=field)
        self.name = name
        self.index = index

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)

    def of(self, values: Values, database: Any) -> Any:
        """Return the value that goes here, as the database takes it."""
        value = values[self.name]
        if self.index is not None:
            value = value[self.index]
        return self.output_field.get_db_prep_save(value, database)


class Given:
    """The places of one query: ``given(Signal, "id")`` for one value, ``each`` for several."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes

    def __call__(self, model: type[models.Model], field: str, *, name: str = "") -> Place:
        """Return the place of the value called like the field, or as ``name`` says."""
        return Place(name or field, column_of(model, field))

    def each(self, model: type[models.Model], field: str, *, name: str) -> Any:
        """Return the places of several values, for a look-up with ``__in``."""
        column = column_of(model, field)
        return [Place(name, column, index) for index in range(self._sizes[name])]


class Prepared(Generic[M]):
    """Reads rows. Of several values there may be any number; of none comes nothing."""

    def __init__(self, compose: Callable[[Given], models.QuerySet[M, Any]]) -> None:
        self._compose = compose
        self._plans: dict[tuple[Any, ...], _Plan] = {}

    def rows(self, **values: Any) -> list[Any]:
        """Return what the query finds with these values."""
        padded = _padded(values)
        if padded is None:
            return []
        key = _shape(padded)
        plan = self._plans.get(key)
        if plan is None:
            queryset = self._compose(Given(_sizes(padded)))
            plan = self._plans[key] = _Plan.of(queryset.query, queryset)
        sent: Any = models.QuerySet(plan.queryset.model, query=plan.with_values(padded))
        sent._fields = plan.queryset._fields
        return list(plan.queryset._iterable_class(sent))


class PreparedUpdate:
    """Changes rows; ``compose`` returns which, and what of them becomes what."""

    def __init__(
        self, compose: Callable[[Given], tuple[models.QuerySet[Any, Any], Mapping[str, Any]]]
    ) -> None:
        self._compose = compose
        self._plans: dict[tuple[Any, ...], _Plan] = {}

    def run(self, **values: Any) -> int:
        """Return how many rows were changed."""
        padded = _padded(values)
        if padded is None:
            return 0
        plan = self._plan(padded)
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, plan.parameters(padded))
            return int(cursor.rowcount)

    def changed(self, *, tell: str, **values: Any) -> set[Any]:
        """Return that column of the rows that were changed."""
        padded = _padded(values)
        if padded is None:
            return set()
        plan = self._plan(padded)
        column = column_of(plan.queryset.model, tell)
        name = connection.ops.quote_name(str(column.column))
        rows = read(f"{plan.sql} RETURNING {name}", plan.parameters(padded))
        return {column.to_python(value) for (value,) in rows}

    def _plan(self, padded: Values) -> _Plan:
        key = _shape(padded)
        plan = self._plans.get(key)
        if plan is None:
            queryset, changes = self._compose(Given(_sizes(padded)))
            query: Any = queryset.query.chain(UpdateQuery)
            query.add_update_values(dict(changes))
            plan = self._plans[key] = _Plan.of(query, queryset)
        return plan


@dataclass(frozen=True, slots=True)
class _Plan:
    """A query set and its SQL, composed for one database and one number of values."""

    queryset: Any
    query: Query
    compiler: SQLCompiler
    sql: str
    places: Sequence[Any]
    converters: dict[int, Any]

    @classmethod
    def of(cls, query: Query, queryset: Any) -> _Plan:
        compiler = query.get_compiler(connection=connections[DEFAULT_DB_ALIAS])
        sql, places = _with_words_written_out(*compiler.as_sql())
        read = compiler.select or ()
        converters = compiler.get_converters([column for column, _, _ in read])
        return cls(queryset, query, compiler, sql, places, converters)

    def parameters(self, values: Values) -> list[Any]:
        database = connections[DEFAULT_DB_ALIAS]
        return [
            each.of(values, database) if isinstance(each, Place) else each for each in self.places
        ]

    def with_values(self, values: Values) -> Query:
        """Return the query as it is sent: composed already."""
        compiler = copy.copy(self.compiler)
        compiler.connection = connections[DEFAULT_DB_ALIAS]
        sent = self.sql, tuple(self.parameters(values))
        compiler.as_sql = lambda *_, **__: sent  # type: ignore[method-assign]
        compiler.get_converters = lambda _: self.converters  # type: ignore[method-assign,assignment]
        query = copy.copy(self.query)
        query.get_compiler = lambda *_, **__: compiler  # type: ignore[method-assign]
        return query


def _with_words_written_out(sql: str, places: Sequence[Any]) -> tuple[str, list[Any]]:
    """Put constant words where they stand: a partial index is used only for what can be read."""
    parts, left = SLOT.split(sql), []
    for number, place in enumerate(places):
        is_word = isinstance(place, str) and WORD.fullmatch(place) is not None
        parts[number] += f"'{place}'" if is_word else "%s"
        left += [] if is_word else [place]
    return "".join(parts), left


def _padded(values: Values) -> Values | None:
    """Return the values with several repeated up to a power of two; None if there are none.

    So a query is composed a few times, and not once for each number that ever comes.
    """
    padded = {}
    for name, value in values.items():
        if isinstance(value, str | Mapping) or not isinstance(value, Collection):
            padded[name] = value
            continue
        several = list(value)
        if not several:
            return None
        size = 1 << (len(several) - 1).bit_length()
        padded[name] = several + several[-1:] * (size - len(several))
    return padded


def _sizes(values: Values) -> dict[str, int]:
    return {name: len(value) for name, value in values.items() if isinstance(value, list)}


def _shape(values: Values) -> tuple[Any, ...]:
    return (connection.vendor, *_sizes(values).items())
