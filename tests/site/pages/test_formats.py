"""How numbers, spans and strangers' texts read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from lens_site.pages import formats
from lens_site.templatetags import lens

T = formats.THIN


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("42000.00000000"), "42,000"),
        ("0.51210000", "0.5121"),
        (65432.5, "65,432.5"),
        (Decimal("0.000000123456"), "0.00000012"),
        (None, "–"),
        (float("nan"), "–"),
        ("", "–"),
        (0, "0"),
    ],
)
def test_a_price_keeps_its_digits_and_an_unknown_one_is_no_zero(value: object, text: str) -> None:
    assert formats.price(value) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0625, f"+6.25{T}%"), (-0.0195, f"−1.95{T}%"), (0.00001, f"0.00{T}%"), (None, "–")],
)
def test_a_change_has_its_sign(value: float | None, text: str) -> None:
    assert formats.change(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(6.2, f"+6{T}bps"), (-2.4, f"−2{T}bps"), (0.2, f"0{T}bps"), (-0.2, f"0{T}bps")],
)
def test_drift_reads_in_basis_points(value: float, text: str) -> None:
    assert formats.bps(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.84", "$1.84"), ("0.0041", "$0.0041"), (0, "$0.00"), (-3.5, "−$3.50"), (None, "–")],
)
def test_small_money_keeps_four_decimals(value: object, text: str) -> None:
    assert formats.usd(value) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, f"0.2{T}ms"),
        (180, f"180{T}ms"),
        (0, f"0{T}ms"),
        (4390, f"4.39{T}s"),
        (27_320, f"27.3{T}s"),
        (6_000, f"6{T}s"),
        (61_000, f"1{T}min 1{T}s"),
        (7_200_000, f"2{T}h"),
        (None, "–"),
    ],
)
def test_a_span_reads_in_the_unit_that_suits_it(value: float | None, text: str) -> None:
    assert formats.span(value) == text


def test_a_moment_carries_its_whole_self() -> None:
    shown = lens.moment(datetime(2026, 1, 15, 12, 0, 7, tzinfo=UTC))

    assert 'datetime="2026-01-15T12:00:07Z"' in shown
    assert 'title="2026-01-15 12:00:07 UTC"' in shown
    assert ">12:00:07<" in shown


def test_a_figure_carries_its_exact_value() -> None:
    assert lens.percent(0.664) == f'<data value="0.664" data-as="percent">66{T}%</data>'
    assert lens.percent(None) == '<span class="unknown">–</span>'


def test_a_script_in_a_text_is_shown_as_text() -> None:
    shown = lens.plain("<script>alert(1)</script>")

    assert "&lt;script&gt;" in shown
    assert "<script" not in shown


@pytest.mark.parametrize(
    "letter", ["\u202e", "\u200b", "\ufeff", "\x07", "\u2066", "\u3164", "\u00ad"]
)
def test_what_would_hide_in_a_text_is_named(letter: str) -> None:
    shown = lens.plain(f"buy{letter}now")

    assert letter not in shown
    assert f"U+{ord(letter):04X}" in shown


def test_lines_and_other_scripts_of_the_world_stay_as_they_are() -> None:
    text = "שלום\n日本語 é"

    assert list(formats.pieces(text)) == [(text, "")]


@pytest.mark.parametrize(
    ("sent", "digits"), [("5.8925", 4), ("42000", 0), ("65322.6", 1), ("98.12", 3), ("0.00012", 8)]
)
def test_a_calculated_level_has_the_digits_of_what_was_sent(sent: str, digits: int) -> None:
    assert formats.digits_of(Decimal(sent)) == digits
