"""All settings of the house; units are in the names, texts for people in ``docs/settings.md``."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from csp.constants import NONE, SELF, UNSAFE_INLINE

from lens_site import env, wiring

BASE_DIR = env.ROOT
VAR_DIR = Path(env.text("LENS_VAR_DIR", str(BASE_DIR / "var"))).resolve()

# --- identity and secrets -------------------------------------------------------------------
SECRET_KEY = env.text("SECRET_KEY", "unsafe-until-lens-up-has-written-var-secret-env")
LENS_ENV = env.text("LENS_ENV", "live")
LENS_KEY_PEPPER = env.text("LENS_KEY_PEPPER", SECRET_KEY)
LENS_ENCRYPTION_KEYS = env.text("LENS_ENCRYPTION_KEYS", SECRET_KEY)
API_KEY_ADMIN = env.text("API_KEY_ADMIN")
DEBUG = env.flag("DEBUG", default=False)
PUBLIC_URL = env.text("LENS_PUBLIC_URL").rstrip("/")
PUBLIC = urlsplit(PUBLIC_URL)
IS_HTTPS = PUBLIC.scheme == "https"
ALLOWED_HOSTS = [
    *env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]"),
    *([PUBLIC.hostname] if PUBLIC.hostname else []),
]
VERSION = "0.1.0"
SECRET_MIN_CHARS = 8

# --- Django ---------------------------------------------------------------------------------
INSTALLED_APPS = [
    *(["daphne"] if "runserver" in sys.argv else []),  # its import opens an event loop
    "lens_site.apps.BackOfficeConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_rq",
    "csp",
    "axes",
    "pipeline",
    "access",
    "markets",
    "signals",
    "enrichment",
    "evaluation",
    "decisions",
    "outcomes",
    "notifications",
    "lens_site",
]
# People come through MIDDLEWARE; programs, with a key and no session, through the short chain.
MIDDLEWARE = [
    "lens_site.errors.RequestId",
    "lens_site.middleware.AccessLog",
    "lens_site.middleware.SafeHeaders",
    "access.auth.RateLimitHeaders",
    "django.middleware.security.SecurityMiddleware",
    "lens_site.middleware.ContentPolicy",
    "lens_site.statics.PackedStatics",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "lens_site.middleware.IdleSessions",
    "lens_site.middleware.SecondProof",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
PROGRAM_MIDDLEWARE = [
    "lens_site.errors.RequestId",
    "lens_site.middleware.AccessLog",
    "lens_site.middleware.SafeHeaders",
    "access.auth.RateLimitHeaders",
]
PROGRAM_PATHS = frozenset({"/health", "/ready", "/metrics"})
PROGRAM_PREFIXES = ("/api/v1/", "/hooks/")
ROOT_URLCONF = "lens_site.urls"
ASGI_APPLICATION = "lens_site.asgi.application"
AUTH_USER_MODEL = "access.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "lens_site.formats"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/board"
LOGOUT_REDIRECT_URL = "/login"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "lens_site.pages.layout.chrome",
            ]
        },
    }
]

# --- people: sessions, sign-in, what their browsers may load ------------------------------------
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_MIN_LENGTH = 12
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"min_length": PASSWORD_MIN_LENGTH},
        "CommonPasswordValidator": {},
    }.items()
]
SESSION_MAX_S = env.integer("SESSION_MAX_S", 8 * 3600)
SESSION_IDLE_S = env.integer("SESSION_IDLE_S", 30 * 60)
SESSION_COOKIE_AGE = SESSION_MAX_S
SESSION_COOKIE_NAME = "__Host-sessionid" if IS_HTTPS else "sessionid"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_NAME = "__Host-csrftoken" if IS_HTTPS else "csrftoken"
CSRF_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
SECURE_SSL_REDIRECT = IS_HTTPS
HSTS_S = env.integer("HSTS_S", 31_536_000)
SECURE_HSTS_SECONDS = HSTS_S if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_HTTPS
SILENCED_SYSTEM_CHECKS = ["security.W021"]  # preloading is for the owner of the domain to decide
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
CSP_EXCEPTIONS = {  # pages of other makers, by the name of their path or their namespace
    "swagger": {"style-src": [SELF, UNSAFE_INLINE]},
    "redoc": {"style-src": [SELF, UNSAFE_INLINE], "worker-src": ["blob:"]},
    "django_rq": {"style-src": [SELF, UNSAFE_INLINE]},
}
REQUIRE_2FA = env.text("REQUIRE_2FA", "off").lower()
LOGIN_FAILURES_MAX = env.integer("LOGIN_FAILURES_MAX", 5)
LOGIN_PAUSE_S = env.integer("LOGIN_PAUSE_S", 15 * 60)
AXES_FAILURE_LIMIT = LOGIN_FAILURES_MAX
AXES_COOLOFF_TIME = timedelta(seconds=LOGIN_PAUSE_S)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "access.auth.address_of"
AXES_LOCKOUT_CALLABLE = "access.people.locked_out"
AXES_VERBOSE = False

# --- database: the source of truth ----------------------------------------------------------
DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{VAR_DIR / 'lens.sqlite3'}")
SQLITE_SYNCHRONOUS = env.text("LENS_SQLITE_SYNCHRONOUS", "FULL").upper()
DATABASE_POOL_SIZE = env.integer("LENS_DB_POOL_SIZE", 16)
DATABASE_STATEMENT_TIMEOUT_MS = env.integer("LENS_DB_STATEMENT_TIMEOUT_MS", 30_000)


def _database(url: str) -> dict[str, Any]:
    """Return Django's database entry for ``url``, with the options our promises rest on."""
    entry: dict[str, Any] = env.database(url)
    options: dict[str, Any] = {**entry.get("OPTIONS", {})}
    if entry["ENGINE"].endswith("sqlite3"):
        options |= {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": (
                "PRAGMA journal_mode=WAL;"
                f"PRAGMA synchronous={SQLITE_SYNCHRONOUS};"
                "PRAGMA foreign_keys=ON;"
            ),
        }
    else:
        entry["HOST"] = unquote(entry.get("HOST", ""))
        options |= {
            "options": (
                f"-c statement_timeout={DATABASE_STATEMENT_TIMEOUT_MS}"
                " -c lock_timeout=10000 -c idle_in_transaction_session_timeout=30000"
            ),
        }
    return {**entry, "OPTIONS": options}


DATABASES = {"default": _database(DATABASE_URL)}

# --- Redis: doorbells, cache, sockets; losing all of it costs latency only ------------------
REDIS_URL = env.text("REDIS_URL", "redis://127.0.0.1:6379/0")
REDIS_TIMEOUT_MS = env.integer("LENS_REDIS_TIMEOUT_MS", 300)
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "lens"},
    }
}
RQ_QUEUES = {
    name: {"URL": REDIS_URL, "SERIALIZER": "rq.serializers.JSONSerializer"}
    for name in ("work", "publish")
}

# --- API ------------------------------------------------------------------------------------
RATE_LIMIT_PER_MIN = env.integer("RATE_LIMIT_PER_MIN", 60)
RATE_LIMIT_BURST = env.integer("RATE_LIMIT_BURST", 120)
RATE_LIMIT_READS_PER_MIN = env.integer("RATE_LIMIT_READS_PER_MIN", 600)
RATE_LIMIT_READS_BURST = env.integer("RATE_LIMIT_READS_BURST", 1200)
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0)
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SIGN_IN_LINK_S = env.integer("SIGN_IN_LINK_S", 900)
HOOK_BODY_MAX_BYTES = env.integer("HOOK_BODY_MAX_BYTES", 16 * 1024)
HOOK_REFUSALS_KEPT = env.integer("HOOK_REFUSALS_KEPT", 50)
HOOK_REFUSAL_BODY_BYTES = env.integer("HOOK_REFUSAL_BODY_BYTES", 4 * 1024)
INTAKE_GROUP_MAX = env.integer("INTAKE_GROUP_MAX", 64)
BACKLOG_MAX_SIGNALS = env.integer("BACKLOG_MAX_SIGNALS", 5_000)
BACKLOG_MAX_AGE_S = env.integer("BACKLOG_MAX_AGE_S", 60)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.auth.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["access.auth.Refuse"],
    "DEFAULT_THROTTLE_CLASSES": ["access.auth.KeyThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "lens_site.errors.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "SigmaPilot Lens",
    "DESCRIPTION": "Measured, replayable judgement of trading signals. Lens never places a trade.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "lens_site.openapi.add_problems",
        "lens_site.code_samples.add_code_samples",
    ],
}

# --- WebSocket ------------------------------------------------------------------------------
WS_ALLOW_QUERY_KEY = env.flag("WS_ALLOW_QUERY_KEY", default=True)
WS_ALLOWED_ORIGINS = list(env.words("WS_ALLOWED_ORIGINS"))
WS_MAX_CONNECTIONS = env.integer("WS_MAX_CONNECTIONS", 2_000)
WS_MAX_CONNECTIONS_PER_KEY = env.integer("WS_MAX_CONNECTIONS_PER_KEY", 20)
WS_BUFFER_MESSAGES = env.integer("WS_BUFFER_MESSAGES", 256)
WS_AUTH_TIMEOUT_S = env.number("WS_AUTH_TIMEOUT_S", 5)
WS_HEARTBEAT_S = env.number("WS_HEARTBEAT_S", 30)
WS_POLL_S = env.number("WS_POLL_S", 1)
WS_REPLAY_MAX = env.integer("WS_REPLAY_MAX", 100_000)
WS_MAX_MESSAGE_BYTES = env.integer("WS_MAX_MESSAGE_BYTES", 16 * 1024)
WS_MAX_MESSAGES_PER_S = env.integer("WS_MAX_MESSAGES_PER_S", 20)

# --- the conveyor ---------------------------------------------------------------------------
ROUTES = wiring.ROUTES
RETRY_STALE = wiring.RETRY_STALE
RETRY_COST = wiring.RETRY_COST
STAGES = wiring.STAGES
RETRY_MAX = env.integer("RETRY_MAX", 5)
RETRY_BASE_DELAY_MS = env.integer("RETRY_BASE_DELAY_MS", 2_000)
RETRY_MAX_DELAY_MS = env.integer("RETRY_MAX_DELAY_MS", 30_000)
LETTER_UNDO_S = env.integer("LETTER_UNDO_S", 600)
LEASE_MS = env.integer("LEASE_MS", 8_000)
LEASE_LOSSES_MAX = env.integer("LEASE_LOSSES_MAX", 3)
WORKER_POLL_MS = env.integer("WORKER_POLL_MS", 1_000)
WORKER_STOP_S = env.number("WORKER_STOP_S", 20)
ENRICH_CONCURRENCY = env.integer("ENRICH_CONCURRENCY", 32)
ENRICH_DEADLINE_MS = env.integer("ENRICH_DEADLINE_MS", 5_000)
EVALUATE_CONCURRENCY = env.integer("EVALUATE_CONCURRENCY", 200)
EVALUATE_DEADLINE_MS = env.integer("EVALUATE_DEADLINE_MS", 10_000)
EVALUATE_TRIES = env.integer("EVALUATE_TRIES", 2)
EVALUATE_RETRY_MS = env.integer("EVALUATE_RETRY_MS", 500)
ANSWER_KEPT_S = env.integer("ANSWER_KEPT_S", 60)
ANSWERS_DIR = Path(env.text("LENS_ANSWERS_DIR", str(VAR_DIR / "answers"))).resolve()
RECONCILE_EVERY_MS = env.integer("RECONCILE_EVERY_MS", 2_000)
PUBLISH_POLL_MS = env.integer("PUBLISH_POLL_MS", 250)
PUBLISH_BATCH = env.integer("PUBLISH_BATCH", 500)

# --- the demo of a fresh desk ---------------------------------------------------------------
DEMO_FEED_SIGNALS = env.integer("DEMO_FEED_SIGNALS", 20)
DEMO_FEED_EVERY_S = env.integer("DEMO_FEED_EVERY_S", 10)

# --- the trail: sealed, anchored outside the database, kept and purged -------------------------
AUDIT_DIR = Path(env.text("LENS_AUDIT_DIR", str(VAR_DIR / "audit"))).resolve()
SEAL_EVERY_MS = env.integer("SEAL_EVERY_MS", 2_000)
SEAL_BATCH = env.integer("SEAL_BATCH", 1_000)
ANCHOR_EVERY_S = env.integer("ANCHOR_EVERY_S", 300)
ANCHOR_EVERY_LINES = env.integer("ANCHOR_EVERY_LINES", 1_000)
AUDIT_VERIFY_AT = env.text("AUDIT_VERIFY_AT", "04:30")
RETENTION_DAYS = env.integer("RETENTION_DAYS", 180)
AUDIT_RETENTION_DAYS = env.integer("AUDIT_RETENTION_DAYS", 730)
PURGE_AT = env.text("PURGE_AT", "03:30")
PURGE_BATCH = env.integer("PURGE_BATCH", 50)
PURGE_SHARE_PCT = env.integer("PURGE_SHARE_PCT", 30)
PURGE_CHOOSER = wiring.PURGE_CHOOSER
PURGE_SPARES = wiring.PURGE_SPARES
PURGES = wiring.PURGES
LEFTOVERS = wiring.LEFTOVERS
WITNESSES = wiring.WITNESSES
ANCHORED_VERBS = wiring.ANCHORED_VERBS

# --- market data ----------------------------------------------------------------------------
PROVIDER_PRIMARY = env.text("PROVIDER_PRIMARY", "hyperliquid")
PROVIDER_TIMEOUT_MS = env.integer("PROVIDER_TIMEOUT_MS", 10_000)
HYPERLIQUID_BASE_URL = env.text("HYPERLIQUID_BASE_URL", "https://api.hyperliquid.xyz")
RECORDED_CANDLES = env.text("RECORDED_CANDLES")
SIMULATED_SEED = env.integer("SIMULATED_SEED", 7)
LOCAL_MODEL_HOSTS = env.words("LOCAL_MODEL_HOSTS", "localhost,127.0.0.1,::1,host.docker.internal")
PROVIDERS = wiring.providers(
    hyperliquid_url=HYPERLIQUID_BASE_URL,
    local_hosts=LOCAL_MODEL_HOSTS,
    timeout_ms=PROVIDER_TIMEOUT_MS,
    recording=RECORDED_CANDLES,
    seed=SIMULATED_SEED,
)

# --- judgement ------------------------------------------------------------------------------
FEATURE_PROFILE = env.text("FEATURE_PROFILE", "trend_follow_v1")
TIMEFRAMES = env.words("TIMEFRAMES", "15m,1h,4h")
MAX_SIGNAL_AGE_S = env.integer("MAX_SIGNAL_AGE_S", 300)
MAX_PRICE_DRIFT_BPS = env.integer("MAX_PRICE_DRIFT_BPS", 200)
STALE_MID_S = env.integer("STALE_MID_S", 5)
STALE_L2_S = env.integer("STALE_L2_S", 10)
STALE_CTX_S = env.integer("STALE_CTX_S", 60)
STALE_CANDLE_MULTIPLIER = env.number("STALE_CANDLE_MULTIPLIER", 2)
for _field, _default in wiring.MODEL_SETTINGS.items():
    env.declare(f"MODEL_<NAME>_{_field}", _default)
_SHADOWS = tuple(dict.fromkeys(env.words("SHADOW_MODELS")))
AI_MODELS = tuple(dict.fromkeys(env.words("AI_MODELS"))) or (
    *wiring.BUILT_IN_MODELS,
    *(name for name in env.members("MODEL_<NAME>_API_KEY") if name not in _SHADOWS),
)
SHADOW_MODELS = tuple(name for name in _SHADOWS if name not in AI_MODELS)
KNOWN_MODELS = wiring.KNOWN_MODELS
ENSEMBLE_PROFILE = env.text("ENSEMBLE_PROFILE", "adaptive")
ENSEMBLE_TIMEFRAME = env.text("ENSEMBLE_TIMEFRAME", "1h")
AI_MIN_CONFIDENCE = env.number("AI_MIN_CONFIDENCE", 65)
ENSEMBLE_MIN_MARGIN = env.number("ENSEMBLE_MIN_MARGIN", 0.15)
SCORING_PROFILE = env.text("SCORING_PROFILE", "aligned")
SIGNAL_SCORE_THRESHOLD = env.number("SIGNAL_SCORE_THRESHOLD", 0.60)
PRIMARY_TIMEFRAME = env.text("PRIMARY_TIMEFRAME", "5m")
PREPARED_ANSWERS = env.text("PREPARED_ANSWERS")
EVALUATORS = wiring.evaluators(
    names=(*AI_MODELS, *SHADOW_MODELS),
    ensemble={
        "profile": ENSEMBLE_PROFILE,
        "min_confidence": AI_MIN_CONFIDENCE,
        "min_margin": ENSEMBLE_MIN_MARGIN,
    },
    rules={
        "profile": SCORING_PROFILE,
        "threshold": SIGNAL_SCORE_THRESHOLD,
        "primary": PRIMARY_TIMEFRAME,
    },
    language={
        name: {
            field: env.member(f"MODEL_<NAME>_{field}", name, default)
            for field, default in wiring.MODEL_SETTINGS.items()
        }
        for name in (*AI_MODELS, *SHADOW_MODELS)
        if name not in wiring.QUANTITATIVE
    },
    local_hosts=LOCAL_MODEL_HOSTS,
    deadline_ms=EVALUATE_DEADLINE_MS,
    answers=PREPARED_ANSWERS,
)
JURY_DEADLINE_MS = env.integer("JURY_DEADLINE_MS", 6_000)
JURY_QUORUM_PCT = env.integer("JURY_QUORUM_PCT", 50)

# --- outcomes: the question behind every signal, and how it is answered ----------------------
OUTCOME_TIMEFRAME = env.text("OUTCOME_TIMEFRAME", "1h")
TP_ATR_MULTIPLIER = env.number("TP_ATR_MULTIPLIER", 2.0)
SL_ATR_MULTIPLIER = env.number("SL_ATR_MULTIPLIER", 1.0)
SIGNAL_MAX_TTL = env.integer("SIGNAL_MAX_TTL", 21_600)
OUTCOME_FILL_WITHIN_S = env.integer("OUTCOME_FILL_WITHIN_S", 900)
OUTCOME_FEE_BPS = env.number("OUTCOME_FEE_BPS", 5.0)
OUTCOME_SLIPPAGE_BPS = env.number("OUTCOME_SLIPPAGE_BPS", 2.0)
OUTCOME_FUNDING_BPS_PER_HOUR = env.number("OUTCOME_FUNDING_BPS_PER_HOUR", 0.125)
OUTCOME_GAP_PATIENCE_S = env.integer("OUTCOME_GAP_PATIENCE_S", 3_600)
TRACK_EVERY_MS = env.integer("TRACK_EVERY_MS", 15_000)
LEARN_EVERY_S = env.number("LEARN_EVERY_S", 900)
TRACK_BATCH = env.integer("TRACK_BATCH", 500)
TRACK_CONCURRENCY = env.integer("TRACK_CONCURRENCY", 8)
BREAK_EVEN_GATE = env.flag("BREAK_EVEN_GATE", default=True)
BREAK_EVEN_MARGIN = env.number("BREAK_EVEN_MARGIN", 0.02)

# --- language models: who may be asked, for how much, and when no longer -----------------------
LLM_POLICY = env.text("LLM_POLICY")
LLM_BUDGET_USD_PER_DAY = env.amount("LLM_BUDGET_USD_PER_DAY", "10")
LLM_BUDGET_USD_PER_DECISION = env.amount("LLM_BUDGET_USD_PER_DECISION", "0.50")
LLM_BREAKER_FAULTS = env.integer("LLM_BREAKER_FAULTS", 5)
LLM_BREAKER_OPEN_S = env.integer("LLM_BREAKER_OPEN_S", 300)
LLM_SAFE_MODE_FAULTS = env.integer("LLM_SAFE_MODE_FAULTS", 25)
LLM_SAFE_MODE_OPEN_S = env.integer("LLM_SAFE_MODE_OPEN_S", 60)
LLM_RECORDING = env.text("LLM_RECORDING", "off").lower()
LLM_RECORDINGS_DIR = Path(env.text("LLM_RECORDINGS_DIR", str(VAR_DIR / "recordings"))).resolve()
GROUNDING_FLOOR = env.number("GROUNDING_FLOOR", 0.8)

# --- watching -------------------------------------------------------------------------------
METRICS_TOKEN = env.text("METRICS_TOKEN")
SENTRY_DSN = env.text("SENTRY_DSN")
OTEL_EXPORTER_OTLP_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
# --- deliveries: decisions sent to endpoints of others ------------------------------------------
DELIVERY_SHAPE = wiring.DELIVERY_SHAPE
DELIVERY_POLL_MS = env.integer("DELIVERY_POLL_MS", 1_000)
DELIVERY_TIMEOUT_S = env.integer("DELIVERY_TIMEOUT_S", 15)
DELIVERY_RETRY_S = env.integers("DELIVERY_RETRY_S", "5,300,1800,7200,18000,36000,36000")
DELIVERY_OFF_AFTER = env.integer("DELIVERY_OFF_AFTER", 5)
DELIVERY_CONCURRENCY = env.integer("DELIVERY_CONCURRENCY", 16)
DELIVERY_PER_ENDPOINT = env.integer("DELIVERY_PER_ENDPOINT", 4)

DISK_FREE_MIN_MB = env.integer("DISK_FREE_MIN_MB", 200)
CLOCK_OFFSET_MAX_S = env.number("CLOCK_OFFSET_MAX_S", 2)
CLOCK_OFFSET_STOP_S = env.number("CLOCK_OFFSET_STOP_S", 30)
WEB_DRAIN_S = env.number("WEB_DRAIN_S", 0)

# --- logs -----------------------------------------------------------------------------------
LOG_LEVEL = env.text("LOG_LEVEL", "INFO").upper()
LOG_FORMAT = env.text("LOG_FORMAT", "text")
ACCESS_LOG = env.flag("ACCESS_LOG", default=LOG_FORMAT == "json")
TRAIL_LOG = env.flag("TRAIL_LOG", default=LOG_FORMAT == "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "secrets": {"()": "pipeline.logs.MaskSecrets"},
        "context": {"()": "pipeline.logs.Context"},
        "readiness": {"()": "pipeline.logs.QuietReadiness"},
    },
    "formatters": {
        "text": {
            "()": "pipeline.logs.TextLines",
            "fmt": "%(asctime)s %(levelname)-7s %(name)s %(message)s",
        },
        "json": {"()": "pipeline.logs.JsonLines"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json" if LOG_FORMAT == "json" else "text",
            "filters": ["secrets", "context"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "rq.worker": {"level": "WARNING"},
        "django.channels.server": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        "django.request": {"filters": ["readiness"]},
        "httpx2": {"level": "WARNING"},
        "google_genai": {"level": "WARNING"},
        "channels_redis.pubsub": {"level": "CRITICAL"},
    },
}

SECRET_VALUES = sorted(
    {
        text
        for text in (
            SECRET_KEY,
            API_KEY_ADMIN,
            METRICS_TOKEN,
            *LENS_KEY_PEPPER.split(","),
            *LENS_ENCRYPTION_KEYS.split(","),
            *(urlsplit(url).password or "" for url in (DATABASE_URL, REDIS_URL)),
            *(plug.get("OPTIONS", {}).get("api_key", "") for plug in EVALUATORS.values()),
        )
        if len(text) >= SECRET_MIN_CHARS
    },
    key=len,
    reverse=True,
)

UNKNOWN_SETTINGS = env.unknown_names(("LENS_", "LLM_", "MODEL_", "CONSENSUS_"))
SETTING_NAMES = dict(env.NAMES)
SETTING_VALUES = env.shown_values()
MODEL_SETTING_NAMES = frozenset(env.MEMBERS)
