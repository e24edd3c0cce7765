"""Which vendors' models may be called at all, told by the vendor that really answers."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

PROVIDERS: tuple[str, ...] = (
    "openai",
    "gemini",
    "claude",
    "deepseek",
    "openrouter",
    "qwen",
    "moonshot",
    "ollama",
    "compatible",
)
"""The ways of speaking to a vendor that Lens knows."""

ALIASES: Mapping[str, str] = {
    "chatgpt": "openai",
    "azure": "openai",
    "google": "gemini",
    "anthropic": "claude",
    "alibaba": "qwen",
    "kimi": "moonshot",
    "moonshotai": "moonshot",
    "local": "ollama",
}
"""Other names of the same vendors, as settings and model ids use them."""

KEPT_NAMES = 256  # models and addresses of which it is remembered whose they are
PRESETS: Mapping[str, Mapping[str, Any]] = {"no_openai": {"deny": {"providers": ["openai"]}}}

HOSTS: Mapping[str, str] = {
    "openai.com": "openai",
    "openai.azure.com": "openai",
    "generativelanguage.googleapis.com": "gemini",
    "anthropic.com": "claude",
    "deepseek.com": "deepseek",
    "openrouter.ai": "openrouter",
    "dashscope.aliyuncs.com": "qwen",
    "dashscope-intl.aliyuncs.com": "qwen",
    "moonshot.ai": "moonshot",
    "moonshot.cn": "moonshot",
}

MAKERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"gpt|^o[1-9]\d*(?![a-z0-9])|davinci|codex|openai"), "openai"),
    (re.compile(r"gemini"), "gemini"),
    (re.compile(r"claude"), "claude"),
    (re.compile(r"deepseek"), "deepseek"),
    (re.compile(r"qwen|^qwq"), "qwen"),
    (re.compile(r"kimi|moonshot"), "moonshot"),
)
"""Who made a model, by its id without the part before the last slash."""

ROUTERS = ("openrouter/*",)
"""Ids under which the vendor is chosen at the call, by somebody else."""

KEYS = {"preset", "deny", "allow"}
LISTS = {"providers", "models"}


class BadPolicy(Exception):
    """The policy of vendors cannot be read, so nothing may be called under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorPolicy:
    """Whom Lens may ask. An empty list of what is allowed allows everything not denied.

    Denied is whatever a model resolves to: the provider, the host it is called at, or the maker
    that its id names. Allowed must be all of these.
    """

    deny_providers: tuple[str, ...] = ()
    deny_models: tuple[str, ...] = ()
    allow_providers: tuple[str, ...] = ()
    allow_models: tuple[str, ...] = ()

    @classmethod
    def from_setting(cls, text: str) -> VendorPolicy:
        """Return the policy that ``LLM_POLICY`` says: empty, a preset's name, or JSON.

        :raises BadPolicy: if it says nothing that can be followed to the letter.
        """
        if not text.strip():
            return cls()
        rules = _rules(text.strip())
        preset = rules.get("preset")
        if preset is not None and preset not in tuple(PRESETS):
            raise BadPolicy(f"no preset is named {preset!r}; there is {', '.join(PRESETS)}")
        given = (PRESETS[preset], rules) if preset is not None else (rules,)
        return cls(
            deny_providers=tuple(_providers(given, "deny")),
            deny_models=tuple(_words(given, "deny", "models")),
            allow_providers=tuple(_providers(given, "allow")),
            allow_models=tuple(_words(given, "allow", "models")),
        )

    def refusal(self, *, provider: str, model_id: str, base_url: str = "") -> str | None:
        """Return why this model may not be called, in one sentence, or None if it may."""
        vendors = resolve_vendors(provider=provider, model_id=model_id, base_url=base_url)
        spelled = _plain(model_id)
        denied = sorted(vendors & set(self.deny_providers))
        if denied:
            return f"LLM_POLICY denies {denied[0]}, which {model_id!r} resolves to"
        if self.deny_providers and _matches(spelled, ROUTERS):
            return f"LLM_POLICY denies vendors, and {model_id!r} may be routed to any of them"
        if _matches(spelled, self.deny_models):
            return f"LLM_POLICY denies the model {model_id!r}"
        strange = sorted(vendors - set(self.allow_providers)) if self.allow_providers else []
        if strange:
            return f"LLM_POLICY does not allow {strange[0]}, which {model_id!r} resolves to"
        if self.allow_models and not _matches(spelled, self.allow_models):
            return f"LLM_POLICY does not allow the model {model_id!r}"
        return None


@lru_cache(maxsize=KEPT_NAMES)
def resolve_vendors(*, provider: str, model_id: str, base_url: str = "") -> frozenset[str]:
    """Return everyone who is called: the provider, the host's owner and the model's maker."""
    found = {ALIASES.get(provider, provider), _owner(base_url), *_makers(_plain(model_id))}
    return frozenset(vendor for vendor in found if vendor)


def _plain(model_id: str) -> str:
    return unicodedata.normalize("NFKC", model_id).strip().lower()


def _owner(base_url: str) -> str:
    address = base_url if "://" in base_url else f"//{base_url}"
    try:
        host = (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""  # no address, so nobody can be called there
    for name, owner in HOSTS.items():
        if host == name or host.endswith(f".{name}"):
            return owner
    return ""


def _makers(model_id: str) -> Iterator[str]:
    """Yield whom an id names: ``openai/gpt-6-sol`` by its first part, ``ft:gpt-6`` by its name."""
    *namespaces, name = model_id.split("/")
    for namespace in namespaces:
        spelled = namespace.lstrip("~")
        vendor = ALIASES.get(spelled, spelled)
        if vendor in PROVIDERS:
            yield vendor
    for part in (name, *name.split(":")):
        for pattern, maker in MAKERS:
            if pattern.search(part):
                yield maker


def _matches(model_id: str, patterns: tuple[str, ...]) -> bool:
    name = model_id.rpartition("/")[2]
    return any(fnmatchcase(model_id, word) or fnmatchcase(name, word) for word in patterns)


def _rules(text: str) -> Mapping[str, Any]:
    if not text.startswith("{"):
        return {"preset": text}
    try:
        rules: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadPolicy(f"it is no JSON: {error}") from error
    strange = set(rules) - KEYS
    if strange:
        raise BadPolicy(f"it knows {', '.join(sorted(KEYS))}, not {', '.join(sorted(strange))}")
    return dict(rules)


def _words(given: tuple[Mapping[str, Any], ...], verb: str, kind: str) -> Iterator[str]:
    for rules in given:
        lists = rules.get(verb, {})
        if not isinstance(lists, dict) or set(lists) - LISTS:
            raise BadPolicy(f"{verb!r} takes lists named {' and '.join(sorted(LISTS))}")
        words = lists.get(kind, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise BadPolicy(f"{verb!r} {kind} is not a list of words")
        yield from (_plain(word) for word in words)


def _providers(given: tuple[Mapping[str, Any], ...], verb: str) -> Iterator[str]:
    for word in _words(given, verb, "providers"):
        vendor = ALIASES.get(word, word)
        if vendor not in PROVIDERS:
            raise BadPolicy(
                f"{word!r} is no provider; known are {', '.join(PROVIDERS)};"
                f" name others by their models, as in {word}/*"
            )
        yield vendor
