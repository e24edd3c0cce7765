"""Sentry and OpenTelemetry, each imported only when its setting asks for it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from pipeline import spans
from pipeline.logs import without_secrets

MISSING = (
    "{setting} is set, but {package} is not installed: install requirements-observability.txt."
)
NOTHING_OF_PEOPLE: Any = {"user_info": False, "http_bodies": []}
KEPT_OF_REQUEST = frozenset({"method", "url"})


def start() -> None:
    """Turn on what the settings ask for.

    :raises ImproperlyConfigured: if a package for it is missing.
    """
    if settings.SENTRY_DSN:
        _start_sentry()
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        _start_spans()


def _start_sentry(**options: Any) -> None:
    try:
        import sentry_sdk
    except ImportError as error:
        raise _missing("SENTRY_DSN", "sentry-sdk") from error
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.LENS_ENV,
        release=settings.VERSION,
        data_collection=NOTHING_OF_PEOPLE,
        include_local_variables=False,
        traces_sample_rate=None,
        before_send=scrubbed,
        before_breadcrumb=lambda crumb, _: without_secrets(crumb),
        **options,
    )


def scrubbed(event: Any, hint: Any) -> Any:
    """Return an event with no secret in it, and of its request only the method and the path."""
    del hint
    clean = without_secrets(dict(event))
    if "request" in clean:
        kept = {name: v for name, v in clean["request"].items() if name in KEPT_OF_REQUEST}
        clean["request"] = {**kept, "url": str(kept.get("url", "")).partition("?")[0]}
    clean.pop("user", None)
    clean.pop("server_name", None)
    return clean


def _start_spans() -> None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _missing("OTEL_EXPORTER_OTLP_ENDPOINT", "opentelemetry") from error
    endpoint = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
    trace_to(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))


def trace_to(processor: Any) -> None:
    """Send every span of this process to ``processor``."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    about = {"service.name": "sigmapilot-lens", "service.version": settings.VERSION}
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(processor)
    spans.turn_on(provider.get_tracer("lens"))


def _missing(setting: str, package: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(MISSING.format(setting=setting, package=package))
