from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from launcher.places import NotOurs, Places, make_private, places, private_directory, socket_path


def test_state_lies_in_var_unless_moved(tmp_path: Path) -> None:
    assert places({}, root=tmp_path).var == tmp_path / "var"
    assert places({"LENS_VAR_DIR": "/srv/lens"}, root=tmp_path).var == Path("/srv/lens")
    assert places({"LENS_VAR_DIR": "state"}, root=tmp_path).var == tmp_path / "state"


def test_state_directory_is_closed_to_others(where: Places) -> None:
    where.var.mkdir(mode=0o755)

    make_private(where)

    assert stat.S_IMODE(where.var.stat().st_mode) == 0o700
    assert where.run.is_dir()
    assert where.log.is_dir()


def test_state_directory_that_cannot_be_made_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file stands in the way")

    with pytest.raises(NotOurs) as refused:
        make_private(Places(root=tmp_path, var=tmp_path / "var"))

    assert "LENS_VAR_DIR" in refused.value.todo


def test_short_socket_path_stays_in_the_state_directory() -> None:
    where = Places(root=Path("/l"), var=Path("/l/var"))

    assert socket_path(where, "redis.sock") == Path("/l/var/run/redis.sock")


def test_long_socket_path_moves_to_a_private_short_directory(tmp_path: Path) -> None:
    where = Places(root=tmp_path, var=tmp_path / ("long" * 30))

    found = socket_path(where, "redis.sock")

    assert str(found).startswith(f"/tmp/lens-{os.geteuid()}-")
    assert len(os.fsencode(found)) <= 100
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    assert socket_path(where, "redis.sock") == found
    shutil.rmtree(found.parent)


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_short_directory_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    open_to_others = tmp_path / "short"
    open_to_others.mkdir()
    open_to_others.chmod(mode)

    with pytest.raises(NotOurs, match="not private"):
        private_directory(open_to_others)


def test_short_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(NotOurs):
        private_directory(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_short_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, 65534, 65534)

    with pytest.raises(NotOurs):
        private_directory(foreign)
