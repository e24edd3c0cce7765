from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from evaluation.evaluators.base import CallFailed
from evaluation.evaluators.cassette import Cassette
from evaluation.evaluators.llm import Completion
from evaluation.types import AttemptStatus

KEY = hashlib.sha256(b"one").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
ANSWER = Completion(
    text='{"decision": "IGNORE"}',
    model_reported="m-1-2026",
    request_id="req_1",
    tokens_in=900,
    tokens_cached=0,
    tokens_out=40,
    raw="{}",
)


def recorder(folder: Path, *secrets: str) -> Cassette:
    return Cassette(folder=folder, mode="record", secrets=secrets)


def player(folder: Path) -> Cassette:
    return Cassette(folder=folder, mode="replay")


async def test_a_recorded_answer_is_played_as_it_was(tmp_path: Path) -> None:
    await recorder(tmp_path).record(KEY, ANSWER)

    assert await player(tmp_path).play(KEY) == ANSWER


async def test_a_refused_answer_keeps_its_status(tmp_path: Path) -> None:
    refused = Completion(text="", status=AttemptStatus.REFUSED)
    await recorder(tmp_path).record(KEY, refused)

    assert await player(tmp_path).play(KEY) == refused


async def test_a_failed_call_is_played_as_the_same_failure(tmp_path: Path) -> None:
    failure = CallFailed(
        "slow down",
        status=AttemptStatus.RATE_LIMITED,
        retry_after_s=2.5,
        request_id="req_2",
        answer="429",
    )
    await recorder(tmp_path).record(KEY, failure)

    played = await player(tmp_path).play(KEY)

    assert isinstance(played, CallFailed)
    assert str(played) == "slow down"
    assert vars(played) == vars(failure)


async def test_replaying_what_was_never_recorded_fails_and_calls_nobody(tmp_path: Path) -> None:
    played = await player(tmp_path / "nowhere").play(KEY)

    assert isinstance(played, CallFailed)
    assert played.status is AttemptStatus.DISABLED
    assert str(played) == f"no recording for {KEY[:16]}"


async def test_recording_plays_nothing_so_that_the_call_is_made(tmp_path: Path) -> None:
    cassette = recorder(tmp_path)
    await cassette.record(KEY, ANSWER)

    assert await cassette.play(KEY) is None


async def test_switched_off_it_neither_plays_nor_keeps(tmp_path: Path) -> None:
    cassette = Cassette(folder=tmp_path, mode="off")

    await cassette.record(KEY, ANSWER)

    assert await cassette.play(KEY) is None
    assert not list(tmp_path.iterdir())


async def test_replaying_keeps_nothing(tmp_path: Path) -> None:
    await player(tmp_path).record(KEY, ANSWER)

    assert not list(tmp_path.iterdir())


async def test_keys_that_a_vendor_repeats_are_not_kept(tmp_path: Path) -> None:
    ours = "topsecretvalue"
    told = (
        f"no such key: {ours}\nsk-proj-abcdefgh12345 Bearer abc.def-123456 ?key=AIzaSyA1234567890"
    )
    failure = CallFailed(told, status=AttemptStatus.AUTH, answer=told, request_id=ours)

    await recorder(tmp_path, ours).record(KEY, failure)

    kept = (tmp_path / f"{KEY}.json").read_text("utf-8")
    for secret in (ours, "abcdefgh12345", "abc.def", "SyA1234567890"):
        assert secret not in kept
    assert "no such key" in kept


async def test_words_that_only_look_like_keys_are_kept(tmp_path: Path) -> None:
    text = "a risk-adjusted, task-oriented answer"

    await recorder(tmp_path, "a").record(KEY, Completion(text=text))

    assert await player(tmp_path).play(KEY) == Completion(text=text)


async def test_a_failure_never_takes_the_place_of_an_answer(tmp_path: Path) -> None:
    cassette = recorder(tmp_path)
    failure = CallFailed("reset", status=AttemptStatus.NETWORK)
    await cassette.record(KEY, ANSWER)
    await cassette.record(KEY, failure)
    await cassette.record(OTHER, failure)
    await cassette.record(OTHER, ANSWER)

    assert await player(tmp_path).play(KEY) == ANSWER
    assert await player(tmp_path).play(OTHER) == ANSWER


async def test_readers_among_many_writers_never_meet_half_a_file(tmp_path: Path) -> None:
    long = [Completion(text=letter * 50_000) for letter in "abcdefgh"]
    await recorder(tmp_path).record(KEY, long[0])

    written = [recorder(tmp_path).record(KEY, each) for each in long * 3]
    read = [player(tmp_path).play(KEY) for _ in range(24)]
    outcomes = await asyncio.gather(*written, *read)

    assert all(played in long for played in outcomes[len(written) :])
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 2, "completion": {}}']
)
async def test_a_file_that_cannot_be_read_fails_as_not_recorded(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{KEY}.json").write_text(text, "utf-8")

    played = await player(tmp_path).play(KEY)

    assert isinstance(played, CallFailed)
    assert played.status is AttemptStatus.DISABLED
    assert "cannot be read" in str(played)


async def test_a_field_that_later_versions_add_does_not_spoil_a_recording(tmp_path: Path) -> None:
    await recorder(tmp_path).record(KEY, ANSWER)
    path = tmp_path / f"{KEY}.json"
    stored = json.loads(path.read_text("utf-8"))
    stored["completion"]["mood"] = "good"
    path.write_text(json.dumps(stored), "utf-8")

    assert await player(tmp_path).play(KEY) == ANSWER


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, KEY + "\n"])
async def test_a_key_that_is_no_hash_reaches_no_file(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        await player(tmp_path).play(key)
    with pytest.raises(ValueError, match="SHA-256"):
        await recorder(tmp_path).record(key, ANSWER)


def test_a_mode_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rewind"):
        Cassette(folder=tmp_path, mode="rewind")
