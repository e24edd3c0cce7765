from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ImproperlyConfigured

from lens_site import env


@pytest.mark.parametrize(
    ("read", "given", "said"),
    [
        (env.integer, "abc", "LENS_X must be a whole number, not 'abc'"),
        (env.integer, "1.5", r"LENS_X must be a whole number, not '1\.5'"),
        (env.number, "soon", "LENS_X must be a number, not 'soon'"),
    ],
)
def test_a_setting_that_is_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[str, int], float], given: str, said: str
) -> None:
    monkeypatch.setattr(env, "NAMES", {})
    monkeypatch.setenv("LENS_X", given)

    with pytest.raises(ImproperlyConfigured, match=said):
        read("LENS_X", 1)
