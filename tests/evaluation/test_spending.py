"""Money is never spent twice and never beyond its limit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from threading import Barrier

import pytest
from django.db import connection

from evaluation import spending
from evaluation.models import Evaluation, Price, Spend
from evaluation.spending import Bill
from evaluation.types import ALL_MODELS, Attempt, AttemptStatus
from tests.factories import make_evaluation, make_signal

DAY = date(2026, 11, 21)
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def price(*, valid_from: date = DAY, input_usd: str = "2", cached_usd: str | None = "0.2") -> Price:
    return Price(
        valid_from=valid_from,
        input_usd=Decimal(input_usd),
        cached_usd=None if cached_usd is None else Decimal(cached_usd),
        output_usd=Decimal(10),
    )


def attempt(status: AttemptStatus = AttemptStatus.OK, **changes: object) -> Attempt:
    values: dict[str, object] = {"tokens_in": 1000, "tokens_cached": 400, "tokens_out": 100}
    return Attempt(status=status, started_at=AT, latency_ms=1.0, **(values | changes))  # type: ignore[arg-type]


def account(model: str) -> tuple[Decimal, Decimal, int]:
    row = Spend.objects.get(day=DAY, model=model)
    return row.reserved_usd, row.spent_usd, row.calls


def test_cached_tokens_cost_less_and_reasoning_is_in_the_output() -> None:
    cost = spending.cost_of(attempt(tokens_reasoning=50), [price()])

    assert cost == Decimal("0.002280")  # 600 at 2, 400 at 0.2, 100 at 10, per million


def test_cached_tokens_without_a_price_of_their_own_cost_as_much_as_others() -> None:
    assert spending.cost_of(attempt(), [price(cached_usd=None)]) == Decimal("0.003000")


def test_tokens_that_are_written_to_the_cache_cost_more_to_the_last_digit() -> None:
    dear = price(input_usd="0.10", cached_usd="0.01")
    dear.cache_write_usd = Decimal("0.125")
    call = attempt(tokens_in=3407, tokens_cached=1024, tokens_cache_write=2048, tokens_out=131)

    cost = spending.cost_of(call, [dear])

    # 335 at 0.10, 1024 at 0.01, 2048 at 0.125, 131 at 10, per million
    assert cost == Decimal("0.0016097400")
    dear.cache_write_usd = None
    assert spending.cost_of(call, [dear]) == Decimal("0.0015585400")


def test_a_reservation_is_enough_even_if_everything_is_written_to_the_cache() -> None:
    dear = price()
    dear.cache_write_usd = Decimal("2.5")
    calls = [
        attempt(tokens_in=4000, tokens_cached=0, tokens_cache_write=4000, tokens_out=1000),
        attempt(tokens_in=4000, tokens_cached=0, tokens_cache_write=4000, tokens_out=2000),
        attempt(tokens_in=6100, tokens_cached=0, tokens_cache_write=6100, tokens_out=2000),
    ]

    worst = spending.worst_case(price=dear, characters=8000, max_tokens=1000)

    costs = [spending.cost_of(call, [dear]) or Decimal(0) for call in calls]
    assert worst is not None
    assert worst >= sum(costs)


def test_the_price_of_the_attempts_own_day_counts() -> None:
    old, new = price(valid_from=date(2026, 1, 1)), price(input_usd="4", valid_from=DAY)
    later = price(input_usd="8", valid_from=date(2026, 11, 22))

    assert spending.price_on([later, new, old], DAY) is new
    assert spending.price_on([later, new, old], date(2026, 11, 20)) is old


@pytest.mark.parametrize(
    ("made", "prices"),
    [
        (attempt(), []),
        (attempt(), [price(valid_from=date(2026, 11, 22))]),
        (attempt(tokens_in=None), [price()]),
        (attempt(tokens_out=None), [price()]),
    ],
)
def test_what_is_not_known_has_no_cost_rather_than_none(made: Attempt, prices: list[Price]) -> None:
    assert spending.cost_of(made, prices) is None
    assert spending.total([made], [None]) is None


def test_a_refused_call_costs_nothing_and_a_silent_one_its_share_of_the_reservation() -> None:
    refused = attempt(AttemptStatus.RATE_LIMITED, tokens_in=None, tokens_out=None)
    silent = attempt(AttemptStatus.TIMEOUT, tokens_in=None, tokens_out=None)

    paid = spending.payable(
        [refused, silent, attempt()], [None, None, Decimal("0.1")], reserved=Decimal("0.3")
    )

    assert paid == Decimal("0.2")
    assert spending.total([refused, attempt()], [None, Decimal("0.1")]) == Decimal("0.1")
    assert spending.total([silent, attempt()], [None, Decimal("0.1")]) is None


def test_the_worst_case_covers_every_call_that_may_follow() -> None:
    worst = spending.worst_case(price=price(), characters=8000, max_tokens=1000)
    first = attempt(tokens_in=4000, tokens_cached=0, tokens_out=1000)
    second = attempt(tokens_in=4000, tokens_cached=0, tokens_out=2000)
    repair = attempt(tokens_in=4000 + 2000 + 100, tokens_cached=0, tokens_out=2000)

    costs = [spending.cost_of(each, [price()]) for each in (first, second, repair)]

    assert worst is not None
    assert worst >= sum(cost for cost in costs if cost is not None)
    assert spending.worst_case(price=None, characters=8000, max_tokens=1000) is None


@pytest.mark.django_db
def test_what_does_not_fit_is_refused_and_what_does_is_granted() -> None:
    amounts = [Decimal("0.4"), Decimal("0.7"), Decimal("0.6")]

    granted = spending.reserve(
        asked=[("a", amount) for amount in amounts], day=DAY, limit=Decimal(1)
    )

    assert granted == [True, False, True]
    assert account("a") == account(ALL_MODELS) == (Decimal(1), Decimal(0), 0)


@pytest.mark.django_db
def test_the_limit_is_of_all_models_together_and_of_one_day() -> None:
    amount, limit, next_day = Decimal("0.6"), Decimal(1), date(2026, 11, 22)

    assert spending.reserve(asked=[("a", amount)], day=DAY, limit=limit) == [True]
    assert spending.reserve(asked=[("b", amount)], day=DAY, limit=limit) == [False]
    assert spending.reserve(asked=[("b", amount)], day=next_day, limit=limit) == [True]


@pytest.mark.django_db
def test_without_a_limit_everything_is_granted_and_counted() -> None:
    granted = spending.reserve(asked=[("a", Decimal(900))] * 3, day=DAY, limit=None)

    assert granted == [True] * 3
    assert account(ALL_MODELS)[0] == Decimal(2700)


@pytest.mark.django_db
def test_a_settled_reservation_is_given_back_once_however_often_it_is_settled() -> None:
    evaluation = reserved(make_evaluation(make_signal(), model="a"), "0.5")
    bill = Bill(evaluation=evaluation, model="a", spent_usd=Decimal("0.1"), calls=2, day=DAY)

    spending.settle([bill])
    spending.settle(
        [Bill(evaluation=evaluation, model="a", spent_usd=Decimal(0), calls=0, day=DAY)]
    )

    assert account("a") == account(ALL_MODELS) == (Decimal(0), Decimal("0.1"), 2)


def reserved(evaluation: Evaluation, amount: str) -> Evaluation:
    assert spending.reserve(asked=[("a", Decimal(amount))], day=DAY, limit=None) == [True]
    evaluation.reserved_usd, evaluation.reserved_on = Decimal(amount), DAY
    spending.hold([evaluation])
    return evaluation


def in_threads(work: Callable[[int], None], *, count: int) -> None:
    start = Barrier(count)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))


@pytest.mark.django_db(transaction=True)
def test_sixty_workers_at_once_never_reserve_more_than_the_limit() -> None:
    limit = Decimal(5)
    granted: list[Decimal] = []

    def work(number: int) -> None:
        rng = Random(number)
        models = [f"m{number % 4}", f"m{number % 3}"]
        for _ in range(5):
            amounts = [Decimal(rng.randint(1, 120)) / 1000 for _ in range(rng.randint(1, 3))]
            asked = [(rng.choice(models), amount) for amount in amounts]
            answers = spending.reserve(asked=asked, day=DAY, limit=limit)
            granted.extend(a for a, is_in in zip(amounts, answers, strict=True) if is_in)

    in_threads(work, count=60)

    together = account(ALL_MODELS)[0]
    models = Spend.objects.filter(day=DAY).exclude(model=ALL_MODELS)
    assert together == sum(granted) <= limit
    assert together > limit - Decimal("0.12")  # all that fits was given out
    assert sum(row.reserved_usd for row in models) == together


@pytest.mark.django_db(transaction=True)
def test_workers_that_reserve_and_settle_at_once_keep_the_books_straight() -> None:
    signal = make_signal()
    rows = [make_evaluation(signal, model=f"m{n % 3}", run=n + 1) for n in range(50)]
    limit = Decimal(2)

    def work(number: int) -> None:
        row, amount = rows[number], Decimal(number % 7 + 1) / 100
        if spending.reserve(asked=[(row.model, amount)], day=DAY, limit=limit) != [True]:
            return
        row.reserved_usd, row.reserved_on = amount, DAY
        spending.hold([row])
        bill = Bill(evaluation=row, model=row.model, spent_usd=amount / 2, calls=1, day=DAY)
        spending.settle([bill])

    in_threads(work, count=50)

    held, spent, calls = account(ALL_MODELS)
    models = Spend.objects.filter(day=DAY).exclude(model=ALL_MODELS)
    assert held == 0
    assert calls == 50
    assert spent == sum(Decimal(n % 7 + 1) / 200 for n in range(50)) <= limit
    assert sum(row.spent_usd for row in models) == spent
    assert not Evaluation.objects.exclude(reserved_usd=None).exists()
