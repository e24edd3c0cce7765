"""Money: reserved before a call is made, settled after it, never spent twice.

What is reserved counts as spent, so the day's limit holds however many workers ask at once. The
row of ``*`` stands for all models together and carries the limit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import F

from evaluation.models import Evaluation, Price, Spend
from evaluation.types import ALL_MODELS, Attempt, AttemptStatus
from pipeline.prepared import Prepared, PreparedUpdate
from pipeline.statements import run_each, stored, update_each

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

ENTER = """
UPDATE evaluation_spend
SET reserved_usd = reserved_usd + %s, spent_usd = spent_usd + %s, calls = calls + %s
WHERE day = %s AND model = %s
"""

ACCOUNTS: Prepared[Spend] = Prepared(
    lambda given: Spend.objects.filter(
        day=given(Spend, "day"), model__in=given.each(Spend, "model", name="models")
    ).values_list("model", flat=True)
)
RESERVING: Prepared[Evaluation] = Prepared(
    lambda given: (
        Evaluation.objects.filter(
            id__in=given.each(Evaluation, "id", name="ids"), reserved_usd__isnull=False
        )
        .select_for_update()
        .order_by("id")
        .values_list("id", flat=True)
    )
)
TAKE_OFF = PreparedUpdate(
    lambda given: (
        Evaluation.objects.filter(id__in=given.each(Evaluation, "id", name="ids")),
        {"reserved_usd": None, "reserved_on": None},
    )
)

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

    ``tokens_in`` counts those read from the cache and those written to it, ``tokens_out`` the
    reasoning. Tokens of the cache of which no price is known cost as much as others.
    """
    price = price_on(prices, attempt.started_at.date())
    if price is None or attempt.tokens_in is None or attempt.tokens_out is None:
        return None
    cached = min(attempt.tokens_cached or 0, attempt.tokens_in)
    written = min(attempt.tokens_cache_write or 0, attempt.tokens_in - cached)
    cached_usd = price.input_usd if price.cached_usd is None else price.cached_usd
    total = (
        (attempt.tokens_in - cached - written) * price.input_usd
        + cached * cached_usd
        + written * _write_usd(price)
        + attempt.tokens_out * price.output_usd
    )
    return (total / PER_MILLION).quantize(EXACT)


def _write_usd(price: Price) -> Decimal:
    return price.input_usd if price.cache_write_usd is None else price.cache_write_usd


def worst_case(*, price: Price | None, characters: int, max_tokens: int) -> Decimal | None:
    """Return the most that one signal can cost at a model, its further calls included."""
    if price is None:
        return None
    tokens_in = CALLS_MAX * (characters // CHARS_PER_TOKEN + 1)
    tokens_in += (CALLS_MAX - 1) * (max_tokens + COMPLAINT_TOKENS)
    dearest = max(price.input_usd, _write_usd(price))
    total = tokens_in * dearest + ANSWERS_MAX * max_tokens * price.output_usd
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
    *, asked: Sequence[tuple[str, Decimal]], day: date, limit: Decimal | None
) -> list[bool]:
    """Reserve amounts for calls of models; say of each whether the day's limit allowed it.

    All together if they fit, else one by one, so that what does fit is not refused.
    """
    if not asked:
        return []
    _open_accounts(day, {model for model, _ in asked})
    if _reserve(asked, day=day, limit=limit):
        return [True] * len(asked)
    if len(asked) == 1:
        return [False]
    return [_reserve([each], day=day, limit=limit) for each in asked]


def _open_accounts(day: date, models: Collection[str]) -> None:
    names = {ALL_MODELS, *models}
    missing = sorted(names - set(ACCOUNTS.rows(day=day, models=names)))
    if missing:
        rows = [Spend(day=day, model=name) for name in missing]
        Spend.objects.bulk_create(rows, ignore_conflicts=True)


def _reserve(asked: Sequence[tuple[str, Decimal]], *, day: date, limit: Decimal | None) -> bool:
    """Add to what is reserved if the limit still allows it: one conditional update decides."""
    amount = sum((each for _, each in asked), NOTHING)
    together = Spend.objects.filter(day=day, model=ALL_MODELS)
    if limit is not None:
        room = limit - amount
        together = together.annotate(held=F("reserved_usd") + F("spent_usd")).filter(held__lte=room)
    with transaction.atomic(savepoint=False):
        if not together.update(reserved_usd=F("reserved_usd") + amount):
            return False
        by_model: dict[str, Decimal] = {}
        for model, each in asked:
            by_model[model] = by_model.get(model, NOTHING) + each
        _enter([_Entry(day, model, by_model[model]) for model in sorted(by_model)])
    return True


def hold(evaluations: Sequence[Evaluation]) -> None:
    """Write reservations down on their evaluations, so that a lost worker's are found again."""
    update_each(evaluations, fields=("reserved_usd", "reserved_on"))


@dataclass(slots=True)
class _Entry:
    """What changes on one account."""

    day: date
    model: str
    reserved_usd: Decimal = NOTHING
    spent_usd: Decimal = NOTHING
    calls: int = 0


def _enter(entries: Sequence[_Entry]) -> None:
    """Add to accounts that exist, in the order given."""
    run_each(
        ENTER,
        [
            [
                stored(Spend, "reserved_usd", entry.reserved_usd),
                stored(Spend, "spent_usd", entry.spent_usd),
                entry.calls,
                stored(Spend, "day", entry.day),
                entry.model,
            ]
            for entry in entries
        ],
    )


def settle(bills: Sequence[Bill]) -> None:
    """Put what was paid in the place of what was reserved, once for each evaluation.

    The rows of the accounts are taken in one order, for several workers settle at once.
    """
    with transaction.atomic(savepoint=False):
        taken = _taken_off([bill.evaluation for bill in bills])
        _book(_changes(bills, taken))


def _changes(bills: Sequence[Bill], taken: Mapping[UUID, tuple[Decimal, date]]) -> list[_Entry]:
    """Return what bills change on the accounts, by day and model."""
    entries: dict[tuple[date, str], _Entry] = {}
    for bill in bills:
        returned = taken.get(bill.evaluation.id)
        for name in (ALL_MODELS, bill.model):
            if returned is not None:
                amount, day = returned
                _entry(entries, day, name).reserved_usd -= amount
            entry = _entry(entries, bill.day, name)
            entry.spent_usd += bill.spent_usd
            entry.calls += bill.calls
    return [
        entries[key]
        for key in sorted(entries)
        if entries[key].reserved_usd or entries[key].spent_usd or entries[key].calls
    ]


def _book(changed: Sequence[_Entry]) -> None:
    for each in sorted({entry.day for entry in changed}):
        _open_accounts(each, {entry.model for entry in changed if entry.day == each})
    _enter(changed)


def _entry(entries: dict[tuple[date, str], _Entry], day: date, model: str) -> _Entry:
    return entries.setdefault((day, model), _Entry(day, model))


def charge(*, model: str, amount: Decimal, calls: int, day: date) -> None:
    """Count what was paid without a reservation."""
    _open_accounts(day, {model})
    _enter([_Entry(day, name, NOTHING, amount, calls) for name in (ALL_MODELS, model)])


def _taken_off(evaluations: Sequence[Evaluation]) -> dict[UUID, tuple[Decimal, date]]:
    """Take reservations off their evaluations; those that somebody else took off are left out."""
    reserving = {
        row.id: (row.reserved_usd, row.reserved_on)
        for row in evaluations
        if row.reserved_usd is not None and row.reserved_on is not None
    }
    if not reserving:
        return {}
    held = RESERVING.rows(ids=list(reserving))
    TAKE_OFF.run(ids=held)
    return {each: reserving[each] for each in held}


def spent_on(day: date) -> Mapping[str, Spend]:
    """Return the accounts of a day by model, that of all together under ``*``."""
    return {row.model: row for row in Spend.objects.filter(day=day)}
