from __future__ import annotations

import stat
from pathlib import Path

import pytest

from launcher.environment import (
    BadEnvironmentFile,
    child_environment,
    ensure_secrets,
    read_environment_file,
    redis_url,
    sqlite_url,
)
from launcher.places import Places, make_private


def test_env_file_reads_quotes_comments_and_export(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "# a comment\n\nPLAIN=one\nexport SAID = two words # not this\n"
        "SINGLE='a # b'\nDOUBLE=\"c = d\" # e\nEMPTY=\nURL=redis://u:p#w@h/0\n"
    )

    found = read_environment_file(path)

    assert found == {
        "PLAIN": "one",
        "SAID": "two words",
        "SINGLE": "a # b",
        "DOUBLE": "c = d",
        "EMPTY": "",
        "URL": "redis://u:p#w@h/0",
    }


def test_absent_env_file_is_empty(tmp_path: Path) -> None:
    assert read_environment_file(tmp_path / ".env") == {}


def test_bad_env_line_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("GOOD=1\nthis is no assignment\n")

    with pytest.raises(BadEnvironmentFile, match=r"\.env:2 is not an assignment"):
        read_environment_file(path)


def test_secrets_are_made_once_and_private(where: Places) -> None:
    make_private(where)

    first = ensure_secrets(where)
    content = where.secrets.read_text()
    second = ensure_secrets(where)

    assert (first, second) == (True, False)
    assert where.secrets.read_text() == content
    assert stat.S_IMODE(where.secrets.stat().st_mode) == 0o600
    assert set(read_environment_file(where.secrets)) == {
        "SECRET_KEY",
        "LENS_KEY_PEPPER",
        "LENS_ENCRYPTION_KEYS",
    }


def test_a_missing_secret_is_added_and_the_other_kept(where: Places) -> None:
    make_private(where)
    where.secrets.write_text("SECRET_KEY=kept\n")
    where.secrets.chmod(0o644)

    ensure_secrets(where)

    found = read_environment_file(where.secrets)
    assert found["SECRET_KEY"] == "kept"
    assert len(found["LENS_KEY_PEPPER"]) > 40
    assert stat.S_IMODE(where.secrets.stat().st_mode) == 0o600


def test_shell_wins_over_env_file_and_env_file_over_secrets(
    where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_private(where)
    (where.root / ".env").write_text("LOG_LEVEL=DEBUG\nSECRET_KEY=from-file\nDATABASE_URL=x://f\n")
    where.secrets.write_text("SECRET_KEY=generated\nLENS_KEY_PEPPER=generated\n")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.delenv("LENS_KEY_PEPPER", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)

    environment = child_environment(where, redis="unix:///r.sock?db=0")

    assert environment["LOG_LEVEL"] == "WARNING"
    assert environment["SECRET_KEY"] == "from-file"
    assert environment["LENS_KEY_PEPPER"] == "generated"
    assert environment["DATABASE_URL"] == "x://f"
    assert environment["REDIS_URL"] == "unix:///r.sock?db=0"
    assert environment["LENS_VAR_DIR"] == str(where.var)
    assert environment["DJANGO_SETTINGS_MODULE"] == "lens_site.settings"
    assert "PYTHONHOME" not in environment


def test_addresses_survive_odd_directories() -> None:
    odd = Path("/home/a b/100%+#?/x")

    assert sqlite_url(odd) == "sqlite:////home/a%20b/100%25%2B%23%3F/x"
    assert redis_url(odd) == "unix:///home/a%20b/100%25%2B%23%3F/x?db=0"
