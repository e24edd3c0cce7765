from __future__ import annotations

import pytest
from pytest_django import Settings

from pipeline.sealing import Unreadable, opened, sealed


def test_what_is_sealed_shows_nothing_and_opens_again(settings: Settings) -> None:
    settings.LENS_ENCRYPTION_KEYS = "one-key-of-thirty-two-characters"

    token = sealed("JBSWY3DPEHPK3PXP")

    assert "JBSWY3DPEHPK3PXP" not in token
    assert sealed("JBSWY3DPEHPK3PXP") != token
    assert opened(token) == "JBSWY3DPEHPK3PXP"


def test_the_newest_key_seals_and_older_ones_still_open(settings: Settings) -> None:
    settings.LENS_ENCRYPTION_KEYS = "old"
    before = sealed("a secret")

    settings.LENS_ENCRYPTION_KEYS = "old,new"
    after = sealed(opened(before))
    settings.LENS_ENCRYPTION_KEYS = "new"

    assert opened(after) == "a secret"
    with pytest.raises(Unreadable):
        opened(before)


@pytest.mark.parametrize("at", [0, 20, 60, -1])
def test_a_sealed_text_that_was_changed_does_not_open(settings: Settings, at: int) -> None:
    settings.LENS_ENCRYPTION_KEYS = "a-key"
    token = list(sealed("a secret"))
    token[at] = "A" if token[at] != "A" else "B"

    with pytest.raises(Unreadable):
        opened("".join(token))
