"""What the back offices of all rooms share: lists that are only read and stay fast on millions.

No page counts or scans a whole table. Rows are found by the beginning of an id, by whole words in
indexed columns, and by dates; ids rise with time, so a day is a range of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db.models import Field, JSONField, Model, Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from pipeline.parsing import ids_beginning
from pipeline.queries import CLOCKS_APART, first_id
from pipeline.services import record_act
from pipeline.types import REASON_MAX_CHARS

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    AnyAdmin, AnyPaginator = admin.ModelAdmin, Paginator

COUNT_MAX = 2_000
PER_PAGE = 50
CHOICES_MAX = 50
FOUND_MAX = 200
ID_SHOWN = 8
MARK = re.compile(r"(?:(?P<tag>[a-z]{2,4})_)?(?P<hex>[0-9a-f]{4,32})")
TOGGLE = format_html('<input type="checkbox" id="action-toggle" aria-label="{}">', "Select all")

Mark = tuple[str, UUID, UUID]


class BoundedPaginator(AnyPaginator):
    """Pages of a list of which at most ``COUNT_MAX`` rows are counted and can be paged through."""

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, or ``COUNT_MAX`` if there are more."""
        return min(self._seen, COUNT_MAX)

    @property
    def is_cut(self) -> bool:
        """Say whether there are more rows than are counted."""
        return self._seen > COUNT_MAX

    @cached_property
    def _seen(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: COUNT_MAX + 1].count()


class ReadOnly:
    """Rows that people look at and nobody writes by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del request, obj
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del request, obj
        return False


class Browsed(ReadOnly, AnyAdmin):
    """A large table that is only read.

    ``search_ids`` maps the tag of an id (``sig`` of ``sig_1a2b``) to the column that begins with
    it, also through one relation; ``search_words`` are columns that a word must equal.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the whole table
    list_per_page = PER_PAGE
    list_max_show_all = 0
    search_fields = ("pk",)  # shows the box; what it does is below
    search_ids: Mapping[str, str] = {}
    search_words: Sequence[str] = ()
    hidden: Sequence[str] = ()

    @admin.display(description=TOGGLE)
    def action_checkbox(self, obj: Any) -> SafeString:
        """Return what Django's own renders, without a template for each row."""
        box = '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">'
        return format_html(
            box, ACTION_CHECKBOX_NAME, obj.pk, f"Select this object for an action - {obj}"
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find rows by the beginning of an id, with or without its tag, or by whole words."""
        del request
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(pk__in=[])
        if mark := read_mark(term):
            wanted |= self._by_id(mark)
        for column in self.search_words:
            wanted |= Q(**{f"{column}__in": {term, term.upper(), term.lower()}})
        return queryset.filter(wanted), False

    def _by_id(self, mark: Mark) -> Q:
        tag, first, last = mark
        wanted = Q(pk__in=[])
        for name, column in self.search_ids.items():
            if tag in ("", name):
                wanted |= self._beginning(column, first, last)
        return wanted

    def _beginning(self, column: str, first: UUID, last: UUID) -> Q:
        """Match ids of a range; rows of another table are looked up there first, by its index."""
        relation, _, far = column.rpartition("__")
        if not relation:
            return Q(**{f"{column}__range": (first, last)})
        other: Any = self.model
        for step in relation.split("__"):
            other = other._meta.get_field(step).related_model
        rows = other._default_manager.filter(**{f"{far}__range": (first, last)})
        return Q(**{f"{relation}__in": list(rows.values_list("pk", flat=True)[:FOUND_MAX])})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return every column, with JSON laid out to be read."""
        del request, obj
        columns = self.model._meta.concrete_fields
        return [
            laid_out(field) if isinstance(field, JSONField) else field.name
            for field in columns
            if field.name not in self.hidden
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return what is shown: nothing can be typed into."""
        return self.get_fields(request, obj)


class Audited(AnyAdmin):
    """Rows that people change here; who changed what from what to what is kept in the trail."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        named = [name for name in form.changed_data if name in form.cleaned_data]
        record_act(
            actor=request.user.get_username(),
            verb="CHANGED" if change else "ADDED",
            object=f"{obj._meta.model_name}:{obj.pk}",
            before={name: _told(form.initial.get(name)) for name in named} if change else None,
            after={name: _told(form.cleaned_data[name]) for name in named},
            at=datetime.now(UTC),
        )

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        record_act(
            actor=request.user.get_username(),
            verb="DELETED",
            object=f"{obj._meta.model_name}:{obj.pk}",
            before={"was": str(obj)},
            at=datetime.now(UTC),
        )
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.delete_model(request, obj)


def _told(value: Any) -> Any:
    """Return a form's value as the trail can keep it."""
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, QuerySet | list | tuple):
        return [str(each) for each in value]
    return str(value)


class IndexedValues(admin.FieldListFilter):
    """Filters by the values of a column that leads an index, found one by one in it."""

    def __init__(
        self,
        field: Any,
        request: Any,
        params: Any,
        model: Any,
        model_admin: Any,
        field_path: Any,
    ) -> None:
        self.name = field.name
        super().__init__(field, request, params, model, model_admin, field_path)
        value = self.used_parameters.get(self.name)
        self.chosen = value[-1] if isinstance(value, list) else value
        self.values = list(_distinct(model, self.name))

    def expected_parameters(self) -> list[str | None]:
        return [self.field_path]

    def choices(self, changelist: Any) -> Iterator[Any]:
        yield {
            "selected": self.chosen is None,
            "query_string": changelist.get_query_string(remove=[self.name]),
            "display": "All",
        }
        for value in self.values:
            yield {
                "selected": self.chosen == value,
                "query_string": changelist.get_query_string({self.name: value}),
                "display": value,
            }


def _distinct(model: type[Model], column: str) -> Iterator[str]:
    """Yield the values of an indexed column in order, at one look into the index each."""
    rows = model._default_manager.order_by(column).values_list(column, flat=True)
    value = rows.first()
    for _ in range(CHOICES_MAX):
        if value is None:
            return
        yield str(value)
        value = rows.filter(**{f"{column}__gt": value}).first()


class Between(admin.FieldListFilter):
    """Filters by a first and a last day, both included, in UTC."""

    template = "admin/between.html"

    def __init__(
        self,
        field: Any,
        request: Any,
        params: Any,
        model: Any,
        model_admin: Any,
        field_path: Any,
    ) -> None:
        self.names = (f"{field.name}_from", f"{field.name}_until")
        super().__init__(field, request, params, model, model_admin, field_path)
        self.model = model
        self.given = {name: _day(self.used_parameters.get(name)) for name in self.names}
        self.others = [(k, v) for k, vs in request.GET.lists() for v in vs if k not in self._own()]

    def _own(self) -> set[str]:
        return {*self.names, "p", "e"}

    def expected_parameters(self) -> list[str | None]:
        return list(self.names)

    def choices(self, changelist: Any) -> Iterator[Any]:
        yield {
            "selected": not any(self.given.values()),
            "query_string": changelist.get_query_string(remove=list(self.names)),
            "display": "Any time",
            "days": [(name, label, self.given[name]) for name, label in self._labelled()],
            "others": self.others,
        }

    def _labelled(self) -> Iterator[tuple[str, str]]:
        return zip(self.names, ("from", "until"), strict=True)

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of these days; the ids say where they lie, the column which they are."""
        del request
        since, until = (_moment(self.given[name]) for name in self.names)
        until = until and until + timedelta(days=1)
        table, relation = self._table()
        near = Q()
        if since:
            bound = first_id(table, self.field.name, at=since - CLOCKS_APART)
            near &= Q(**{f"{relation}__gte": bound}) if bound is not None else Q(pk__in=[])
            near &= Q(**{f"{self.field_path}__gte": since})
        if until:
            bound = first_id(table, self.field.name, at=until + CLOCKS_APART)
            near &= Q(**{f"{relation}__lt": bound}) if bound is not None else Q()
            near &= Q(**{f"{self.field_path}__lt": until})
        return queryset.filter(near)

    def _table(self) -> tuple[type[Model], str]:
        """Return the table whose rising ids tell the time, and how the listed rows point at it."""
        relation = self.field_path.rpartition("__")[0]
        return self.field.model, f"{relation}_id" if relation else "pk"


def _day(given: Any) -> date | None:
    text = given[-1] if isinstance(given, list) else given
    if not text:
        return None
    try:
        return date.fromisoformat(str(text))
    except ValueError as error:
        raise IncorrectLookupParameters(error) from error


def _moment(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), tzinfo=UTC)


def read_mark(term: str) -> Mark | None:
    """Return the tag and the range of ids that begin as ``term`` does, or None if none can."""
    match = MARK.fullmatch(term.strip().lower().replace("-", ""))
    if match is None:
        return None
    return match["tag"] or "", *ids_beginning(match["hex"])


def badge(word: str) -> SafeString:
    """Return a state as a word that is also coloured."""
    return format_html('<span class="badge" data-state="{}">{}</span>', word, word)


def short_id(tag: str, value: UUID) -> str:
    """Return the beginning of an id as people write it to one another."""
    return f"{tag}_{value.hex[:ID_SHOWN]}"


def laid_out(field: Field[Any, Any]) -> Any:
    """Return a display of a JSON column, indented, as text."""

    def shown(obj: Any) -> SafeString:
        value = getattr(obj, field.name)
        text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)
        return format_html("<pre>{}</pre>", text)

    shown.short_description = field.verbose_name  # type: ignore[attr-defined]
    shown.__name__ = field.name
    return shown


class ReasonForm(forms.Form):
    """Why somebody does this; the trail keeps it."""

    reason = forms.CharField(
        max_length=REASON_MAX_CHARS, widget=forms.Textarea(attrs={"rows": 2, "autofocus": True})
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a page asks before something is done that is not easily undone."""

    title: str
    told: Sequence[str]
    submit: str
    is_dangerous: bool = False
    warned: Sequence[str] = ()
    back: str = "../"


def ask(
    request: HttpRequest,
    site: admin.AdminSite,
    question: Question,
    *,
    form: forms.Form,
    chosen: Sequence[str] = (),
) -> TemplateResponse:
    """Return the page that asks; ``chosen`` are the rows of an action of a list."""
    context = {
        **site.each_context(request),
        "title": question.title,
        "question": question,
        "form": form,
        "chosen": chosen,
        "action": request.POST.get("action", ""),
        "across": request.POST.get("select_across", "0"),
    }
    return TemplateResponse(request, "admin/ask.html", context)


def reason_form(request: HttpRequest, form: type[forms.Form] = ReasonForm) -> forms.Form:
    """Return the form of a question: bound once it was answered, empty when it is first asked."""
    return form(request.POST if "agreed" in request.POST else None)
