"""The second proof of a person: six digits of an app, or a recovery code that works once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django_otp.oath import TOTP

from access.models import RecoveryCode, SecondFactor, User
from pipeline.services import record_act
from pipeline.types import InvalidRequest

ISSUER = "SigmaPilot Lens"
SESSION_MARK = "second_factor"
STEP_S = 30
TOLERANCE_STEPS = 1
SECRET_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
PAUSE_MAX = timedelta(minutes=15)
WRONG = "The code is wrong or was used already. Wait for the next one."
TRY_LATER = "Too soon after a wrong code. Wait a little longer each time."
OFF, STAFF, ALL = "off", "staff", "all"


class WrongCode(InvalidRequest):
    """The code is wrong, was used before, or comes too soon after wrong ones."""


def is_needed(user: User | AnonymousUser) -> bool:
    """Say whether the person must show a second proof: by the house's rule, or their own choice."""
    if not isinstance(user, User):
        return False
    demanded = settings.REQUIRE_2FA
    if demanded == ALL or (demanded == STAFF and (user.is_staff or user.is_superuser)):
        return True
    return has_factor(user=user)


def has_factor(*, user: User) -> bool:
    """Say whether the person has set one up."""
    return SecondFactor.objects.filter(user=user, confirmed_at__isnull=False).exists()


def is_shown(*, user: User, mark: object) -> bool:
    """Say whether a session's ``mark`` is that of the person's factor as it stands now."""
    return SecondFactor.objects.filter(
        user=user, confirmed_at__isnull=False, mark=str(mark or "")
    ).exists()


def begin(*, user: User, now: datetime) -> SecondFactor:
    """Return a factor that waits to be confirmed; asking again gives the same one for an hour."""
    waiting = SecondFactor.objects.filter(user=user).first()
    if waiting is not None and waiting.confirmed_at is not None:
        return waiting
    if waiting is not None and now - waiting.created_at < timedelta(hours=1):
        return waiting
    SecondFactor.objects.filter(user=user, confirmed_at__isnull=True).delete()
    secret = secrets.token_bytes(SECRET_BYTES).hex()
    return SecondFactor.objects.create(
        user=user, secret=secret, mark=secrets.token_hex(8), created_at=now
    )


def confirm(*, user: User, code: str, now: datetime) -> tuple[SecondFactor, list[str]]:
    """Return the factor, now in force, and its recovery codes, which nobody can read again.

    :raises WrongCode: if the app shows something else.
    """
    factor = _checked(user=user, code=code, now=now, confirmed=False)
    with transaction.atomic():
        factor.confirmed_at = now
        factor.save(update_fields=["confirmed_at"])
        codes = _fresh_codes(factor)
        _note("SECOND_FACTOR_ADDED", user, now=now)
    return factor, codes


def verify(*, user: User, code: str, now: datetime) -> SecondFactor:
    """Return the person's factor if ``code`` is right at ``now``.

    :raises WrongCode: if it is not, or if wrong ones came just before.
    """
    return _checked(user=user, code=code, now=now, confirmed=True)


def renew_codes(*, user: User, code: str, now: datetime) -> list[str]:
    """Return new recovery codes; the old ones are void.

    :raises WrongCode: if ``code`` is wrong.
    """
    factor = verify(user=user, code=code, now=now)
    with transaction.atomic():
        codes = _fresh_codes(factor)
        _note("RECOVERY_CODES_RENEWED", user, now=now)
    return codes


def remove(*, user: User, code: str, now: datetime) -> None:
    """Take the second proof off.

    :raises WrongCode: if ``code`` is wrong.
    """
    verify(user=user, code=code, now=now)
    forget(user=user, actor=f"user:{user.get_username()}", now=now)


def forget(*, user: User, actor: str, now: datetime) -> bool:
    """Take the second proof of a person off who lost it; say whether there was one."""
    with transaction.atomic():
        many, _ = SecondFactor.objects.filter(user=user).delete()
        if many:
            _note("SECOND_FACTOR_REMOVED", user, now=now, actor=actor)
    return bool(many)


def address_for_apps(factor: SecondFactor) -> str:
    """Return what an authenticator app reads from the picture."""
    label = quote(f"{ISSUER}:{factor.user.get_username()}")
    return f"otpauth://totp/{label}?" + urlencode({"secret": factor.base32, "issuer": ISSUER})


def _checked(*, user: User, code: str, now: datetime, confirmed: bool) -> SecondFactor:
    """Return the held factor whose code this is, and count what failed whatever comes after."""
    code = code.replace(" ", "").replace("-", "").upper()
    with transaction.atomic():
        factor = (
            SecondFactor.objects.select_for_update()
            .filter(user=user, confirmed_at__isnull=not confirmed)
            .first()
        )
        if factor is None or not _is_allowed(factor, now=now):
            raise WrongCode(TRY_LATER)
        right = _proves(factor, code, now)
        factor.failures = 0 if right else factor.failures + 1
        factor.failed_at = None if right else now
        factor.save(update_fields=["failures", "failed_at", "last_step"])
    if not right:
        raise WrongCode(WRONG)
    return factor


def _is_allowed(factor: SecondFactor, *, now: datetime) -> bool:
    """Say whether enough time has passed since the last wrong code: 1, 2, 4 ... seconds."""
    if factor.failed_at is None:
        return True
    pause = min(timedelta(seconds=2 ** min(factor.failures - 1, 12)), PAUSE_MAX)
    return now - factor.failed_at >= pause


def _proves(factor: SecondFactor, code: str, now: datetime) -> bool:
    if code.isascii() and code.isdigit() and len(code) == 6:
        clock = TOTP(bytes.fromhex(factor.secret), step=STEP_S)
        clock.time = now.timestamp()
        if not clock.verify(int(code), TOLERANCE_STEPS, factor.last_step + 1):
            return False
        factor.last_step = clock.t()
        return True
    unused = RecoveryCode.objects.filter(factor=factor, digest=_digest(code), used_at=None)
    return bool(unused.update(used_at=now))


def _fresh_codes(factor: SecondFactor) -> list[str]:
    RecoveryCode.objects.filter(factor=factor).delete()
    codes = [secrets.token_hex(RECOVERY_BYTES).upper() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(
        [RecoveryCode(factor=factor, digest=_digest(code)) for code in codes]
    )
    return ["-".join(code[at : at + 5] for at in range(0, len(code), 5)) for code in codes]


def _digest(code: str) -> str:
    """Return how a recovery code is kept: of 80 random bits a plain hash gives nothing away."""
    return hmac.new(b"lens recovery code", code.encode(), hashlib.sha256).hexdigest()


def _note(verb: str, user: User, *, now: datetime, actor: str = "") -> None:
    name = user.get_username()
    record_act(actor=actor or f"user:{name}", verb=verb, object=f"user:{user.pk}", at=now)
