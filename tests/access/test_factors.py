from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django_otp.oath import TOTP
from pytest_django import Settings

from access import factors
from access.models import RecoveryCode, SecondFactor, User
from pipeline.models import AuditEvent
from tests.factories import NOON

pytestmark = pytest.mark.django_db
STEP = timedelta(seconds=30)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


def code_at(factor: SecondFactor, at: datetime) -> str:
    clock = TOTP(bytes.fromhex(factor.secret))
    clock.time = at.timestamp()
    return f"{clock.token():06d}"


def set_up(user: User) -> tuple[SecondFactor, list[str]]:
    waiting = factors.begin(user=user, now=NOON)
    return factors.confirm(user=user, code=code_at(waiting, NOON), now=NOON)


def test_a_factor_counts_once_its_app_has_shown_a_right_code(ada: User) -> None:
    waiting = factors.begin(user=ada, now=NOON)
    assert not factors.has_factor(user=ada)
    assert factors.begin(user=ada, now=NOON).secret == waiting.secret

    with pytest.raises(factors.WrongCode):
        factors.confirm(user=ada, code="000000", now=NOON)
    later = NOON + STEP
    factors.confirm(user=ada, code=code_at(waiting, later), now=later)

    assert factors.has_factor(user=ada)
    assert AuditEvent.objects.filter(verb="SECOND_FACTOR_ADDED", actor="user:ada").exists()


def test_the_secret_is_sealed_in_the_database(ada: User) -> None:
    factor, _ = set_up(ada)

    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM access_secondfactor")
        (stored,) = cursor.fetchone()

    assert factor.secret not in stored
    assert SecondFactor.objects.get().secret == factor.secret


def test_a_code_opens_once_and_only_around_its_time(ada: User) -> None:
    factor, _ = set_up(ada)
    now = NOON + 4 * STEP

    with pytest.raises(factors.WrongCode):
        factors.verify(user=ada, code=code_at(factor, NOON), now=now)
    late = now + timedelta(seconds=2)
    factors.verify(user=ada, code=code_at(factor, now), now=late)
    with pytest.raises(factors.WrongCode):
        factors.verify(user=ada, code=code_at(factor, now), now=late)


def test_wrong_codes_make_the_next_one_wait_and_then_let_the_right_one_in(ada: User) -> None:
    factor, _ = set_up(ada)
    now = NOON + 10 * STEP
    for _ in range(4):
        with pytest.raises(factors.WrongCode):
            factors.verify(user=ada, code="000000", now=now)
        now += timedelta(seconds=9)

    with pytest.raises(factors.WrongCode):
        factors.verify(user=ada, code="000000", now=now)
    too_soon = now + timedelta(seconds=1)
    with pytest.raises(factors.WrongCode, match="Too soon"):
        factors.verify(user=ada, code=code_at(factor, too_soon), now=too_soon)
    later = now + timedelta(seconds=60)

    factors.verify(user=ada, code=code_at(factor, later), now=later)
    assert SecondFactor.objects.get().failures == 0


def test_a_recovery_code_opens_once_and_is_kept_as_a_hash(ada: User) -> None:
    _, codes = set_up(ada)

    factors.verify(user=ada, code=codes[0].lower(), now=NOON)
    with pytest.raises(factors.WrongCode):
        factors.verify(user=ada, code=codes[0], now=NOON)

    assert len(codes) == len(set(codes)) == 10
    kept = set(RecoveryCode.objects.values_list("digest", flat=True))
    assert not kept & {code.replace("-", "") for code in codes}


def test_new_recovery_codes_void_the_old_ones(ada: User) -> None:
    _, codes = set_up(ada)

    fresh = factors.renew_codes(user=ada, code=codes[0], now=NOON)

    later = NOON + 10 * STEP
    with pytest.raises(factors.WrongCode):
        factors.verify(user=ada, code=codes[1], now=NOON)
    factors.verify(user=ada, code=fresh[0], now=later)


@pytest.mark.parametrize(
    ("rule", "is_staff", "needed"),
    [("off", True, False), ("staff", True, True), ("staff", False, False), ("all", False, True)],
)
def test_the_rule_of_the_house_says_who_needs_one(
    ada: User, settings: Settings, rule: str, is_staff: bool, needed: bool
) -> None:
    settings.REQUIRE_2FA = rule
    ada.is_staff = is_staff

    assert factors.is_needed(ada) is needed


def test_whoever_set_one_up_needs_it_whatever_the_rule(ada: User, settings: Settings) -> None:
    settings.REQUIRE_2FA = "off"
    factor, _ = set_up(ada)

    assert factors.is_needed(ada)
    assert factors.is_shown(user=ada, mark=factor.mark)
    assert not factors.is_shown(user=ada, mark=None)
    assert not factors.is_shown(user=User.objects.create_user("eve"), mark=factor.mark)


def test_an_operator_can_take_off_what_was_lost(ada: User) -> None:
    set_up(ada)

    call_command("reset_second_factor", "ada")

    assert not factors.is_needed(ada)
    assert AuditEvent.objects.filter(verb="SECOND_FACTOR_REMOVED", actor="shell").exists()
    with pytest.raises(CommandError, match="nobody"):
        call_command("reset_second_factor", "eve")


def test_rotating_seals_every_secret_with_the_newest_key(ada: User, settings: Settings) -> None:
    settings.LENS_ENCRYPTION_KEYS = "old"
    factor, _ = set_up(ada)
    settings.LENS_ENCRYPTION_KEYS = "old,new"

    call_command("rotate_secrets")

    settings.LENS_ENCRYPTION_KEYS = "new"
    assert SecondFactor.objects.get().secret == factor.secret
    settings.LENS_ENCRYPTION_KEYS = "another"
    with pytest.raises(CommandError, match="no key"):
        call_command("rotate_secrets")
