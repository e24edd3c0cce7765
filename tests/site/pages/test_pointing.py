from __future__ import annotations

import pytest

from evaluation.parsing import BadAnswer, parse_answer
from lens_site.pages.pointing import fault_in
from tests.evaluation.answers import make_case

ANSWER = """{
  "decision": "BUY", "size_pct" : 250,
  "note": "a } and a \\" inside",
  "reasons": [ {"tag": "x"}, {"tag": "y", "field": "a b"} ]
}"""


def marked(error: str, answer: str = ANSWER) -> str | None:
    span = fault_in(answer, error)
    return None if span is None else answer[slice(*span)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ('$.decision: must be one of FOLLOW_ENTER, IGNORE, was "BUY"', '"BUY"'),
        ("$.size_pct: must be from 0 to 100, was 250", "250"),
        ("$.note: must be a text, was null", '"a } and a \\" inside"'),
        ("$.reasons[1].field: must be the path of a field", '"a b"'),
        ("the first call timed out; $.size_pct: must be from 0 to 100", "250"),
    ],
)
def test_the_value_that_an_error_names_is_found(error: str, expected: str) -> None:
    assert marked(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [("$.invalidation: is missing", "{"), ("$.reasons[0].field: is missing", "{")],
)
def test_what_is_missing_is_marked_where_it_should_have_been(error: str, expected: str) -> None:
    assert marked(error) == expected


@pytest.mark.parametrize(
    ("answer", "expected"), [('{\n "a": oops}', "o"), ('{"a": ', " "), ('{"a": 1} so', "s")]
)
def test_text_that_is_no_json_is_marked_where_reading_stopped(answer: str, expected: str) -> None:
    with pytest.raises(BadAnswer) as refused:
        parse_answer(answer, case=make_case())

    assert marked(str(refused.value), answer) == expected


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        ("the model's answer was truncated", ANSWER),
        ("$: is nested deeper than 8 levels", ANSWER),
        ("$.decision: must be one of", "no JSON at all"),
        ("$.decision: must be one of", ""),
        ("$.a.b: must be", '{"c": ' + "[" * 5_000),
    ],
)
def test_what_cannot_be_found_is_not_marked(error: str, answer: str) -> None:
    assert marked(error, answer) is None
