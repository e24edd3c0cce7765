"""The tables that the documents show, made from the code itself.

A document carries a pair of markers, ``begin: name`` and ``end: name``, each on a line of its own
inside a comment; what stands between them is printed from here by ``manage.py render_docs``.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.urls import resolve
from django.utils.module_loading import import_string
from drf_spectacular.generators import SchemaGenerator

from lens_site.errors import CODES, TITLES
from lens_site.metrics import metric_rows

DOCUMENTS = (
    "ARCHITECTURE.md",
    "docs/settings.md",
    "docs/monitoring.md",
    "docs/api.md",
    "docs/errors.md",
    ".env.example",
)
REGION = re.compile(r"(?ms)^(?P<top>[^\n]*\bbegin: (?P<name>\w+)[^\n]*\n).*?^(?=[^\n]*\bend: \w+)")
EVALUATORS = "evaluation.evaluators"
ANY_ID, ANY_NUMBER = str(UUID(int=0)), "0"


@dataclass(frozen=True, slots=True)
class Described:
    """What one setting means; ``shown`` replaces a default that a document must not print."""

    text: str
    shown: str | None = None


class UnknownRegion(Exception):
    """A document asks for a table that nobody makes."""


D = Described
SETTINGS: Mapping[str, Mapping[str, Described]] = {
    "Identity and secrets": {
        "LENS_VAR_DIR": D("Directory of everything that is kept: database, logs, secrets.", "var"),
        "SECRET_KEY": D(
            "Signs sessions and socket tickets; `./lens up` makes one in `var/secret.env`.", ""
        ),
        "LENS_KEY_PEPPER": D(
            "Seals API keys; several, divided by commas, oldest first; losing it voids the keys it"
            " sealed; `./lens up` makes one in `var/secret.env`.",
            "",
        ),
        "LENS_ENCRYPTION_KEYS": D(
            "Seal what is secret in the database; several, divided by commas, oldest first;"
            " `./lens manage rotate_secrets` seals all of it with the last; `./lens up` makes one"
            " in `var/secret.env`.",
            "",
        ),
        "LENS_ENV": D("Word inside every API key, 1 to 16 lower-case letters."),
        "API_KEY_ADMIN": D(
            "A key that always carries scope `admin`; 32 random characters or more; empty: none."
        ),
        "SIGN_IN_LINK_S": D("Seconds within which a printed sign-in link must be used."),
        "DEBUG": D("Show Django's own error pages; never where others can reach them."),
        "ALLOWED_HOSTS": D("Host names that this server answers to, divided by commas."),
        "LENS_PUBLIC_URL": D(
            "Address under which people reach this desk, such as `https://lens.example.org`; with"
            " https cookies are marked for it, http is sent on to it, and browsers remember."
        ),
        "HSTS_S": D("Seconds that browsers shall insist on https; only with an https address."),
    },
    "People": {
        "SESSION_MAX_S": D("Seconds after which a person must sign in again, whatever they did."),
        "SESSION_IDLE_S": D("Seconds without a request after which a session ends."),
        "REQUIRE_2FA": D(
            "Who must show a code of an authenticator app: `off` (only who set one up), `staff` or"
            " `all`."
        ),
        "LOGIN_FAILURES_MAX": D(
            "Failed sign-ins with one name from one address before both must wait."
        ),
        "LOGIN_PAUSE_S": D("Seconds that such a pair of name and address must wait."),
    },
    "Database": {
        "DATABASE_URL": D(
            "Where the truth is kept: `sqlite:///` or `postgres://user:password@host:5432/name`.",
            "sqlite:///var/lens.sqlite3",
        ),
        "LENS_SQLITE_SYNCHRONOUS": D(
            "SQLite's `synchronous`: FULL survives a power cut, NORMAL may lose the last commits."
        ),
        "LENS_DB_POOL_SIZE": D(
            "Connections to PostgreSQL that the threads of one web process share; 0 shares none."
        ),
        "LENS_DB_STATEMENT_TIMEOUT_MS": D(
            "Milliseconds after which PostgreSQL ends a statement; SQLite ignores it."
        ),
    },
    "Redis": {
        "REDIS_URL": D(
            "Doorbells, shared cache, limits, tickets; empty lets `./lens up` start its own.", ""
        ),
        "LENS_REDIS_TIMEOUT_MS": D("Milliseconds that a quick call to Redis may take."),
    },
    "API": {
        "RATE_LIMIT_PER_MIN": D("Writes a minute that come back to one client."),
        "RATE_LIMIT_BURST": D("Writes that one client may make at once."),
        "RATE_LIMIT_READS_PER_MIN": D("Reads a minute that come back to one client."),
        "RATE_LIMIT_READS_BURST": D("Reads that one client may make at once."),
        "TRUSTED_PROXY_COUNT": D(
            "Proxies of ours in front; so many entries of `X-Forwarded-For` are believed."
        ),
        "HOOK_BODY_MAX_BYTES": D("Bytes of one message to a webhook."),
        "HOOK_REFUSALS_KEPT": D("Refused messages that are kept of each webhook."),
        "HOOK_REFUSAL_BODY_BYTES": D("Bytes of a refused message that are kept."),
        "INTAKE_GROUP_MAX": D(
            "Requests to `POST /signals` that may share one transaction; 0: none do."
        ),
        "BACKLOG_MAX_SIGNALS": D("Unfinished signals above which new ones are answered with 429."),
        "BACKLOG_MAX_AGE_S": D(
            "Seconds that the oldest queued signal may wait before new ones are answered with 429."
        ),
    },
    "WebSocket and event stream": {
        "WS_ALLOW_QUERY_KEY": D("Accept `?api_key=` on the WebSocket; URLs end up in logs."),
        "WS_ALLOWED_ORIGINS": D(
            "Origins of other sites whose pages may open a socket, divided by commas."
        ),
        "WS_MAX_CONNECTIONS": D("Connections that one web process holds, sockets and streams."),
        "WS_MAX_CONNECTIONS_PER_KEY": D("Connections that one key may hold at one web process."),
        "WS_BUFFER_MESSAGES": D("Messages that may wait for a slow client before it is let go."),
        "WS_AUTH_TIMEOUT_S": D("Seconds within which a socket must say its key."),
        "WS_HEARTBEAT_S": D("Seconds between the server's pings."),
        "WS_POLL_S": D("Seconds between looks for new decisions when no bell rings."),
        "WS_REPLAY_MAX": D("Stored decisions that one resume may replay; beyond it comes a gap."),
        "WS_MAX_MESSAGE_BYTES": D("Bytes of one message from a client."),
        "WS_MAX_MESSAGES_PER_S": D("Messages a second that are read from one client."),
    },
    "Conveyor": {
        "RETRY_MAX": D("Times that gathering facts is tried again before it is a dead letter."),
        "RETRY_BASE_DELAY_MS": D("Milliseconds before the first retry; each next wait doubles."),
        "RETRY_MAX_DELAY_MS": D("Milliseconds that a wait between retries never exceeds."),
        "LETTER_UNDO_S": D("Seconds within which a closed dead letter can be opened again."),
        "LEASE_MS": D(
            "Milliseconds after which the work of a silent worker is taken over; a living worker"
            " renews its leases four times in that span."
        ),
        "LEASE_LOSSES_MAX": D("Workers that one piece of work may take down before it is buried."),
        "WORKER_POLL_MS": D("Milliseconds after which an idle worker looks without a bell."),
        "WORKER_STOP_S": D("Seconds that a stopping worker gives to what it has begun."),
        "ENRICH_CONCURRENCY": D("Signals that one worker gathers facts for at once."),
        "ENRICH_DEADLINE_MS": D("Milliseconds that one attempt at gathering facts may take."),
        "EVALUATE_CONCURRENCY": D("Evaluations that one worker has under way at once."),
        "EVALUATE_DEADLINE_MS": D(
            "Milliseconds that one model has for one signal, its retries included."
        ),
        "EVALUATE_TRIES": D("Calls of one model on one signal before it counts as abstaining."),
        "EVALUATE_RETRY_MS": D("Milliseconds before a model is called again; doubles each time."),
        "ANSWER_KEPT_S": D(
            "Seconds that the answer of a language model is kept for whoever takes over from a"
            " worker that died before it was written down; 0 keeps none."
        ),
        "LENS_ANSWERS_DIR": D(
            "Directory of those answers; workers that share it use one another's.", "var/answers"
        ),
        "RECONCILE_EVERY_MS": D("Milliseconds between the conductor's repairs."),
        "PUBLISH_POLL_MS": D("Milliseconds after which the conductor looks without a bell."),
        "PUBLISH_BATCH": D("Decisions that are numbered in one transaction."),
    },
    "Demo": {
        "DEMO_FEED_SIGNALS": D("Demo signals that a fresh desk makes by itself; 0: none."),
        "DEMO_FEED_EVERY_S": D("Seconds between them."),
    },
    "Audit trail": {
        "LENS_AUDIT_DIR": D(
            "Directory of `anchors.jsonl`, which the database must not be able to write.",
            "var/audit",
        ),
        "SEAL_EVERY_MS": D("Milliseconds after which committed lines enter the hash chain."),
        "SEAL_BATCH": D("Lines that one seal holds at most."),
        "ANCHOR_EVERY_S": D(
            "Seconds after which the chain's head is written outside the database."
        ),
        "ANCHOR_EVERY_LINES": D("Sealed lines after which it is written at the latest."),
        "AUDIT_VERIFY_AT": D(
            "Time of day, UTC, at which the conductor verifies the trail; `never` leaves it to you."
        ),
    },
    "Retention": {
        "RETENTION_DAYS": D("Days after a signal's end until it is purged with all that is of it."),
        "AUDIT_RETENTION_DAYS": D(
            "Days until lines about no signal, and the hashes of purged lines, go as well."
        ),
        "PURGE_AT": D("Time of day, UTC, at which the conductor purges; `never` leaves it to you."),
        "PURGE_BATCH": D("Signals that are removed in one transaction."),
        "PURGE_SHARE_PCT": D("Share of the time that a purge works; it rests for the remainder."),
    },
    "Market data": {
        "PROVIDER_PRIMARY": D("Where prices come from: a name of the table of providers."),
        "PROVIDER_TIMEOUT_MS": D("Milliseconds that one call of the venue may take."),
        "HYPERLIQUID_BASE_URL": D("Address of Hyperliquid's public REST API."),
        "RECORDED_CANDLES": D("Candle file, CSV or CSV.gz, of the provider `recorded`."),
        "SIMULATED_SEED": D("Seed of the made-up market; the same seed makes the same market."),
    },
    "Judgement": {
        "FEATURE_PROFILE": D("Profile of facts for signals that name none."),
        "TIMEFRAMES": D("Timeframes of a profile that names none, divided by commas."),
        "MAX_SIGNAL_AGE_S": D("Seconds of age above which a signal is rejected on arrival."),
        "MAX_PRICE_DRIFT_BPS": D(
            "Basis points between entry price and market above which an OPEN is rejected."
        ),
        "STALE_MID_S": D("Seconds after which a price is flagged as stale."),
        "STALE_L2_S": D("Seconds after which an order book is flagged as stale."),
        "STALE_CTX_S": D("Seconds after which funding and open interest are flagged as stale."),
        "STALE_CANDLE_MULTIPLIER": D("Bar lengths after which the last candle is flagged stale."),
        "AI_MODELS": D(
            "Models that judge, divided by commas; unset: the quantitative ones, and each whose"
            " `MODEL_<NAME>_API_KEY` is set.",
            "ensemble,rules",
        ),
        "SHADOW_MODELS": D(
            "Models that only judge in the shadow of an experiment and the golden signals, divided"
            " by commas; none of them decides."
        ),
        "ENSEMBLE_PROFILE": D("Thresholds of the ensemble: `published` or `adaptive`."),
        "ENSEMBLE_TIMEFRAME": D("Timeframe that the ensemble looks at."),
        "AI_MIN_CONFIDENCE": D("Percent of confidence below which the ensemble stays out."),
        "ENSEMBLE_MIN_MARGIN": D("Lead of the winning side, 0 to 1, that the ensemble needs."),
        "SCORING_PROFILE": D("Weights of the rules: `published` or `aligned`."),
        "SIGNAL_SCORE_THRESHOLD": D("Score, 0 to 1, from which the rules follow a signal."),
        "PRIMARY_TIMEFRAME": D("Timeframe that the rules judge; the others confirm it."),
        "PREPARED_ANSWERS": D(
            "File of recorded outcomes for the judges of known character (`perfect`, `coin`,"
            " `overconfident`, `inverted`) that try out the scoring of replays;"
            " `./lens outcomes answers` writes one."
        ),
        "JURY_DEADLINE_MS": D(
            "Milliseconds from enrichment until the jury rules with whoever has voted."
        ),
        "JURY_QUORUM_PCT": D("Percent of the models asked that must have voted for a ruling."),
    },
    "Outcomes": {
        "OUTCOME_TIMEFRAME": D(
            "Timeframe whose average true range sets the target and the stop of a signal that"
            " names none."
        ),
        "TP_ATR_MULTIPLIER": D("Distance of the target, in average true ranges."),
        "SL_ATR_MULTIPLIER": D("Distance of the stop, in average true ranges: 1 R."),
        "SIGNAL_MAX_TTL": D("Seconds after which a question that nothing decided has expired."),
        "OUTCOME_FILL_WITHIN_S": D(
            "Seconds within which a signal's entry price must be touched to count as filled."
        ),
        "OUTCOME_FEE_BPS": D("Fee of each side in basis points of the entry."),
        "OUTCOME_SLIPPAGE_BPS": D("Slippage of each side in basis points of the entry."),
        "OUTCOME_FUNDING_BPS_PER_HOUR": D(
            "Funding in basis points an hour as a long pays it; a short receives it."
        ),
        "OUTCOME_GAP_PATIENCE_S": D(
            "Seconds that a missing candle is waited for before its question is unresolvable."
        ),
        "TRACK_EVERY_MS": D("Milliseconds between two looks of the tracker at the market."),
        "LEARN_EVERY_S": D(
            "Seconds between two fittings of confidence maps and jury weights on what has ended."
        ),
        "TRACK_BATCH": D("Outcomes that are followed and stored at once."),
        "TRACK_CONCURRENCY": D("Symbols whose candles are asked for at the same time."),
        "BREAK_EVEN_GATE": D(
            "Whether advice to enter whose probability lies below the break-even is turned into"
            " IGNORE."
        ),
        "BREAK_EVEN_MARGIN": D("Probability that advice must have beyond its break-even."),
    },
    "Deliveries": {
        "DELIVERY_POLL_MS": D("Milliseconds between two looks at what is to be sent to endpoints."),
        "DELIVERY_TIMEOUT_S": D("Seconds that a receiver has to answer one attempt."),
        "DELIVERY_RETRY_S": D(
            "Seconds that each further attempt waits, divided by commas; after the last one the"
            " delivery is given up."
        ),
        "DELIVERY_OFF_AFTER": D("Deliveries given up in a row after which an endpoint goes off."),
        "DELIVERY_CONCURRENCY": D("Deliveries that are sent at the same time."),
        "DELIVERY_PER_ENDPOINT": D("Deliveries to one endpoint that are sent at the same time."),
    },
    "Language models": {
        "MODEL_<NAME>_PROVIDER": D(
            "Who speaks for the model `<name>` of `AI_MODELS`: openai, gemini, claude, deepseek,"
            " openrouter, qwen, moonshot, ollama or compatible; not needed where the name says it"
            " (chatgpt, gemini, claude, deepseek, qwen, kimi, openrouter, ollama, local)."
        ),
        "MODEL_<NAME>_API_KEY": D("The vendor's key; ollama and compatible may do without."),
        "MODEL_<NAME>_MODEL_ID": D("The vendor's own name of the model."),
        "MODEL_<NAME>_BASE_URL": D(
            "Another address of the API; `https`, or `http` at `LOCAL_MODEL_HOSTS`."
        ),
        "MODEL_<NAME>_API": D(
            "Another API of the vendor: `chat` or `decisions` at openai, `decisions` at gemini."
        ),
        "MODEL_<NAME>_TIMEOUT_MS": D(
            "Milliseconds that the model has for one signal, its retries included; never more than"
            " `EVALUATE_DEADLINE_MS`.",
        ),
        "MODEL_<NAME>_MAX_TOKENS": D("Tokens that one answer may have, reasoning included."),
        "MODEL_<NAME>_PROMPT": D("Name of the prompt; its active version is used."),
        "MODEL_<NAME>_EFFORT": D("How much the model may reason, in its vendor's word for it."),
        "MODEL_<NAME>_SEED": D("Whole number for models that take a seed."),
        "LLM_POLICY": D(
            "Whom Lens may ask: `no_openai`, or JSON with `allow` and `deny`, each of `providers`"
            " and `models`, told by who really answers."
        ),
        "LOCAL_MODEL_HOSTS": D("Hosts where `http` and private addresses are allowed."),
        "LLM_BUDGET_USD_PER_DAY": D(
            "US dollars that all language models together may cost on a day, UTC; empty: no limit."
        ),
        "LLM_BUDGET_USD_PER_DECISION": D(
            "US dollars that one model may at worst cost on one signal; empty: no limit."
        ),
        "LLM_BREAKER_FAULTS": D(
            "Faults in a row after which a model is left alone for `LLM_BREAKER_OPEN_S`."
        ),
        "LLM_BREAKER_OPEN_S": D(
            "Seconds that a failing model is left alone before one signal tries it again."
        ),
        "LLM_SAFE_MODE_FAULTS": D(
            "Faults in a row over all language models after which none is asked."
        ),
        "LLM_SAFE_MODE_OPEN_S": D(
            "Seconds that no language model is asked before one signal tries one again."
        ),
        "LLM_RECORDING": D(
            "`record` keeps what each call came to, `replay` plays it again and calls nobody;"
            " else `off`."
        ),
        "LLM_RECORDINGS_DIR": D("Folder of the recorded calls.", "var/recordings"),
        "GROUNDING_FLOOR": D(
            "Share of an answer's numbers, 0 to 1, that must stand in the facts; less is flagged."
        ),
    },
    "Watching": {
        "SENTRY_DSN": D("Where unforeseen errors are sent; empty: nowhere."),
        "OTEL_EXPORTER_OTLP_ENDPOINT": D(
            "Where spans are sent over OTLP/HTTP, without `/v1/traces`; empty: nowhere."
        ),
        "DISK_FREE_MIN_MB": D("Megabytes that must be free for `/ready` to say yes."),
        "CLOCK_OFFSET_STOP_S": D(
            "Seconds that this clock and the database's may differ before a worker takes up nothing"
            " and a conductor ends nothing."
        ),
        "CLOCK_OFFSET_MAX_S": D(
            "Seconds that this clock and the database's may differ before `/ready` tells of it."
        ),
        "WEB_DRAIN_S": D(
            "Seconds that a web process serves on after it was asked to stop, while `/ready` says"
            " no; a balancer's interval and a little more."
        ),
        "METRICS_TOKEN": D(
            "What a scraper sends to `/metrics` as `Authorization: Bearer`; empty: programs on this"
            " machine need none, others a key with the scope `ops`."
        ),
    },
    "Logs": {
        "LOG_LEVEL": D("Lowest level that is written: DEBUG, INFO, WARNING or ERROR."),
        "LOG_FORMAT": D("`text` for people, `json` for one JSON object a line."),
        "ACCESS_LOG": D(
            "Write a line for every request, without its query; on by itself with `json`.",
            "false",
        ),
        "TRAIL_LOG": D(
            "Write every line of the trail into the log too; on by itself with `json`.", "false"
        ),
    },
}


def described_settings() -> dict[str, Described]:
    """Return every described setting by name."""
    return {name: entry for group in SETTINGS.values() for name, entry in group.items()}


def default_of(name: str) -> str:
    """Return the default of a setting as a document may print it."""
    entry = described_settings()[name]
    return settings.SETTING_NAMES[name] if entry.shown is None else entry.shown


def render(text: str) -> str:
    """Return a document with every table between its markers made anew.

    :raises UnknownRegion: if it asks for a table that nobody makes.
    """
    return REGION.sub(_region, text)


def stale_documents(*, root: Path) -> list[Path]:
    """Return the documents whose tables are not what the code says."""
    paths = [root / name for name in DOCUMENTS]
    return [path for path in paths if path.read_text("utf-8") != render(path.read_text("utf-8"))]


def _region(found: re.Match[str]) -> str:
    maker = TABLES.get(found["name"])
    if maker is None:
        raise UnknownRegion(f"no table is named {found['name']!r}; there are {', '.join(TABLES)}")
    return found["top"] + maker()


def _table(*rows: tuple[str, ...]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    rule = "|".join("---" for _ in rows[0])
    return "\n".join(["", f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def settings_tables() -> str:
    """Return the settings with default and meaning, by group."""
    parts = []
    for group, entries in SETTINGS.items():
        rows = [(_code(name), _code(default_of(name)), entries[name].text) for name in entries]
        parts.append(f"\n### {group}\n{_table(('name', 'default', 'meaning'), *rows)}\n")
    return "".join(parts) + "\n"


def environment_file() -> str:
    """Return the settings as a file of commented-out assignments."""
    parts = []
    for group, entries in SETTINGS.items():
        parts.append(f"\n# --- {group}\n")
        for name, entry in entries.items():
            parts.append(f"# {entry.text.replace('`', '')}\n#{name}={default_of(name)}\n")
    return "".join(parts) + "\n"


def models_table() -> str:
    """Return the models that this version brings."""
    rows = []
    for name, plugin in _evaluators():
        wired = "yes" if name in default_of("AI_MODELS").split(",") else "when named"
        rows.append((_code(name), wired, _network(plugin), _first_line(plugin)))
    return _table(("name", "runs", "needs a network", "what it does"), *rows) + "\n\n"


def _evaluators() -> Iterator[tuple[str, Any]]:
    for found in pkgutil.iter_modules(import_module(EVALUATORS).__path__):
        module = import_module(f"{EVALUATORS}.{found.name}")
        for plugin in vars(module).values():
            concrete = inspect.isclass(plugin) and not inspect.isabstract(plugin)
            if concrete and plugin.__module__ == module.__name__ and hasattr(plugin, "evaluate"):
                yield found.name, plugin


def _network(plugin: Any) -> str:
    return "yes" if plugin.needs_network else "no"


def providers_table() -> str:
    """Return the market-data providers that are wired."""
    rows = []
    for name, plug in settings.PROVIDERS.items():
        plugin = import_string(plug["BACKEND"])
        clock = "the present" if plugin.clock == "wall" else "the signal's own time"
        rows.append((_code(name), clock, _network(plugin), _first_line(plugin)))
    return _table(("name", "tells", "needs a network", "what it is"), *rows) + "\n\n"


def events_table() -> str:
    """Return what each event calls."""
    rows = [
        (_code(event), _code(path), _first_line(import_string(path)))
        for event, paths in settings.ROUTES.items()
        for path in paths
    ]
    return _table(("event", "calls", "which does"), *rows) + "\n\n"


def stages_table() -> str:
    """Return the stages in the order in which a worker looks for work."""
    rows = []
    for path in settings.STAGES:
        stage = import_string(path)
        rows.append((_code(stage.name), _code(path), _first_line(stage.perform)))
    return _table(("stage", "declared in", "one piece of work"), *rows) + "\n\n"


def errors_table() -> str:
    """Return the problem codes with their statuses."""
    rows = []
    for code, title in TITLES.items():
        statuses = ", ".join(str(status) for status, named in CODES.items() if named == code)
        rows.append((f"[`{code}`](#{code.lower()})", statuses, title))
    return _table(("code", "status", "title"), *rows) + "\n\n"


def paths_table() -> str:
    """Return every path of the API with the scope that it wants."""
    described = _schema()["paths"]
    rows = []
    for path, operations in described.items():
        for method, operation in operations.items():
            scope = _scope_of(path, method=method.upper())
            rows.append((_code(f"{method.upper()} {path}"), scope, operation["summary"]))
    return _table(("path", "scope", "what it does"), *rows) + "\n\n"


@cache
def _schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


def _scope_of(path: str, *, method: str) -> str:
    view = resolve(re.sub(r"\{\w+\}", ANY_ID, path.replace("{alert_id}", ANY_NUMBER))).func
    request = HttpRequest()
    request.method = method
    guarded = view.view_class(request=request)  # type: ignore[attr-defined]
    return " or ".join(scope for guard in guarded.get_permissions() for scope in _scopes(guard))


def _scopes(guard: Any) -> list[str]:
    """Return the scopes that a permission accepts; ``A | B`` holds its parts."""
    if hasattr(guard, "op1"):
        return [*_scopes(guard.op1), *_scopes(guard.op2)]
    return [_code(str(guard.wanted))]


def metrics_table() -> str:
    """Return every metric that ``/metrics`` tells."""
    rows = [
        (_code(name), str(kind), _codes(labels), text) for name, kind, labels, text in metric_rows()
    ]
    return _table(("metric", "kind", "labels", "what it tells"), *rows) + "\n\n"


def _codes(names: str) -> str:
    return ", ".join(_code(name) for name in names.split(", ") if name)


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings_tables,
    "environment": environment_file,
    "models": models_table,
    "providers": providers_table,
    "events": events_table,
    "stages": stages_table,
    "errors": errors_table,
    "paths": paths_table,
    "metrics": metrics_table,
}
