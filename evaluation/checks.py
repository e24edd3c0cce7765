"""System checks that name a wrong model setting before the first signal does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from evaluation import cards
from evaluation.evaluators.vendor_policy import PROVIDERS, BadPolicy, VendorPolicy
from evaluation.services import evaluators
from pipeline import egress

NAME = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,39}")
TAKEN = ("jury",)
KEYLESS = ("ollama", "compatible")
NOTICE = timedelta(days=30)

Plug = Mapping[str, Any]


@register()
def check_models(**_: Any) -> list[CheckMessage]:
    """Refuse models in ``AI_MODELS`` that cannot be asked, each with what is missing."""
    errors = [
        error
        for name, plug in settings.EVALUATORS.items()
        for error in (_unknown(name, plug) or _incomplete(name, plug))
    ]
    if errors:
        return errors
    try:
        evaluators()
    except ImproperlyConfigured as error:
        return [Error(f"A model does not start: {error}", id="lens.E021")]
    return []


@register()
def check_policy(**_: Any) -> list[CheckMessage]:
    """Refuse a policy that cannot be read, and models that it does not let us ask."""
    try:
        policy = VendorPolicy.from_setting(settings.LLM_POLICY)
    except BadPolicy as error:
        return [Error(f"LLM_POLICY cannot be followed: {error}.", id="lens.E026")]
    found = []
    for name, plug in _language_models():
        options = plug["OPTIONS"]
        refusal = policy.refusal(
            provider=plug["PROVIDER"], model_id=options["model_id"], base_url=options["base_url"]
        )
        if refusal:
            found.append(Error(f"The model {name!r} may not be asked: {refusal}.", id="lens.E027"))
    return [*found]


@register()
def check_retirement(**_: Any) -> list[CheckMessage]:
    """Warn of models that their vendors have ended, or will end within thirty days."""
    today = datetime.now(UTC).date()
    ends = {
        (card["provider"], card["model_id"]): date.fromisoformat(card["retire_on"])
        for card in cards.shipped()["models"]
        if card["retire_on"]
    }
    found: list[CheckMessage] = []
    for name, plug in _language_models():
        ends_on = ends.get((plug["PROVIDER"], plug["OPTIONS"]["model_id"]))
        if ends_on is not None and ends_on - NOTICE <= today:
            verb = "ended" if ends_on <= today else "will end"
            text = f"The model {name!r} is {plug['OPTIONS']['model_id']}, which its vendor {verb}"
            hint = f"Name another in {_setting(name, 'MODEL_ID')}."
            found.append(Warning(f"{text} on {ends_on}.", hint=hint, id="lens.W021"))
    return found


def _language_models() -> Iterator[tuple[str, Plug]]:
    for name, plug in settings.EVALUATORS.items():
        if plug.get("PROVIDER") in PROVIDERS:
            yield name, plug


def _setting(name: str, field: str) -> str:
    return f"MODEL_{re.sub(r'[^A-Z0-9]', '_', name.upper())}_{field}"


def _unknown(name: str, plug: Plug) -> list[CheckMessage]:
    """Return the error that makes all others about a model pointless."""
    if name in TAKEN or not NAME.fullmatch(name):
        text = f"AI_MODELS names {name!r}, which cannot be the name of a model."
        hint = "Use lower-case letters, digits, _ . and -; 'jury' is taken."
        return [Error(text, hint=hint, id="lens.E022")]
    if not plug:
        near = get_close_matches(name, settings.KNOWN_MODELS, n=1)
        hint = (
            f"Did you mean {near[0]!r}?"
            if near
            else f"Say who it is: {_setting(name, 'PROVIDER')}."
        )
        text = f"AI_MODELS names {name!r}, which is no model we know."
        return [Error(text, hint=hint, id="lens.E020")]
    provider = plug.get("PROVIDER")
    if provider is not None and provider not in PROVIDERS:
        near = get_close_matches(provider, PROVIDERS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(PROVIDERS)}."
        text = f"{_setting(name, 'PROVIDER')} is {provider!r}, which is no provider we know."
        return [Error(text, hint=hint, id="lens.E023")]
    return []


def _incomplete(name: str, plug: Plug) -> list[CheckMessage]:
    """Return what a vendor's model lacks before it can be called."""
    if "PROVIDER" not in plug:
        return []
    provider, options = plug["PROVIDER"], plug["OPTIONS"]
    found: list[CheckMessage] = []
    if "BACKEND" not in plug:
        text = f"{_setting(name, 'API')} is {plug['API']!r}, which {provider} does not have."
        found.append(Error(text, id="lens.E028"))
    if not options["api_key"] and provider not in KEYLESS:
        text = f"The model {name!r} has no key: set {_setting(name, 'API_KEY')}."
        hint = "Or take the model out of AI_MODELS."
        found.append(Error(text, hint=hint, id="lens.E024"))
    if not options["model_id"]:
        text = f"The model {name!r} may be any of {provider}: set {_setting(name, 'MODEL_ID')}."
        found.append(Error(text, id="lens.E025"))
    wrong = _wrong_address(options["base_url"], wanted=provider == "compatible")
    if wrong:
        found.append(Error(f"{_setting(name, 'BASE_URL')} {wrong}.", id="lens.E029"))
    return found


def _wrong_address(base_url: str, *, wanted: bool) -> str:
    """Return what is wrong with an address that prompts and keys would be sent to."""
    if not base_url:
        return "must name the address of the server" if wanted else ""
    return egress.wrong_with(base_url, allowed=settings.LOCAL_MODEL_HOSTS)
