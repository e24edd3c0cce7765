"""The files of ``deploy/`` name only what exists: metrics, settings, commands, volumes."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from lens_site.metrics import CATALOGUE, Kind

ROOT = Path(settings.BASE_DIR)
DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"\blens_[a-z_]+\b")
SELECTOR = re.compile(r"\b(lens_[a-z_]+)\{([^}]*)\}")
GIVEN = re.compile(r"\$\{([A-Z0-9_]+)")
OF_SERVERS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "LENS_PORT", "GRAFANA_PASSWORD"}


def expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus/lens.rules.yml").read_text("utf-8"))
    dashboard = json.loads((DEPLOY / "grafana/lens.json").read_text("utf-8"))
    found = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return found + [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]


def described(name: str) -> tuple[str, bool]:
    """Return the metric that a series belongs to, and whether it is one of a histogram."""
    for ending in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(ending)
        if base != name and base in CATALOGUE and CATALOGUE[base].kind is Kind.HISTOGRAM:
            return base, True
    return name, False


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_of_alerts_and_dashboard_exists(expression: str) -> None:
    names = METRIC.findall(expression)

    for name in names:
        base, is_histogram = described(name)
        assert base in CATALOGUE, name
        assert is_histogram == (CATALOGUE[base].kind is Kind.HISTOGRAM), name
    for name, matchers in SELECTOR.findall(expression):
        labels = {matcher.partition("=")[0].strip("!~ ") for matcher in matchers.split(",")}
        assert labels <= set(CATALOGUE[described(name)[0]].labels), expression
    assert names or "up{" in expression
    assert expression.count("(") == expression.count(")")


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/lens.rules.yml").read_text("utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]

    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"].endswith(".")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return found


def test_compose_runs_every_program_without_a_privilege_and_with_a_health_check() -> None:
    services = compose()["services"]

    assert {"web", "worker", "conductor", "migrate", "postgres", "redis"} <= services.keys()
    for name in ("web", "worker", "conductor"):
        service = services[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["healthcheck"]["test"], name
        assert service["stop_grace_period"] == "40s", name
    assert "USER 10001" in (ROOT / "Dockerfile").read_text("utf-8")
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["observability"]
    assert services["ollama"]["profiles"] == ["local-llm"]


def test_compose_publishes_no_database_and_nothing_beyond_this_machine() -> None:
    services = compose()["services"]

    assert not {"ports"} & services["postgres"].keys()
    assert not {"ports"} & services["redis"].keys()
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_compose_keeps_what_was_confirmed() -> None:
    services = compose()["services"]

    assert "synchronous_commit=on" in services["postgres"]["command"]
    redis = " ".join(services["redis"]["command"])
    assert "--appendonly yes" in redis
    assert "--maxmemory-policy noeviction" in redis
    assert "--requirepass" in redis


def test_compose_names_only_what_exists() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    found = compose()
    lens = [found["services"][name] for name in ("web", "worker", "conductor", "migrate")]

    for service in lens:
        assert set(service["environment"]) <= set(settings.SETTING_NAMES)
        assert set(service.get("depends_on", {})) <= found["services"].keys()
        command = service.get("command", ["python", "-m", "daphne"])
        if command[1] == "manage.py" and command[2] != "migrate":
            assert list(ROOT.glob(f"*/management/commands/{command[2]}.py")), command
    assert set(GIVEN.findall(text)) <= set(settings.SETTING_NAMES) | OF_SERVERS
    for service in found["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in found["volumes"] or (ROOT / source).exists(), volume


def test_the_health_check_of_programs_is_a_program() -> None:
    test = compose()["x-beating"]["test"]

    tree = ast.parse(test[-1])

    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "pipeline.queries" in imported


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda p: p.name
)
def test_a_unit_of_systemd_runs_a_program_that_exists_without_a_privilege(path: Path) -> None:
    text = path.read_text("utf-8")
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    assert lines["User"] == "lens"
    assert lines["NoNewPrivileges"] == "yes"
    assert lines["ProtectSystem"] == "strict"
    assert int(lines["TimeoutStopSec"]) > settings.WORKER_STOP_S
    words = lines["ExecStart"].split()
    if words[1] == "manage.py":
        assert list(ROOT.glob(f"*/management/commands/{words[2]}.py"))
    else:
        assert words[-1] == "lens_site.asgi:application"


def test_the_environment_of_systemd_names_only_settings() -> None:
    text = (DEPLOY / "systemd/lens.env.example").read_text("utf-8")
    names = re.findall(r"(?m)^([A-Z0-9_]+)=", text)

    assert {name.removesuffix("_FILE") for name in names} <= set(settings.SETTING_NAMES)
