"""A new model of a known vendor is configuration only, and what is wrong with it is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from pytest_django import Settings

from evaluation import cards, checks, services
from evaluation.evaluators.vendor_policy import PROVIDERS
from evaluation.models import ModelCard, ModelState, Price, Spend
from evaluation.types import ALL_MODELS
from lens_site import env, wiring
from lens_site.checks import check_names
from tests.fake_vendors import Vendors

Name = Callable[..., None]


@pytest.fixture
def name(settings: Settings) -> Iterator[Name]:
    """Name the models of the house, each with its MODEL_<NAME>_* settings."""

    def make(**models: dict[str, str]) -> None:
        given = {model: wiring.MODEL_SETTINGS | fields for model, fields in models.items()}
        settings.AI_MODELS = tuple(models)
        settings.EVALUATORS = wiring.evaluators(
            names=list(models), ensemble={}, rules={}, language=given, deadline_ms=10_000
        )
        services.evaluators.cache_clear()

    yield make
    services.evaluators.cache_clear()


def complaints() -> list[str]:
    found = [*checks.check_models(), *checks.check_policy(), *checks.check_retirement()]
    return [f"{message.msg} {message.hint or ''}".strip() for message in found]


def test_a_nickname_and_a_key_are_enough(name: Name) -> None:
    name(chatgpt={"API_KEY": "k"}, claude={"API_KEY": "k"}, ensemble={})

    assert complaints() == []
    model: Any = services.evaluators()["chatgpt"]
    assert (model.provider, model.model_id, model.api_key) == ("openai", "gpt-6-luna", "k")


def test_two_models_of_one_vendor_differ_by_settings_alone(name: Name) -> None:
    name(
        fast={"PROVIDER": "openai", "API_KEY": "k", "MODEL_ID": "gpt-6-luna", "MAX_TOKENS": "500"},
        slow={"PROVIDER": "chatgpt", "API_KEY": "k", "MODEL_ID": "gpt-6-sol", "TIMEOUT_MS": "4000"},
    )

    assert complaints() == []
    fast: Any = services.evaluators()["fast"]
    slow: Any = services.evaluators()["slow"]
    assert (fast.model_id, fast.max_tokens, fast.timeout_s) == ("gpt-6-luna", 500, 10.0)
    assert (slow.model_id, slow.provider, slow.timeout_s) == ("gpt-6-sol", "openai", 4.0)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_starts_from_settings(name: Name, provider: str) -> None:
    url = "http://127.0.0.1:9/v1" if provider == "compatible" else ""
    name(mine={"PROVIDER": provider, "API_KEY": "k", "MODEL_ID": "some-model", "BASE_URL": url})

    assert complaints() == []
    model: Any = services.evaluators()["mine"]
    assert model.provider == provider


def test_every_backend_that_is_wired_exists() -> None:
    from django.utils.module_loading import import_string

    for provider, backends in wiring.BACKENDS.items():
        for path in backends.values():
            assert import_string(path).provider == provider


@pytest.mark.parametrize(
    ("model", "fields", "complaint"),
    [
        ("chatgpt", {}, "The model 'chatgpt' has no key: set MODEL_CHATGPT_API_KEY."),
        ("chatgtp", {}, "AI_MODELS names 'chatgtp', which is no model we know. Did you mean"),
        ("zebra", {}, "Say who it is: MODEL_ZEBRA_PROVIDER."),
        ("jury", {"PROVIDER": "openai"}, "'jury', which cannot be the name of a model."),
        ("Mine", {"PROVIDER": "openai"}, "'Mine', which cannot be the name of a model."),
        ("mine", {"PROVIDER": "opnai"}, "is 'opnai', which is no provider we know. Did you mean"),
        ("qwen", {"API_KEY": "k"}, "may be any of qwen: set MODEL_QWEN_MODEL_ID."),
        ("chatgpt", {"API_KEY": "k", "API": "soap"}, "MODEL_CHATGPT_API is 'soap', which openai"),
        ("compatible", {"MODEL_ID": "m"}, "MODEL_COMPATIBLE_BASE_URL must name the address"),
        ("chatgpt", {"API_KEY": "k", "BASE_URL": "http://far.example/v1"}, "must be https"),
        ("chatgpt", {"API_KEY": "k", "BASE_URL": "https://u:p@far.example"}, "no user name"),
        ("chatgpt", {"API_KEY": "k", "BASE_URL": "https://169.254.169.254/v1"}, "private address"),
        ("chatgpt", {"API_KEY": "k", "BASE_URL": "https://2852039166/v1"}, "private address"),
        ("chatgpt", {"API_KEY": "k", "BASE_URL": "ftp://far.example"}, "must begin with https"),
        ("chatgpt", {"API_KEY": "k", "BASE_URL": "https://[::1"}, "is no address"),
        (
            "chatgpt",
            {"API_KEY": "k", "MODEL_ID": "gpt-4-turbo"},
            "is gpt-4-turbo, which its vendor ended on 2026-10-23. Name another in",
        ),
    ],
)
def test_what_is_wrong_with_a_model_is_said_in_one_sentence(
    name: Name, model: str, fields: dict[str, str], complaint: str
) -> None:
    name(**{model: fields})

    assert any(complaint in text for text in complaints()), complaints()


def test_a_policy_refuses_at_configuration_and_at_the_start(name: Name, settings: Settings) -> None:
    settings.LLM_POLICY = "no_openai"
    name(mine={"PROVIDER": "openrouter", "API_KEY": "k", "MODEL_ID": "openai/gpt-6-sol"})

    assert any("may not be asked: LLM_POLICY denies openai" in text for text in complaints())
    model: Any = services.evaluators()["mine"]
    assert model.policy.refusal(provider="openrouter", model_id="openai/gpt-6-sol") is not None


def test_a_policy_that_cannot_be_read_lets_no_model_start(name: Name, settings: Settings) -> None:
    settings.LLM_POLICY = "no_opnai"
    name(chatgpt={"API_KEY": "k"})

    assert any("LLM_POLICY cannot be followed" in text for text in complaints())
    with pytest.raises(ImproperlyConfigured, match="no preset is named"):
        services.evaluators()


def test_keys_that_are_set_name_their_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_CLAUDE_API_KEY", "k")
    monkeypatch.setenv("MODEL_GPT_FAST_API_KEY_FILE", "/run/secrets/k")
    monkeypatch.setenv("MODEL_QWEN_API_KEY", "")

    assert env.members("MODEL_<NAME>_API_KEY") == ("claude", "gpt_fast")


def test_a_misspelt_setting_of_a_model_is_named_with_what_was_meant(settings: Settings) -> None:
    settings.MODEL_SETTING_NAMES = frozenset({"MODEL_CHATGPT_API_KEY"})
    settings.UNKNOWN_SETTINGS = ["MODEL_CHATGPT_APIKEY", "MODEL_CLAUDE_MODEL_ID"]

    misspelt, idle = check_names()

    assert misspelt.hint == "Did you mean MODEL_CHATGPT_API_KEY?"
    assert idle.hint == "AI_MODELS does not name that model."


def test_an_amount_is_read_exactly_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_X", "0.10")
    assert env.amount("LLM_X", "1") == Decimal("0.10")
    monkeypatch.setenv("LLM_X", "")
    assert env.amount("LLM_X", "1") is None
    monkeypatch.setenv("LLM_X", "-1")
    with pytest.raises(ImproperlyConfigured, match="LLM_X is '-1', which is no amount"):
        env.amount("LLM_X", "1")
    del env.NAMES["LLM_X"]


@pytest.mark.django_db
def test_shipped_cards_are_stored_and_never_overwrite_an_operator() -> None:
    card = ModelCard.objects.get(provider="openai", model_id="gpt-6-luna")
    assert card.prices.get().output_usd == Decimal("0.5")
    ModelCard.objects.filter(id=card.id).update(supports_seed=True, source="ann")
    card.prices.update(output_usd=Decimal(9))

    cards.load_shipped(using="default")

    card.refresh_from_db()
    assert (card.supports_seed, card.source) == (True, "ann")
    assert card.prices.get().output_usd == Decimal(9)


@pytest.mark.django_db
def test_a_price_of_which_a_part_is_unknown_is_not_stored() -> None:
    assert ModelCard.objects.filter(model_id="gemini-3.8-flash").exists()
    assert not Price.objects.filter(card__model_id="gemini-3.8-flash").exists()


def test_shipped_cards_name_known_providers_and_their_source() -> None:
    shipped = cards.shipped()

    assert set(shipped["defaults"]) == set(PROVIDERS)
    for card in shipped["models"]:
        assert card["provider"] in PROVIDERS
        assert card["source"]


def run_models(*arguments: str) -> str:
    out = StringIO()
    call_command("models", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_list_shows_price_state_and_what_was_spent_today(name: Name) -> None:
    name(chatgpt={"API_KEY": "secret-key"}, ensemble={})

    rows = {row["name"]: row for row in json.loads(run_models("list", "--json"))}
    text = run_models("list")

    assert rows["chatgpt"]["price"] == "0.1 in / 0.5 out"
    assert rows["chatgpt"]["state"] == "ready"
    assert rows["ensemble"]["state"] == "judges by numbers"
    assert "all language models today: 0 USD, of 10 USD" in text
    assert "secret-key" not in text


@pytest.mark.django_db
def test_models_are_switched_from_the_shell(name: Name) -> None:
    name(chatgpt={"API_KEY": "k"}, ensemble={})

    assert "chatgpt is asked no more" in run_models("disable", "chatgpt", "--why", "too dear")
    assert "off (too dear)" in run_models("list")
    run_models("enable", "chatgpt")
    assert ModelState.objects.get(name="chatgpt").is_enabled
    assert "Every language model is asked no more" in run_models("disable", ALL_MODELS)
    with pytest.raises(CommandError, match="'ensemble' is no language model"):
        run_models("disable", "ensemble")


@pytest.mark.django_db
def test_a_probe_tells_its_price_first_and_keeps_what_it_found(
    name: Name, fake_vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    name(
        chatgpt={"API_KEY": "k", "BASE_URL": fake_vendors.url("openai")},
        gemini={"API_KEY": "k", "BASE_URL": fake_vendors.url("gemini")},
    )
    monkeypatch.setattr("builtins.input", lambda _: "n")

    refused = run_models("probe", "chatgpt")

    assert "chatgpt: 4 requests to openai gpt-6-luna, at most 0." in refused
    assert "Nothing was sent." in refused
    assert fake_vendors.ledger()["calls"] == []
    told = run_models("probe", "--yes")
    assert "schema      yes" in told
    card = ModelCard.objects.get(model_id="gpt-6-luna")
    assert card.probed_at is not None
    assert card.probe["schema"]["held"] is True
    assert card.probe["seed"] == {"held": None, "note": "this API takes no seed"}
    assert card.probe["temperature"]["held"] is card.supports_temperature is True
    assert ModelCard.objects.get(model_id="gemini-3.8-flash").probe["seed"]["held"] is True
    assert Spend.objects.get(model="chatgpt").calls == 3
    assert Spend.objects.get(model="gemini").calls == 4


@pytest.mark.django_db
def test_a_wish_that_a_vendor_refuses_is_struck_from_the_card(
    name: Name, fake_vendors: Vendors
) -> None:
    card = ModelCard.objects.get(model_id="gpt-6-luna")
    card.supports_temperature = True
    card.save()
    name(chatgpt={"API_KEY": "k", "BASE_URL": fake_vendors.url("openai")})
    fake_vendors.script("400")

    told = run_models("probe", "chatgpt", "--yes")

    card.refresh_from_db()
    assert "temperature NO" in told
    assert (card.probe["temperature"]["held"], card.supports_temperature) == (False, False)


@pytest.mark.django_db
def test_a_model_that_the_policy_denies_is_not_probed(name: Name, settings: Settings) -> None:
    settings.LLM_POLICY = "no_openai"
    name(chatgpt={"API_KEY": "k"})

    with pytest.raises(CommandError, match="LLM_POLICY denies openai"):
        run_models("probe", "chatgpt", "--yes")
