"""Reading what a page is asked for out of its URL."""

from __future__ import annotations

from typing import Any, TypeVar

from django.http import QueryDict
from pydantic import BaseModel, ValidationError

Asked = TypeVar("Asked", bound=BaseModel)


def asked(model: type[Asked], query: QueryDict) -> Asked:
    """Return what a URL asks for; what makes no sense is as if it were not said."""
    given: dict[str, Any] = {
        name: query[name] for name in model.model_fields if query.get(name, "") != ""
    }
    try:
        return model(**given)
    except ValidationError as error:
        wrong = {str(fault["loc"][0]) for fault in error.errors()}
        return model(**{name: value for name, value in given.items() if name not in wrong})
