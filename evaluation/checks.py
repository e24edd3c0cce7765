"""System checks that name a wrong model setting before the first signal does."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from evaluation.services import evaluators

KNOWN = ("ensemble", "rules", "scripted")


@register()
def check_models(**_: Any) -> list[CheckMessage]:
    """Refuse models in ``AI_MODELS`` that nothing is known of, and options they do not take."""
    unknown = [name for name, plug in settings.EVALUATORS.items() if not plug]
    if unknown:
        return [_unknown(name) for name in unknown]
    try:
        evaluators()
    except ImproperlyConfigured as error:
        return [Error(f"A model does not start: {error}", id="lens.E021")]
    return []


def _unknown(name: str) -> Error:
    near = get_close_matches(name, KNOWN, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(KNOWN)}."
    return Error(f"AI_MODELS names {name!r}, which is no model we know.", hint=hint, id="lens.E020")
