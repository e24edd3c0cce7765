"""Who may be called is told by who really answers, not by what a model is nicknamed."""

from __future__ import annotations

import json

import pytest

from evaluation.evaluators.vendor_policy import BadPolicy, VendorPolicy, resolve_vendors

NO_OPENAI = VendorPolicy.from_setting("no_openai")


@pytest.mark.parametrize(
    ("provider", "model_id", "base_url"),
    [
        ("openai", "whatever-comes", ""),
        ("chatgpt", "gpt-6-luna", ""),
        ("openrouter", "openai/gpt-6-sol", ""),
        ("openrouter", "OpenAI/GPT-6-Sol", ""),
        ("openrouter", "~openai/o9", ""),
        ("openrouter", "openrouter/auto", ""),
        ("compatible", "my-model", "https://api.openai.com/v1"),
        ("compatible", "my-model", "https://API.OpenAI.com.:443/v1"),
        ("compatible", "my-model", "https://eu.api.openai.com/v1"),
        ("compatible", "my-model", "https://mine.openai.azure.com/"),
        ("compatible", "my-model", "api.openai.com/v1"),
        ("compatible", "chatgpt-latest", "http://gateway:4000"),
        ("compatible", "azure/my-gpt-6", "http://gateway:4000"),
        ("compatible", "o1", "http://gateway:4000"),
        ("compatible", "o4-mini", "http://gateway:4000"),
        ("compatible", "o3:batch", "http://gateway:4000"),
        ("compatible", "ft:gpt-6-luna:us:1", "http://gateway:4000"),
        ("compatible", "ft:o4-mini:us:1", "http://gateway:4000"),
        ("compatible", "ｇｐｔ-6", "http://gateway:4000"),
        ("ollama", "gpt-oss:20b", "http://127.0.0.1:11434"),
        ("qwen", "gpt-6-luna", ""),
    ],
)
def test_no_openai_refuses_openai_by_whatever_way_it_is_reached(
    provider: str, model_id: str, base_url: str
) -> None:
    refusal = NO_OPENAI.refusal(provider=provider, model_id=model_id, base_url=base_url)

    assert refusal is not None
    assert "LLM_POLICY" in refusal


@pytest.mark.parametrize(
    ("provider", "model_id", "base_url"),
    [
        ("claude", "claude-haiku-5-5", ""),
        ("gemini", "gemini-3.8-flash", ""),
        ("openrouter", "anthropic/claude-sonnet-5-5", "https://openrouter.ai/api/v1"),
        ("compatible", "olmo-2", "http://127.0.0.1:8000/v1"),
        ("compatible", "phi-o1-like", "http://127.0.0.1:8000/v1"),
        ("compatible", "my-model", "https://notopenai.com/v1"),
        ("compatible", "my-model", "https://api.openai.com.evil.example/v1"),
        ("ollama", "llama4:8b", "http://127.0.0.1:11434"),
        ("deepseek", "deepseek-flash", "https://api.deepseek.com"),
    ],
)
def test_no_openai_lets_everyone_else_be_called(
    provider: str, model_id: str, base_url: str
) -> None:
    assert NO_OPENAI.refusal(provider=provider, model_id=model_id, base_url=base_url) is None


def test_without_a_policy_nothing_is_refused() -> None:
    policy = VendorPolicy.from_setting("  ")

    assert policy.refusal(provider="openai", model_id="gpt-6-luna") is None


def test_model_patterns_are_denied_with_and_without_their_namespace() -> None:
    policy = VendorPolicy.from_setting('{"deny": {"models": ["*-preview", "mistralai/*"]}}')

    assert policy.refusal(provider="openrouter", model_id="google/gemini-4-preview") is not None
    assert policy.refusal(provider="openrouter", model_id="mistralai/large") is not None
    assert policy.refusal(provider="openrouter", model_id="google/gemini-4") is None


def test_what_is_allowed_must_cover_the_carrier_and_the_maker() -> None:
    policy = VendorPolicy.from_setting('{"allow": {"providers": ["openrouter", "anthropic"]}}')

    assert policy.refusal(provider="openrouter", model_id="anthropic/claude-opus-5-5") is None
    assert "gemini" in str(policy.refusal(provider="openrouter", model_id="google/gemini-4"))
    assert "deepseek" in str(policy.refusal(provider="deepseek", model_id="deepseek-flash"))


def test_allowed_models_shut_out_all_others() -> None:
    policy = VendorPolicy.from_setting('{"allow": {"models": ["claude-*"]}}')

    assert policy.refusal(provider="claude", model_id="claude-haiku-5-5") is None
    assert policy.refusal(provider="gemini", model_id="gemini-3.8-flash") is not None


def test_a_preset_can_be_sharpened() -> None:
    policy = VendorPolicy.from_setting('{"preset": "no_openai", "deny": {"providers": ["qwen"]}}')

    assert policy.deny_providers == ("openai", "qwen")


@pytest.mark.parametrize(
    "text",
    [
        "no_opnai",
        "{",
        '{"deni": {}}',
        '{"deny": ["openai"]}',
        '{"deny": {"vendors": ["openai"]}}',
        '{"deny": {"providers": "openai"}}',
        '{"deny": {"providers": ["opnai"]}}',
        '{"deny": {"models": [1]}}',
        '{"preset": "other"}',
        '{"preset": ["no_openai"]}',
    ],
)
def test_a_policy_that_cannot_be_followed_to_the_letter_is_refused(text: str) -> None:
    with pytest.raises(BadPolicy):
        VendorPolicy.from_setting(text)


def test_deny_wins_over_allow() -> None:
    both = {"deny": {"providers": ["claude"]}, "allow": {"providers": ["claude"]}}

    policy = VendorPolicy.from_setting(json.dumps(both))

    assert policy.refusal(provider="claude", model_id="claude-haiku-5-5") is not None


def test_carrier_host_and_maker_are_all_found() -> None:
    vendors = resolve_vendors(
        provider="compatible",
        model_id="anthropic/claude-opus-5-5",
        base_url="https://openrouter.ai/api/v1",
    )

    assert vendors == {"compatible", "openrouter", "claude"}
