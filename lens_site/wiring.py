"""The fuse box: everything that plugs into something, by name and dotted path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Plug = dict[str, Any]

# event -> the services that it calls inside the announcing transaction; the flow, top to bottom
ROUTES: dict[str, tuple[str, ...]] = {
    "signal.submitted": ("enrichment.services.request_enrichment",),
    "signals.enriched": (
        "evaluation.services.request_evaluations",
        "outcomes.services.ask_about_signals",
        "outcomes.services.shadow_signals",
    ),
    "evaluations.requested": ("decisions.services.summon_jury",),
    "evaluations.finished": ("decisions.services.decide",),
    "decisions.made": ("outcomes.services.ask_about_decisions",),
    "signal.closed": (
        "evaluation.services.skip_open_evaluations",
        "outcomes.services.ask_about_closed",
    ),
    "signals.purging": ("signals.services.remember_keys", "decisions.services.note_purged"),
    "enrich.retried": ("signals.services.rerun",),
    "evaluate.retried": ("evaluation.services.reopen",),
    "jury.retried": ("signals.services.rerun",),
    "demo.cleared": ("enrichment.services.forget_facts",),
}

# who tells what retrying dead letters would come to
RETRY_STALE = "signals.queries.list_lapsed"
RETRY_COST = "evaluation.queries.expected_cost"

# how a decision reads to the programs it is sent to: as it does over HTTP
DELIVERY_SHAPE = "decisions.serializers.decision_json"

# what a worker runs, first things last: nearly finished work goes before new work
STAGES: tuple[str, ...] = (
    "decisions.jobs.JURY",
    "evaluation.jobs.EVALUATE",
    "enrichment.jobs.ENRICH",
)

# who says which signals are past their time, in the order in which they are purged
PURGE_CHOOSER = "signals.queries.choose_purgeable"

# who may say that a signal is still needed although its time is over, and why
PURGE_SPARES: tuple[str, ...] = (
    "pipeline.queries.list_in_hand",
    "evaluation.queries.list_in_hand",
    "outcomes.queries.list_in_hand",
)

# what goes with purged signals, in this order: rows before the rows they hang on
PURGES: tuple[str, ...] = (
    "outcomes.queries.rows_to_purge",
    "notifications.queries.rows_to_purge",
    "decisions.queries.rows_to_purge",
    "evaluation.queries.rows_to_purge",
    "enrichment.queries.rows_to_purge",
    "pipeline.queries.rows_to_purge",
    "signals.queries.rows_to_purge",
)

# what is left over when the signals are gone
LEFTOVERS: tuple[str, ...] = (
    "evaluation.queries.leftovers",
    "notifications.queries.leftovers",
    "signals.queries.leftovers",
)

# verb of the trail -> who compares what such lines tell with the rows they tell of
WITNESSES: dict[str, str] = {"LEDGER": "decisions.ledger.compare"}

# verb of the trail -> the detail that is written outside the database, to outlive any restore
ANCHORED_VERBS: dict[str, str] = {"KEY_REVOKED": "key"}

LOOPBACK = ("localhost", "127.0.0.1", "::1")
BUILT_IN_MODELS = ("ensemble", "rules")
# judges of known character, by which scoring is tried out on replays
CHARACTERS = ("perfect", "coin", "overconfident", "inverted")
QUANTITATIVE = (*BUILT_IN_MODELS, "scripted", *CHARACTERS)

# names under which a vendor's model needs no MODEL_<NAME>_PROVIDER
NICKNAMES: dict[str, str] = {
    "chatgpt": "openai",
    "openai": "openai",
    "gemini": "gemini",
    "google": "gemini",
    "claude": "claude",
    "anthropic": "claude",
    "deepseek": "deepseek",
    "qwen": "qwen",
    "kimi": "moonshot",
    "moonshot": "moonshot",
    "openrouter": "openrouter",
    "ollama": "ollama",
    "local": "ollama",
    "compatible": "compatible",
}
KNOWN_MODELS = (*QUANTITATIVE, *NICKNAMES)

# the model of a vendor that is asked when MODEL_<NAME>_MODEL_ID is not set
FIRST_CHOICES: dict[str, str] = {
    "openai": "gpt-6-luna",
    "gemini": "gemini-3.8-flash",
    "claude": "claude-haiku-5-5",
    "deepseek": "deepseek-flash",
}

# provider -> MODEL_<NAME>_API -> who speaks it; the empty one is the provider's best
BACKENDS: dict[str, dict[str, str]] = {
    "openai": {
        "": "evaluation.evaluators.openai.OpenAI",
        "responses": "evaluation.evaluators.openai.OpenAI",
        "chat": "evaluation.evaluators.chat.OpenAIChat",
        "decisions": "evaluation.evaluators.deciding.OpenAIDecisions",
    },
    "gemini": {
        "": "evaluation.evaluators.gemini.Gemini",
        "decisions": "evaluation.evaluators.deciding.GeminiDecisions",
    },
    "claude": {"": "evaluation.evaluators.claude.Claude"},
    "deepseek": {"": "evaluation.evaluators.deepseek.DeepSeek"},
    "openrouter": {"": "evaluation.evaluators.openrouter.OpenRouter"},
    "qwen": {"": "evaluation.evaluators.qwen.Qwen"},
    "moonshot": {"": "evaluation.evaluators.moonshot.Moonshot"},
    "ollama": {"": "evaluation.evaluators.ollama.Ollama"},
    "compatible": {"": "evaluation.evaluators.chat.Chat"},
}

# every MODEL_<NAME>_* setting and its default
MODEL_SETTINGS: dict[str, str] = {
    "PROVIDER": "",
    "API_KEY": "",
    "MODEL_ID": "",
    "BASE_URL": "",
    "API": "",
    "TIMEOUT_MS": "",
    "MAX_TOKENS": "1200",
    "PROMPT": "judge",
    "EFFORT": "",
    "SEED": "",
}


def providers(
    *, hyperliquid_url: str, local_hosts: Sequence[str], timeout_ms: int, recording: str, seed: int
) -> dict[str, Plug]:
    """Return the market-data plugs by name."""
    return {
        "hyperliquid": {
            "BACKEND": "markets.providers.hyperliquid.Hyperliquid",
            "OPTIONS": {
                "base_url": hyperliquid_url,
                "timeout_ms": timeout_ms,
                "local_hosts": local_hosts,
            },
        },
        "recorded": {
            "BACKEND": "markets.providers.recorded.Recorded",
            "OPTIONS": {"path": recording},
        },
        "simulated": {
            "BACKEND": "markets.providers.simulated.Simulated",
            "OPTIONS": {"seed": seed},
        },
    }


def evaluators(
    *,
    names: Sequence[str],
    ensemble: Mapping[str, Any],
    rules: Mapping[str, Any],
    language: Mapping[str, Mapping[str, str]],
    local_hosts: Sequence[str] = LOOPBACK,
    deadline_ms: int,
    answers: str = "",
) -> dict[str, Plug]:
    """Return the evaluator plugs of the models that ``AI_MODELS`` names, in that order.

    ``language`` are the ``MODEL_<NAME>_*`` settings by name; ``local_hosts`` may be our own. A name
    that nothing is known of keeps a plug without a backend, which the system checks refuse by name.
    """
    built_in: dict[str, Plug] = {
        "ensemble": {
            "BACKEND": "evaluation.evaluators.ensemble.Ensemble",
            "OPTIONS": dict(ensemble),
        },
        "rules": {"BACKEND": "evaluation.evaluators.rules.Rules", "OPTIONS": dict(rules)},
        "scripted": {"BACKEND": "evaluation.evaluators.scripted.Scripted", "OPTIONS": {}},
    }
    prepared = {
        "BACKEND": "evaluation.evaluators.prepared.Prepared",
        "OPTIONS": {"answers": answers},
    }
    built_in |= dict.fromkeys(CHARACTERS, prepared)
    return {
        name: built_in.get(name)
        or _language_model(name, language[name], local_hosts=local_hosts, deadline_ms=deadline_ms)
        for name in names
    }


def _language_model(
    name: str, given: Mapping[str, str], *, local_hosts: Sequence[str], deadline_ms: int
) -> Plug:
    """Return the plug of a vendor's model: who it is and how it is called, all of it settings."""
    provider = given["PROVIDER"] or NICKNAMES.get(name, "")
    provider = NICKNAMES.get(provider, provider)
    backends = BACKENDS.get(provider)
    if not provider:
        return {}
    plug: Plug = {"PROVIDER": provider, "API": given["API"], "PROMPT": given["PROMPT"]}
    options: dict[str, Any] = {
        "model_id": given["MODEL_ID"] or FIRST_CHOICES.get(provider, ""),
        "api_key": given["API_KEY"],
        "base_url": given["BASE_URL"],
        "timeout_s": min(int(given["TIMEOUT_MS"] or deadline_ms), deadline_ms) / 1000,
        "max_tokens": int(given["MAX_TOKENS"]),
        "effort": given["EFFORT"],
        "seed": int(given["SEED"]) if given["SEED"] else None,
        "local_hosts": local_hosts,
    }
    plug["OPTIONS"] = options
    if backends and given["API"] in backends:
        plug["BACKEND"] = backends[given["API"]]
    return plug
