"""Stored signals are judged again from the shell, and the difference is shown to all readers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings as configured
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from decisions.models import Decision
from enrichment.models import Enrichment
from evaluation import rerunning, services
from evaluation.evaluators.base import Abstained
from evaluation.evaluators.scripted import Scripted
from evaluation.jobs import EVALUATE
from evaluation.models import Evaluation, ModelCard, Price, PromptVersion, Rerun, Spend
from evaluation.queries import Selection
from evaluation.types import AttemptStatus, Case, Verdict
from lens_site import rejudging, rerun_diff
from pipeline.models import Heartbeat
from signals.models import Signal
from signals.types import SignalStatus
from tests.factories import NOON, make_decision, make_enrichment, make_evaluation, make_signal
from tests.running import run_stage
from tests.site.desk import Turning, report_programs

pytestmark = pytest.mark.django_db(transaction=True)

PAYLOAD = '{"as_of":"2026-01-15T12:00:00Z"}'
Make = Callable[..., APIClient]


class Moody(Scripted):
    """Ignores what is on ETH, knows nothing of XRP, follows the rest with another reason."""

    def judge(self, case: Case) -> Verdict:
        if case.symbol == "XRP":
            raise Abstained("never heard of it", status=AttemptStatus.INSUFFICIENT_DATA)
        self.follow = case.symbol != "ETH"
        said = super().judge(case)
        return Verdict(
            action=said.action,
            confidence=0.6,
            reasons=("no_trend", "good_rr_ratio"),
            size_pct=12.5 if self.follow else 0.0,
        )


class Talker(Scripted):
    """Stands for a language model: it reads a prompt and has a price."""

    provider = "openai"
    model_id = "gpt-x"
    max_tokens = 100


@pytest.fixture(autouse=True)
def _house(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the moody model and the talker judge, and waiting turn the conveyor."""
    settings.AI_MODELS = ("moody", "talker")
    settings.EVALUATORS = {"moody": {}, "talker": {"PROVIDER": "openai", "PROMPT": "trial"}}
    found = {"moody": Moody(name="moody"), "talker": Talker(name="talker")}
    monkeypatch.setattr(services, "evaluators", lambda: found)
    monkeypatch.setattr("lens_site.progress.time.sleep", Turning().pause)
    report_programs(at=datetime.now(UTC))
    yield


def judged(**changes: Any) -> Signal:
    """Return a published signal with frozen facts."""
    signal = make_signal(**({"status": SignalStatus.PUBLISHED} | changes))
    make_enrichment(
        signal, payload=PAYLOAD, payload_sha256=hashlib.sha256(PAYLOAD.encode()).hexdigest()
    )
    return signal


def judged_first(signal: Signal, **changes: Any) -> Evaluation:
    """Let the moody model have followed the signal when it was new."""
    verdict = {
        "action": "FOLLOW_ENTER",
        "confidence": 0.9,
        "size_pct": 40.0,
        "reasons": ["bullish_trend", "no_trend"],
    }
    values = {"model": "moody", "status": "DECIDED", "outcome": "ok", "verdict": verdict}
    return make_evaluation(signal, **(values | changes))


def again(**selected: Any) -> Rerun:
    """Return a finished rerun with the moody model."""
    plan = rerunning.plan_rerun(
        selection=Selection(**selected),
        evaluator=services.evaluators()["moody"],
        prompt=None,
        now=NOON,
    )
    rerun = rerunning.start_rerun(plan=plan, actor="tester", now=NOON)
    run_stage(EVALUATE)
    return rerun


def four() -> list[Signal]:
    """Return a signal that stays the same, one that changes, one that ends silent, a new one."""
    same, changed, silent = judged(), judged(symbol="ETH"), judged(symbol="XRP")
    for signal in (same, changed, silent):
        judged_first(signal)
    return [same, changed, silent, judged()]


def command(*arguments: str) -> tuple[str, str, int]:
    out, errors, code = StringIO(), StringIO(), 0
    try:
        call_command("reevaluate", *arguments, stdout=out, stderr=errors)
    except SystemExit as left:
        code = int(str(left.code))
    return out.getvalue(), errors.getvalue(), code


def make_prompt(*, version: int = 1, status: str = "ACTIVE") -> PromptVersion:
    return PromptVersion.objects.create(
        name="trial",
        version=version,
        system="Judge. {{question}}",
        user="{{signal}}",
        sha256="5" * 64,
        status=status,
        created_at=NOON,
        created_by="tester",
    )


def test_old_and_new_word_stand_side_by_side() -> None:
    same, changed, silent, new = four()

    found = rerun_diff.list_differences(rerun=again(), limit=10)

    assert [each.evaluation.signal for each in found] == [same, changed, silent, new]
    assert [each.change for each in found] == ["SAME", "DIFFERENT", "DIFFERENT", "NEW"]
    first = found[0]
    assert first.before is not None and first.after is not None
    assert (first.before.confidence, first.before.size_pct) == (0.9, 40.0)
    assert (first.after.confidence, first.after.size_pct) == (0.6, 12.5)
    assert (first.reasons_added, first.reasons_removed) == (["good_rr_ratio"], ["bullish_trend"])
    third = found[2]
    assert third.after is not None
    assert (third.after.action, third.after.cause) == ("ABSTAINED", "insufficient_data")


def test_a_model_that_was_not_asked_then_is_held_against_the_jury() -> None:
    signal = judged()
    judged_first(signal, model="other")
    make_decision(signal, model="jury", decision="IGNORE", revision=1)
    make_decision(
        signal, model="jury", decision="FOLLOW_ENTER", revision=2, published_at=NOON, seq=1
    )

    [found] = rerun_diff.list_differences(rerun=again(), limit=10)

    assert found.before is not None
    assert (found.before.model, found.before.action) == ("jury", "FOLLOW_ENTER")
    assert (found.change, found.published) == ("SAME", "FOLLOW_ENTER")


def test_what_the_policy_made_of_the_old_word_is_told_apart_from_it() -> None:
    signal = judged()
    judged_first(signal)
    make_decision(signal, model="moody", decision="IGNORE", published_at=NOON, seq=1)

    [found] = rerun_diff.list_differences(rerun=again(), limit=10)

    assert found.before is not None
    assert (found.before.action, found.published) == ("FOLLOW_ENTER", "IGNORE")


def test_the_totals_count_every_signal_once() -> None:
    four()

    totals = rerun_diff.total(rerun=again())

    assert (totals.asked, totals.same, totals.different, totals.new, totals.pending) == (
        4,
        1,
        2,
        1,
        0,
    )
    assert totals.pairs == {
        ("FOLLOW_ENTER", "ABSTAINED"): 1,
        ("FOLLOW_ENTER", "FOLLOW_ENTER"): 1,
        ("FOLLOW_ENTER", "IGNORE"): 1,
        ("NONE", "FOLLOW_ENTER"): 1,
    }
    assert (totals.abstained, totals.inputs_same, totals.contaminated) == (1, 4, 0)


def test_totals_and_pages_go_beyond_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerun_diff, "CHUNK", 2)
    for _ in range(5):
        judged()

    assert rerun_diff.total(rerun=again()).asked == 5


def test_facts_that_were_changed_afterwards_show() -> None:
    judged()
    changed = judged()
    rerun = again()
    forged = PAYLOAD + " "
    Enrichment.objects.filter(event_id=changed.event_id).update(
        payload=forged, payload_sha256=hashlib.sha256(forged.encode()).hexdigest()
    )

    found = rerun_diff.list_differences(rerun=rerun, limit=10)

    assert [each.is_input_same for each in found] == [True, False]


def test_a_new_run_of_the_signal_does_not_change_the_comparison() -> None:
    signal = judged()
    judged_first(signal)
    rerun = again()
    Signal.objects.filter(id=signal.id).update(run=2)

    [found] = rerun_diff.list_differences(rerun=rerun, limit=10)

    assert (found.change, found.is_input_same) == ("SAME", True)


def test_the_command_judges_again_and_ends_with_tables() -> None:
    four()

    out, errors, code = command("--model", "moody", "--yes")

    assert (errors, code) == ("", 0)
    assert "To be judged again by moody: 4 signals, at no cost" in out
    assert "FOLLOW_ENTER -> IGNORE" in out
    assert f"/reruns/{Rerun.objects.get().id}" in out
    assert "\x1b" not in out
    assert not Decision.objects.exists()


def test_the_command_ends_with_one_json_object_for_programs() -> None:
    four()

    out, _, code = command("--model", "moody", "--yes", "--json")

    told = json.loads(out)
    assert code == 0
    assert told["id"] == str(Rerun.objects.get().id)
    assert (told["model"], told["prompt"], told["stopped"]) == ("moody", None, False)
    assert (told["totals"]["asked"], told["totals"]["inputs_same"]) == (4, 4)


def test_only_the_named_signals_are_judged_again() -> None:
    one, _, other = judged(), judged(), judged()

    command(
        "--signals", f"{one.event_id},{other.event_id}", "--limit", "1", "--model", "moody", "--yes"
    )

    asked = Evaluation.objects.order_by("signal_id").values_list("signal_id", flat=True)
    assert list(asked) == [one.id, other.id]


def test_nothing_is_stored_when_nobody_is_there_to_agree() -> None:
    judged()

    _, errors, code = command("--model", "moody")

    assert code == 1
    assert "--yes agrees beforehand" in errors
    assert not Rerun.objects.exists()


@pytest.mark.parametrize(("said", "reruns"), [("y\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_a_person_is_asked_before_anything_is_spent(
    said: str, reruns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged()
    keyboard = StringIO(said)
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", keyboard)

    out, _, code = command("--model", "moody")

    assert "Go on? [y/N]" in out
    assert (Rerun.objects.count(), code) == (reruns, 1 - reruns)


def test_the_price_and_what_the_model_may_remember_are_told_beforehand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged()
    make_prompt()
    card = ModelCard.objects.create(
        provider="openai",
        model_id="gpt-x",
        api="responses",
        structured="json_schema",
        knowledge_cutoff="2026-03",
    )
    Price.objects.create(
        card=card, valid_from=date(2026, 1, 1), input_usd=Decimal(1000), output_usd=Decimal(5000)
    )
    keyboard = StringIO("n\n")
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", keyboard)

    out, _, _ = command("--model", "talker")

    assert "by talker under trial@1: 1 signal, about" in out
    assert re.search(r"up to 100 out: about \$0\.[5-9]\d+, at most \$[1-9]", out)
    assert "budget" not in out
    assert "1 of them are from before the end of the model's knowledge (2026-03)" in out


def test_a_budget_that_does_not_suffice_is_told_beforehand(settings: Settings) -> None:
    settings.LLM_BUDGET_USD_PER_DAY = Decimal("0.30")
    Spend.objects.create(
        day=NOON.date(), model="*", reserved_usd=Decimal("0.05"), spent_usd=Decimal("0.15")
    )
    judged()
    card = ModelCard.objects.create(
        provider="openai", model_id="gpt-x", api="responses", structured="json_schema"
    )
    Price.objects.create(
        card=card, valid_from=date(2026, 1, 1), input_usd=Decimal(0), output_usd=Decimal(2000)
    )
    plan = rejudging.plan_rerun(
        selection=Selection(), model="talker", prompt=f"{make_prompt().name}@1", now=NOON
    )

    assert plan.estimate.usd == Decimal("0.2")
    assert plan.estimate.left_usd == Decimal("0.1")
    assert "$0.10 are left" in rerunning.budget_text(plan=plan)


def test_a_version_of_a_prompt_is_chosen_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    judged()
    make_prompt()
    make_prompt(version=2, status="DRAFT")
    keyboard = StringIO("n\n")
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", keyboard)

    out, _, _ = command("--model", "talker", "--prompt", "trial@2")

    assert "by talker under trial@2" in out
    assert "so the cost is not known" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "nobody"], "no model is called 'nobody'"),
        (["--model", "talker", "--prompt", "trial@9"], "there is no prompt 'trial@9'"),
        (["--model", "talker", "--prompt", "trial@x"], "there is no prompt 'trial@x'"),
        (["--model", "talker", "--prompt", "poem"], "there is no prompt 'poem'"),
        (["--model", "moody", "--prompt", "trial@1"], "moody reads no prompt"),
        (["--model", "moody", "--source", "nobody"], "no stored signal"),
        (["--model", "moody", "--signals", str(UUID(int=1))], "1 of the 1 named signals"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_words(arguments: list[str], told: str) -> None:
    judged()
    make_prompt()

    _, errors, code = command(*arguments, "--yes")

    assert code == 1
    assert told in errors
    assert not Rerun.objects.exists()


@pytest.mark.parametrize(
    "arguments", [["--signals", "one"], ["--limit", "0"], ["--since", "never"], ["--replay", "x"]]
)
def test_options_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=arguments[0]):
        call_command("reevaluate", "--model", "moody", *arguments)


def test_without_a_worker_nothing_begins() -> None:
    judged()
    Heartbeat.objects.filter(kind="worker").update(seen_at=NOON - timedelta(days=1))

    _, errors, code = command("--model", "moody", "--yes")

    assert code == 1
    assert "no worker is running" in errors
    assert not Rerun.objects.exists()


def test_stopping_the_command_leaves_the_rest_to_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    four()

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lens_site.progress.time.sleep", stop)
    out, _, code = command("--model", "moody", "--yes")
    run_stage(EVALUATE)

    assert code == 130
    assert "The 4 that are not judged will be, by themselves." in out
    assert not Evaluation.objects.filter(rerun__isnull=False, status="PENDING").exists()


def test_readers_page_through_a_rerun(api: Make) -> None:
    four()
    rerun = again()
    client = api("decisions:read")

    first = client.get(f"/api/v1/reruns/{rerun.id}?limit=3").json()
    rest = client.get(f"/api/v1/reruns/{rerun.id}?limit=3&cursor={first['next_cursor']}").json()

    assert [each["change"] for each in first["items"] + rest["items"]] == [
        "SAME",
        "DIFFERENT",
        "DIFFERENT",
        "NEW",
    ]
    assert rest["next_cursor"] is None
    assert (first["totals"]["asked"], rest["totals"]) == (4, None)
    shown = first["items"][0]
    assert shown["before"]["action"] == shown["after"]["action"] == "FOLLOW_ENTER"
    assert shown["payload_sha256"] == hashlib.sha256(PAYLOAD.encode()).hexdigest()
    assert shown["input_same"] is True


def test_the_latest_reruns_are_listed_first(api: Make) -> None:
    judged()
    older, newer = again(), again()
    Rerun.objects.filter(id=older.id).update(created_at=NOON - timedelta(hours=1))

    told = api("decisions:read").get("/api/v1/reruns").json()
    one = api("decisions:read").get("/api/v1/reruns?limit=1").json()

    assert [each["id"] for each in told["items"]] == [str(newer.id), str(older.id)]
    assert [each["id"] for each in one["items"]] == [str(newer.id)]


def test_reruns_are_shown_to_keys_that_read_decisions_alone(api: Make) -> None:
    rerun_id = uuid4()

    for path in ("/api/v1/reruns", f"/api/v1/reruns/{rerun_id}"):
        assert api("signals:read").get(path).status_code == 403
        assert APIClient().get(path).status_code == 401
    assert api("decisions:read").get(f"/api/v1/reruns/{rerun_id}").status_code == 404
    assert api("decisions:read").get("/api/v1/reruns?limit=0").status_code == 400


def test_a_mark_that_is_none_of_ours_is_refused(api: Make) -> None:
    judged()
    rerun = again()

    assert api("decisions:read").get(f"/api/v1/reruns/{rerun.id}?cursor=*").status_code == 400
    assert member().get(f"/reruns/{rerun.id}?cursor=*").status_code == 400


def test_a_signal_in_full_leaves_out_what_was_judged_again(api: Make) -> None:
    signal = judged()
    first = judged_first(signal)
    again()

    told = api("signals:read").get(f"/api/v1/signals/{signal.event_id}").json()

    assert [each["id"] for each in told["evaluations"]] == [str(first.id)]
    assert told["timeline"] == []


def member(permission: str = "view_rerun") -> Client:
    client = Client()
    user = get_user_model().objects.create_user("ada", password="x")
    user.user_permissions.set(Permission.objects.filter(codename=permission))
    client.force_login(user)
    return client


def test_members_see_the_page_with_every_signal() -> None:
    signals = four()
    rerun = again()

    page = member().get(f"/reruns/{rerun.id}")

    text = page.content.decode()
    assert page.status_code == 200
    for signal in signals:
        assert str(signal.event_id) in text
    assert "+ good_rr_ratio" in text
    assert "− bullish_trend" in text
    assert "of 4" in text


def test_the_page_is_shown_to_members_alone() -> None:
    judged()
    rerun = again()

    stranger = Client().get(f"/reruns/{rerun.id}")

    assert (stranger.status_code, stranger["Location"].split("?")[0]) == (302, "/login")
    assert member("view_signal").get(f"/reruns/{rerun.id}").status_code == 403
    assert Client().post(f"/reruns/{rerun.id}").status_code == 405


def test_a_rerun_that_does_not_exist_has_no_page() -> None:
    assert member().get(f"/reruns/{uuid4()}").status_code == 404


def test_what_strangers_wrote_is_shown_as_text() -> None:
    judged_first(judged(symbol="<b>X"), verdict=hostile())
    rerun = again()

    text = member().get(f"/reruns/{rerun.id}").content.decode()

    assert "<b>X" not in text and "<script>alert" not in text
    assert "&lt;script&gt;" in text


def hostile() -> dict[str, Any]:
    return {
        "action": "FOLLOW_ENTER",
        "confidence": 0.5,
        "size_pct": 1.0,
        "reasons": ["<script>alert(1)</script>"],
    }


def test_the_page_needs_no_script_and_no_style_of_its_own() -> None:
    page = (Path(configured.BASE_DIR) / "templates/rerun.html").read_text("utf-8")
    style = (Path(configured.BASE_DIR) / "lens_site/static/lens/rerun.css").read_text("utf-8")

    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|\|safe|autoescape", page)
    assert '{% extends "base.html" %}' in page
    assert "#" not in re.sub(r"/\*.*?\*/", "", style), "colours come from the tokens"


def test_long_reruns_have_more_than_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lens_site.pages.reruns.PAGE_ROWS", 2)
    signals = four()
    rerun = again()
    client = member()

    first = client.get(f"/reruns/{rerun.id}").content.decode()
    link = re.search(r'href="(\?cursor=[^"]+)"', first)
    assert link is not None
    second = client.get(f"/reruns/{rerun.id}{link[1]}").content.decode()

    assert str(signals[1].event_id) in first and str(signals[2].event_id) not in first
    assert str(signals[2].event_id) in second and str(signals[1].event_id) not in second
    assert "First page" in second


ADMIN = "/admin/evaluation/evaluation/"


def operator(*permissions: str) -> Client:
    client = Client()
    user = get_user_model().objects.create_user("eve", password="x", is_staff=True)
    found = Permission.objects.filter(codename__in=permissions)
    user.user_permissions.set(found)
    client.force_login(user)
    return client


def test_the_admin_tells_the_cost_first_and_judges_when_that_is_agreed_to() -> None:
    btc, eth = judged(), judged(symbol="ETH")
    rows = [judged_first(btc), judged_first(btc, model="bold"), judged_first(eth)]
    client = operator("view_evaluation", "add_rerun")
    chosen = {"action": "judge_again", "_selected_action": [str(row.id) for row in rows]}

    asked = client.post(ADMIN, chosen).content.decode()
    priced = client.post(ADMIN, chosen | {"model": "moody", "prompt": ""}).content.decode()
    before = Rerun.objects.count()
    agreed = chosen | {"model": "moody", "prompt": "", "agreed": "Judge again"}
    unpriced = client.post(ADMIN, agreed | {"priced": "rules  0"})
    early = Rerun.objects.count()
    begun = client.post(ADMIN, agreed | {"priced": "moody  0"})

    assert "2 signals will be given to the model" in asked and 'name="agreed"' not in asked
    assert "2 signals, at no cost" in priced and 'name="agreed"' in priced
    assert (before, early, unpriced.status_code) == (0, 0, 200)
    assert 'value="moody  0"' in priced
    rerun = Rerun.objects.get()
    assert (begun.status_code, begun["Location"]) == (302, f"/reruns/{rerun.id}")
    assert (rerun.signals, rerun.created_by) == (2, "eve")


def test_the_admin_says_why_something_cannot_be_judged_again() -> None:
    row = judged_first(judged())
    client = operator("view_evaluation", "add_rerun")

    page = client.post(
        ADMIN,
        {
            "action": "judge_again",
            "_selected_action": [str(row.id)],
            "model": "moody",
            "prompt": "poem@1",
            "agreed": "Judge again",
        },
    )

    assert "there is no prompt" in page.content.decode()
    assert not Rerun.objects.exists()


def test_whoever_only_reads_the_admin_has_nobody_asked_again() -> None:
    row = judged_first(judged())
    client = operator("view_evaluation")

    client.post(
        ADMIN,
        {
            "action": "judge_again",
            "_selected_action": [str(row.id)],
            "model": "moody",
            "prompt": "",
            "priced": "moody  0",
            "agreed": "Judge again",
        },
    )

    assert not Rerun.objects.exists()
    assert "Judge these signals again" not in client.get(ADMIN).content.decode()


def test_a_signal_is_judged_again_from_its_page_once_the_estimate_is_agreed_to() -> None:
    signal = judged()
    client, place = operator("add_rerun"), f"/signals/{signal.event_id}/again"

    asked = client.get(place).content.decode()
    priced = client.get(place, {"model": "moody"}).content.decode()
    once = re.search(r'name="once" value="([^"]+)"', priced)
    assert once is not None
    agreed = {"model": "moody", "prompt": "", "once": once[1]}
    other = client.post(place, agreed | {"priced": "rules  0"}).content.decode()
    early = Rerun.objects.count()
    begun = client.post(place, agreed | {"priced": "moody  0"})
    twice = client.post(place, agreed | {"priced": "moody  0"})

    assert 'data-testid="confirm"' not in asked
    assert "1 signal, at no cost" in priced
    assert "The estimate has changed" in other
    assert early == 0
    rerun = Rerun.objects.get()
    assert (begun.status_code, begun["Location"]) == (302, f"/reruns/{rerun.id}")
    assert twice["Location"] == f"/signals/{signal.event_id}"
    assert (rerun.signals, rerun.created_by) == (1, "user:eve")


def test_whoever_may_not_spend_has_nobody_judge_again() -> None:
    signal = judged()

    answer = member().post(f"/signals/{signal.event_id}/again", {"model": "moody"})

    assert answer.status_code == 403
    assert not Rerun.objects.exists()


def test_a_signal_without_facts_is_not_judged_again() -> None:
    signal = make_signal()

    answer = operator("add_rerun").get(f"/signals/{signal.event_id}/again", {"model": "moody"})

    assert answer.status_code == 400
    assert "have no frozen facts" in answer.content.decode()
