"""The language models on the shell: what is known of them, trying them, switching them."""

from __future__ import annotations

import asyncio
import getpass
import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from evaluation import admission, probing, queries, spending
from evaluation.evaluators.llm import LLM
from evaluation.services import evaluators
from evaluation.types import ALL_MODELS


class Command(BaseCommand):
    help = "List language models, probe what they can do, and switch them on and off."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
        listing = verbs.add_parser("list", help="models with price, state and what they cost today")
        listing.add_argument("--json", action="store_true", help="one JSON array")
        trial = verbs.add_parser("probe", help="try with four small requests what models do")
        trial.add_argument("names", nargs="*", metavar="model", help="all language models")
        trial.add_argument("--yes", action="store_true", help="do not ask before spending")
        for verb, text in (("enable", "let a model be asked"), ("disable", "ask it no more")):
            switch = verbs.add_parser(verb, help=f"{text}; '*' means every language model")
            switch.add_argument("name", metavar="model")
            switch.add_argument("--why", default="", help="kept with the switch")

    def handle(self, **options: Any) -> None:
        now = timezone.now()
        if options["verb"] == "list":
            self._list(as_json=options["json"], now=now)
        elif options["verb"] == "probe":
            self._probe(options["names"], is_sure=options["yes"], now=now)
        else:
            is_enabled = options["verb"] == "enable"
            self._switch(options["name"], is_enabled=is_enabled, why=options["why"], now=now)

    def _list(self, *, as_json: bool, now: datetime) -> None:
        rows = [_row(name, now=now) for name in evaluators()]
        if as_json:
            self.stdout.write(json.dumps(rows))
            return
        for row in rows:
            self.stdout.write(
                f"{row['name']:<14} {row['state']:<28} {row['provider']:<11} {row['model_id']:<24}"
                f" {row['price']:<26} today: {row['spent_usd']} USD, {row['calls']} calls"
            )
            for note in row["notes"]:
                self.stdout.write(f"{'':<14} {note}")
        together = spending.spent_on(now.date()).get(ALL_MODELS)
        spent = "0" if together is None else f"{together.spent_usd + together.reserved_usd:f}"
        limit = settings.LLM_BUDGET_USD_PER_DAY
        most = "no limit" if limit is None else f"of {limit} USD"
        self.stdout.write(f"all language models today: {spent} USD, {most}")
        self._say_switched_off()

    def _say_switched_off(self) -> None:
        together = admission.list_states().get(ALL_MODELS)
        if together is not None and not together.is_enabled:
            self.stdout.write(f"every language model is switched off by {together.changed_by}")

    def _probe(self, names: list[str], *, is_sure: bool, now: datetime) -> None:
        plans = [self._plan(name, now=now) for name in names or _language_models()]
        if not plans:
            raise CommandError("AI_MODELS names no language model.")
        for plan in plans:
            most = (
                "at a price that is not known" if plan.most_usd is None else f"{plan.most_usd} USD"
            )
            self.stdout.write(
                f"{plan.evaluator.name}: {probing.REQUESTS} requests to {plan.card.provider}"
                f" {plan.card.model_id}, at most {most}"
            )
        if not is_sure and input("Send them? [y/N] ").strip().lower() not in {"y", "yes"}:
            self.stdout.write("Nothing was sent.")
            return
        for plan in plans:
            probed = asyncio.run(probing.probe(plan, now=now))
            probing.record_probe(plan=plan, probed=probed, now=now)
            self._say(plan, probed)

    def _plan(self, name: str, *, now: datetime) -> probing.Plan:
        evaluator = evaluators().get(name)
        if not isinstance(evaluator, LLM):
            known = ", ".join(_language_models()) or "none"
            raise CommandError(f"{name!r} is no language model of AI_MODELS; there are: {known}.")
        try:
            return probing.plan_probe(evaluator=evaluator, now=now)
        except probing.ProbeRefused as error:
            raise CommandError(f"{name} is not probed: {error}.") from error

    def _say(self, plan: probing.Plan, probed: probing.Probed) -> None:
        signs = {True: "yes", False: "NO", None: "?"}
        for what, finding in probed.findings.items():
            self.stdout.write(
                f"{plan.evaluator.name:<14} {what:<11} {signs[finding.held]:<4} {finding.note}"
            )
        cost = "unknown" if probed.cost_usd is None else f"{probed.cost_usd} USD"
        answered = probed.reported or "nobody"
        self.stdout.write(f"{plan.evaluator.name:<14} answered as {answered}; cost: {cost}")

    def _switch(self, name: str, *, is_enabled: bool, why: str, now: datetime) -> None:
        if name != ALL_MODELS and name not in _language_models():
            known = ", ".join([*_language_models(), ALL_MODELS])
            raise CommandError(f"{name!r} is no language model of AI_MODELS; there are: {known}.")
        actor = f"shell:{getpass.getuser()}"
        admission.switch(name=name, is_enabled=is_enabled, actor=actor, why=why, now=now)
        whom = "Every language model" if name == ALL_MODELS else name
        self.stdout.write(f"{whom} is {'asked again' if is_enabled else 'asked no more'}.")


def _language_models() -> list[str]:
    return [name for name, evaluator in evaluators().items() if isinstance(evaluator, LLM)]


def _row(name: str, *, now: datetime) -> dict[str, Any]:
    evaluator = evaluators()[name]
    blank = {"name": name, "provider": "-", "model_id": "-", "price": "free", "notes": []}
    if not isinstance(evaluator, LLM):
        return {**blank, "state": "judges by numbers", "spent_usd": "0", "calls": 0}
    key = (evaluator.provider, evaluator.model_id)
    card = queries.list_cards(wanted={key}).get(key)
    spend = spending.spent_on(now.date()).get(name)
    price = None if card is None else spending.price_on(tuple(card.prices.all()), now.date())
    notes = []
    if card is not None and card.retire_on is not None:
        notes.append(f"its vendor ends it on {card.retire_on}")
    if card is not None and card.probed_at is not None:
        held = ", ".join(
            what
            for what in ("schema", "truncation", "seed", "temperature")
            if _held(card.probe, what)
        )
        notes.append(f"probed on {card.probed_at:%Y-%m-%d}: {held or 'nothing'} held")
    if card is None:
        notes.append("no card: taken for an ordinary model of its provider")
    return {
        **blank,
        "provider": evaluator.provider,
        "model_id": evaluator.model_id,
        "price": "price unknown"
        if price is None
        else f"{price.input_usd.normalize():f} in / {price.output_usd.normalize():f} out",
        "state": _state(name, now=now),
        "spent_usd": "0" if spend is None else f"{spend.spent_usd:f}",
        "calls": 0 if spend is None else spend.calls,
        "notes": notes,
    }


def _held(probe: dict[str, Any], what: str) -> bool:
    return (probe.get(what) or {}).get("held") is True


def _state(name: str, *, now: datetime) -> str:
    state = admission.list_states().get(name)
    if state is None:
        return "ready"
    if not state.is_enabled:
        return f"off ({state.why or state.changed_by})"
    if state.open_until is not None and state.open_until > now:
        return f"left alone until {state.open_until:%H:%M:%S}"
    return f"{state.faults_in_row} faults in a row" if state.faults_in_row else "ready"
