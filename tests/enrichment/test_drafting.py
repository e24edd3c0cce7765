from __future__ import annotations

import pytest

from enrichment.drafting import BadText, read_text, written
from enrichment.profiles import BUILT_INS

TEXT = """\
extends: trend_follow_v1
timeframes: [5m]
indicators:
  - name: macd
    options:
      fast: 8
  - {name: rsi}
"""


def test_text_is_read_with_the_line_of_every_path() -> None:
    text = read_text(TEXT)

    assert text.definition["indicators"][0]["options"] == {"fast": 8}
    assert text.line_of("timeframes[0]") == 2
    assert text.line_of("indicators[1].name") == 7
    assert text.line_of("indicators[macd].options") == 5


def test_a_path_that_is_not_written_is_told_by_the_nearest_above_it() -> None:
    text = read_text(TEXT)

    assert text.line_of("indicators[rsi].options.period") == 7
    assert text.line_of("levels.lookback") == 1


def test_json_is_text_too() -> None:
    assert read_text('{"market": ["mid"]}').definition == {"market": ["mid"]}


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("market: [mid\nlevels: null", 2, "expected"),
        ("market: [mid]\nmarket: [bid]", 2, "stands twice"),
        ("a: &x [1]\nb: *x", 1, "anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]", 1, "not used here"),
        ("- mid", 1, "must be an object"),
        ("a: 1\n? [b]\n: 2", 2, "must be a word"),
        ("a: 1\nb: !!binary aGk=", 2, "not used here"),
        ("x" * 40_000, 1, "longer than"),
        ("[" * 5_000, 1, "nested too deeply|expected|did not find"),
    ],
)
def test_what_is_wrong_is_told_by_line(text: str, line: int, fault: str) -> None:
    with pytest.raises(BadText, match=fault) as caught:
        read_text(text)

    assert fault and caught.value.line == line


def test_dates_stay_words() -> None:
    assert read_text("since: 2026-01-15").definition == {"since": "2026-01-15"}


@pytest.mark.parametrize("name", BUILT_INS)
def test_what_is_written_is_read_back(name: str) -> None:
    definition = dict(BUILT_INS[name])

    assert read_text(written(definition)).definition == definition
