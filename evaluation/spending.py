"""Money: reserved before a call is made, settled after it, never spent twice.

What is reserved counts as spent, so the day's limit holds however many workers ask at once. The
row of ``*`` stands for all models together and carries the limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal

from django.db import transaction
from django.db.models import F

from evaluation.models import Evaluation, Price, Spend
from evaluation.types import ALL_MODELS, Attempt, AttemptStatus

EXACT = Decimal("0.0000000001")
PER_MILLION = Decimal(1_000_000)
NOTHING = Decimal(0)
CHARS_PER_TOKEN = 2  # fewer than any text of ours has, so that a reservation is not too small
CALLS_MAX = 3  # one, one more with a larger cap, one repair
ANSWERS_MAX = 5  # answers' lengths that those calls may add up to: 1 + 2 + 2
COMPLAINT_TOKENS = 200
UNBILLED = frozenset(
    {
        AttemptStatus.RATE_LIMITED,
        AttemptStatus.QUOTA,
        AttemptStatus.AUTH,
        AttemptStatus.OVERLOADED,
        AttemptStatus.BAD_REQUEST,
    }
)
"""The vendor refused the call, so it did no work that it could bill."""

Prices = Sequence[Price]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What became of one reservation, and what was paid in its place."""

    evaluation: Evaluation
    model: str
    spent_usd: Decimal
    calls: int
    day: date


def price_on(prices: Prices, day: date) -> Price | None:
    """Return what tokens cost on a day, or None if nobody knows."""
    known = [price for price in prices if price.valid_from <= day]
    return max(known, key=lambda price: price.valid_from, default=None)


def cost_of(attempt: Attempt, prices: Prices) -> Decimal | None:
    """Return what one call cost in US dollars, or None if price or usage are not known.

    ``tokens_in`` counts the cached ones, ``tokens_out`` the reasoning. Cached tokens of which no
    price is known cost as much as others.
    """
    price = price_on(prices, attempt.started_at.date())
    if price is None or attempt.tokens_in is None or attempt.tokens_out is None:
        return None
    cached = min(attempt.tokens_cached or 0, attempt.tokens_in)
    cached_usd = price.input_usd if price.cached_usd is None else price.cached_usd
    total = (
        (attempt.tokens_in - cached) * price.input_usd
        + cached * cached_usd
        + attempt.tokens_out * price.output_usd
    )
    return (total / PER_MILLION).quantize(EXACT)


def worst_case(*, price: Price | None, characters: int, max_tokens: int) -> Decimal | None:
    """Return the most that one signal can cost at a model, its further calls included."""
    if price is None:
        return None
    tokens_in = CALLS_MAX * (characters // CHARS_PER_TOKEN + 1)
    tokens_in += (CALLS_MAX - 1) * (max_tokens + COMPLAINT_TOKENS)
    total = tokens_in * price.input_usd + ANSWERS_MAX * max_tokens * price.output_usd
    return (total / PER_MILLION).quantize(EXACT, rounding=ROUND_UP)


def total(attempts: Sequence[Attempt], costs: Sequence[Decimal | None]) -> Decimal | None:
    """Return what an evaluation's calls cost together, or None if one's cost is not known.

    A call that the vendor refused to serve costs nothing.
    """
    counted = [
        cost
        for attempt, cost in zip(attempts, costs, strict=True)
        if cost is not None or attempt.status not in UNBILLED
    ]
    known = [cost for cost in counted if cost is not None]
    return sum(known, NOTHING) if known and len(known) == len(counted) else None


def payable(
    attempts: Sequence[Attempt], costs: Sequence[Decimal | None], *, reserved: Decimal | None
) -> Decimal:
    """Return what is held against the day's limit for calls that were made.

    A call of which no usage is known may have been billed all the same: it counts as its share
    of what was reserved.
    """
    share = NOTHING if reserved is None else (reserved / CALLS_MAX).quantize(EXACT)
    return sum(
        (
            cost if cost is not None else NOTHING if attempt.status in UNBILLED else share
            for attempt, cost in zip(attempts, costs, strict=True)
        ),
        NOTHING,
    )


def reserve(
    *, model: str, amounts: Sequence[Decimal], day: date, limit: Decimal | None
) -> list[bool]:
    """Reserve amounts for calls of one model; say of each whether the day's limit allowed it.

    All together if they fit, else one by one, so that what does fit is not refused.
    """
    if not amounts:
        return []
    _open_accounts(model=model, day=day)
    if _reserve(model=model, amount=sum(amounts, NOTHING), day=day, limit=limit):
        return [True] * len(amounts)
    if len(amounts) == 1:
        return [False]
    return [_reserve(model=model, amount=each, day=day, limit=limit) for each in amounts]


def _open_accounts(*, model: str, day: date) -> None:
    names = {ALL_MODELS, model}
    there = Spend.objects.filter(day=day, model__in=names).values_list("model", flat=True)
    missing = sorted(names - set(there))
    if missing:
        rows = [Spend(day=day, model=name) for name in missing]
        Spend.objects.bulk_create(rows, ignore_conflicts=True)


def _reserve(*, model: str, amount: Decimal, day: date, limit: Decimal | None) -> bool:
    """Add to what is reserved if the limit still allows it: one conditional update decides."""
    together = Spend.objects.filter(day=day, model=ALL_MODELS)
    if limit is not None:
        room = limit - amount
        together = together.annotate(held=F("reserved_usd") + F("spent_usd")).filter(held__lte=room)
    with transaction.atomic():
        if not together.update(reserved_usd=F("reserved_usd") + amount):
            return False
        Spend.objects.filter(day=day, model=model).update(reserved_usd=F("reserved_usd") + amount)
    return True


def hold(evaluations: Iterable[Evaluation]) -> None:
    """Write reservations down on their evaluations, so that a lost worker's are found again."""
    Evaluation.objects.bulk_update(list(evaluations), ["reserved_usd", "reserved_on"])


def settle(bills: Sequence[Bill]) -> None:
    """Put what was paid in the place of what was reserved, once for each evaluation.

    The rows of the accounts are taken in one order, for several workers settle at once.
    """
    totals: dict[tuple[date, str], list[Decimal]] = {}
    calls: dict[tuple[date, str], int] = {}
    for bill in bills:
        returned = _taken_off(bill.evaluation)
        for name in (ALL_MODELS, bill.model):
            if returned is not None:
                given_back, day = returned
                _add(totals, (day, name), -given_back, NOTHING)
            _add(totals, (bill.day, name), NOTHING, bill.spent_usd)
            calls[bill.day, name] = calls.get((bill.day, name), 0) + bill.calls
    for day, name in sorted(totals):
        reserved, spent = totals[day, name]
        count = calls.get((day, name), 0)
        if reserved or spent or count:
            _open_accounts(model=name, day=day)
            Spend.objects.filter(day=day, model=name).update(
                reserved_usd=F("reserved_usd") + reserved,
                spent_usd=F("spent_usd") + spent,
                calls=F("calls") + count,
            )


def charge(*, model: str, amount: Decimal, calls: int, day: date) -> None:
    """Count what was paid without a reservation."""
    _open_accounts(model=model, day=day)
    for name in (ALL_MODELS, model):
        row = Spend.objects.filter(day=day, model=name)
        row.update(spent_usd=F("spent_usd") + amount, calls=F("calls") + calls)


def _add(
    totals: dict[tuple[date, str], list[Decimal]],
    account: tuple[date, str],
    reserved: Decimal,
    spent: Decimal,
) -> None:
    held = totals.setdefault(account, [NOTHING, NOTHING])
    held[0] += reserved
    held[1] += spent


def _taken_off(evaluation: Evaluation) -> tuple[Decimal, date] | None:
    """Take a reservation off its evaluation; None if there is none or somebody else was first."""
    amount, day = evaluation.reserved_usd, evaluation.reserved_on
    if amount is None or day is None:
        return None
    held = Evaluation.objects.filter(id=evaluation.id, reserved_usd__isnull=False)
    return (amount, day) if held.update(reserved_usd=None, reserved_on=None) else None


def spent_on(day: date) -> Mapping[str, Spend]:
    """Return the accounts of a day by model, that of all together under ``*``."""
    return {row.model: row for row in Spend.objects.filter(day=day)}
