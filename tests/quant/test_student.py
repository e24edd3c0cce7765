from __future__ import annotations

from math import inf, isnan, nan

import pytest
from scipy import special, stats

from quant.student import beta_share, student_cdf, student_quantile


@pytest.mark.parametrize("a", [0.5, 1.0, 3.5, 40.0, 5_000.0])
@pytest.mark.parametrize("b", [0.5, 2.0, 60.0])
def test_the_incomplete_beta_function_equals_scipy(a: float, b: float) -> None:
    for x in (0.001, 0.1, 0.37, 0.5, 0.8, 0.99, 0.9999):
        assert beta_share(a, b, x) == pytest.approx(special.betainc(a, b, x), abs=1e-11)
    assert (beta_share(a, b, 0.0), beta_share(a, b, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("df", [1.0, 2.5, 7.0, 60.0, 4_000.0])
def test_students_t_equals_scipy(df: float) -> None:
    for t in (-40.0, -3.0, -0.2, 0.0, 0.7, 2.0, 9.0):
        assert student_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-11)
    for share in (0.001, 0.05, 0.25, 0.5, 0.6935293811757364, 0.95, 0.999):
        expected = stats.t.ppf(share, df)
        assert student_quantile(share, df) == pytest.approx(expected, abs=1e-9, rel=1e-9)


def test_ends_and_unknowns_stay_what_they_are() -> None:
    assert isnan(student_cdf(nan, 3.0))
    assert (student_quantile(0.0, 3.0), student_quantile(1.0, 3.0)) == (-inf, inf)


def test_arguments_without_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="a and b"):
        beta_share(0.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="share"):
        student_quantile(1.1, 3.0)
