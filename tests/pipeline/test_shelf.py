from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from pipeline import shelf
from pipeline.shelf import VALUE_MAX_BYTES, Shelf

A, B = UUID(int=1), UUID(int=2)


def a_shelf(directory: Path) -> Shelf:
    return Shelf(directory, kept_s=60)


def test_what_is_put_there_survives_the_process_that_put_it_there(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from uuid import UUID;"
        "from pipeline.shelf import Shelf;"
        "Shelf(Path(sys.argv[1]), kept_s=60).put(UUID(int=1), b'1'); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, tmp_path / "shelf"], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert a_shelf(tmp_path / "shelf").look([A, B]) == {A: b"1"}


def test_of_two_things_under_one_key_the_later_counts(tmp_path: Path) -> None:
    mine = a_shelf(tmp_path)

    mine.put(A, b"first")
    mine.put(A, b"second")

    assert a_shelf(tmp_path).look([A]) == {A: b"second"}


def test_what_lies_there_is_for_its_user_alone(tmp_path: Path) -> None:
    a_shelf(tmp_path / "shelf").put(A, b"1")

    [page] = (tmp_path / "shelf").iterdir()
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (tmp_path / "shelf", page)]
    assert modes == [0o700, 0o600]


def test_all_is_thrown_away_when_nothing_is_wanted_any_more(tmp_path: Path) -> None:
    mine, theirs = a_shelf(tmp_path), a_shelf(tmp_path)
    for key in (A, B):
        mine.put(key, b"1")

    mine.drop([A])
    assert set(theirs.look([A, B])) == {A, B}
    mine.drop([B, uuid4()])
    assert theirs.look([A, B]) == {}

    mine.put(B, b"2")
    assert theirs.look([A, B]) == {B: b"2"}


def test_it_holds_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "PAGE_BYTES", 1000)
    mine, keys = a_shelf(tmp_path), [uuid4() for _ in range(100)]

    for key in keys:
        mine.put(key, b"x" * 100)

    assert len(list(tmp_path.iterdir())) == 2
    assert set(keys[-9:]) <= set(mine.look(keys)) <= set(keys[-18:])


def test_what_a_dead_process_has_left_is_thrown_away(tmp_path: Path) -> None:
    a_shelf(tmp_path).put(A, b"1")
    [left] = tmp_path.iterdir()
    os.utime(left, times=(time.time() - 61, time.time() - 61))

    assert a_shelf(tmp_path).look([A]) == {}
    assert not left.exists()


def test_who_was_taken_for_dead_begins_a_new_page(tmp_path: Path) -> None:
    mine = a_shelf(tmp_path)
    mine.put(A, b"1")
    for page in tmp_path.iterdir():
        page.unlink()

    mine.put(B, b"2")

    assert a_shelf(tmp_path).look([A, B]) == {B: b"2"}


def test_a_page_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    mine = a_shelf(tmp_path)
    mine.put(A, b"whole")
    mine.put(B, b"cut short")
    [page] = tmp_path.iterdir()
    os.truncate(page, page.stat().st_size - 1)

    assert a_shelf(tmp_path).look([A, B]) == {A: b"whole"}


def test_what_is_too_large_is_not_put_there(tmp_path: Path) -> None:
    mine = a_shelf(tmp_path)

    assert not mine.put(A, b"x" * (VALUE_MAX_BYTES + 1))
    assert mine.look([A]) == {}


def test_a_place_that_cannot_be_used_costs_nothing_but_what_would_lie_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    mine = a_shelf(tmp_path / "file" / "shelf")

    assert not mine.put(A, b"1")
    assert mine.look([A]) == {}
    mine.drop([A])
