# Two stages: what installs packages stays behind.
FROM python:3.11-slim AS packages

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.txt requirements-observability.txt ./
RUN /opt/venv/bin/pip install --require-hashes --no-deps --requirement requirements-observability.txt

FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/opt/venv/bin:$PATH \
    DJANGO_SETTINGS_MODULE=lens_site.settings LENS_VAR_DIR=/var/lib/lens

# Certificates: HTTPS to venues uses the system's store.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin lens \
    && mkdir --parents /var/lib/lens \
    && chown lens /var/lib/lens

WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY . .

USER 10001
EXPOSE 8000
VOLUME /var/lib/lens
HEALTHCHECK --interval=15s --timeout=10s --retries=3 --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]

# The options are those of `./lens up`: no access log, whose lines could hold keys, and sockets that
# live as long as they are used.
CMD ["python", "-m", "daphne", "--bind", "0.0.0.0", "--port", "8000", "--verbosity", "0", \
     "--websocket_timeout", "-1", "--websocket-max-message-size", "65536", \
     "--websocket-max-frame-size", "65536", \
     "--no-server-name", "lens_site.asgi:application"]
