"""What is known of the vendors' models: shipped as data, kept in rows, corrected by operators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from django.db import transaction

from evaluation.models import ModelCard, Price
from evaluation.types import Card

SHIPPED = Path(__file__).with_name("model_cards.json")


@cache
def shipped() -> Mapping[str, Any]:
    """Return the cards of the file: ``defaults`` by provider, and ``models``, null is unknown."""
    found: dict[str, Any] = json.loads(SHIPPED.read_text("utf-8"))
    return found


def load_shipped(*, using: str) -> None:
    """Add the shipped cards and prices that no row stands for; rows that stand are left alone.

    What operators and probes have written stays; delete a row to have it shipped again. A price
    of which a part is unknown is no price and is left out.
    """
    with transaction.atomic(using=using):
        _add_cards(using)
        _add_prices(using)


def _add_cards(using: str) -> None:
    wanted = [_row(card) for card in shipped()["models"]]
    ModelCard.objects.using(using).bulk_create(wanted, ignore_conflicts=True)


def _add_prices(using: str) -> None:
    rows = ModelCard.objects.using(using).all()
    ids = {(row.provider, row.model_id): row.id for row in rows}
    wanted = [
        Price(
            card_id=ids[card["provider"], card["model_id"]],
            valid_from=date.fromisoformat(price["valid_from"]),
            input_usd=Decimal(price["input_usd"]),
            cached_usd=_amount(price["cached_usd"]),
            cache_write_usd=_amount(price.get("cache_write_usd")),
            output_usd=Decimal(price["output_usd"]),
        )
        for card in shipped()["models"]
        for price in card["prices"]
        if None not in (price["input_usd"], price["output_usd"])
    ]
    Price.objects.using(using).bulk_create(wanted, ignore_conflicts=True)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _row(card: Mapping[str, Any]) -> ModelCard:
    guess = default_card(provider=card["provider"], model_id=card["model_id"])
    return ModelCard(
        provider=card["provider"],
        model_id=card["model_id"],
        api=card["api"] or guess.api,
        structured=card["structured"] or guess.structured,
        supports_seed=_known(card["supports_seed"], guess.supports_seed),
        supports_temperature=_known(card["supports_temperature"], guess.supports_temperature),
        effort=card["effort"],
        context_tokens=card["context_tokens"],
        output_tokens=card["output_tokens"],
        knowledge_cutoff=card["knowledge_cutoff"] or "",
        retire_on=date.fromisoformat(card["retire_on"]) if card["retire_on"] else None,
        source=card["source"],
    )


def _known(said: bool | None, guess: bool) -> bool:
    return guess if said is None else said


def default_card(*, provider: str, model_id: str) -> Card:
    """Return what holds for a provider's models of which nothing more is known."""
    return Card(provider=provider, model_id=model_id, **shipped()["defaults"][provider])


def card_of(row: ModelCard | None, *, provider: str, model_id: str) -> Card:
    """Return a row as evaluators take it, or the provider's default when there is none."""
    if row is None:
        return default_card(provider=provider, model_id=model_id)
    return Card(
        provider=row.provider,
        model_id=row.model_id,
        api=row.api,
        structured=row.structured,
        supports_seed=row.supports_seed,
        supports_temperature=row.supports_temperature,
        effort=row.effort,
        context_tokens=row.context_tokens,
        output_tokens=row.output_tokens,
        knowledge_cutoff=row.knowledge_cutoff,
    )
