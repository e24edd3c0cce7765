from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings

from decisions import deliberation
from decisions.models import Decision
from decisions.queries import list_notices
from enrichment.models import Enrichment
from evaluation import queries, rerunning, services
from evaluation.evaluators.base import Evaluator
from evaluation.evaluators.scripted import Scripted
from evaluation.jobs import EVALUATE
from evaluation.models import Evaluation, ModelCard, Price, PromptVersion, Rerun
from evaluation.prompting import render, text_of
from evaluation.queries import Selection
from evaluation.rerunning import FactsChanged, Plan, RerunRefused, is_contaminated
from evaluation.types import EvaluationKind
from pipeline import services as pipeline
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.types import GiveUp
from signals import services as signals
from signals.models import Signal
from signals.types import SignalStatus
from tests.factories import NOON, make_decision, make_enrichment, make_evaluation, make_signal
from tests.running import run_stage

pytestmark = pytest.mark.django_db

PAYLOAD = '{"as_of":"2026-01-15T12:00:00Z"}'
Wire = Callable[..., None]


class Talker(Scripted):
    """Stands for a language model: it reads a prompt and has a price."""

    provider = "openai"
    model_id = "gpt-x"
    max_tokens = 100


@pytest.fixture
def wire(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Let these evaluators be the models of the house."""

    def make(*evaluators: Evaluator) -> None:
        settings.AI_MODELS = tuple(evaluator.name for evaluator in evaluators)
        found = {evaluator.name: evaluator for evaluator in evaluators}
        monkeypatch.setattr(services, "evaluators", lambda: found)

    yield make


def judged(**changes: Any) -> Signal:
    """Return a published signal with frozen facts."""
    signal = make_signal(**({"status": SignalStatus.PUBLISHED} | changes))
    make_enrichment(
        signal, payload=PAYLOAD, payload_sha256=hashlib.sha256(PAYLOAD.encode()).hexdigest()
    )
    return signal


def plan(evaluator: Evaluator | None = None, **selected: Any) -> Plan:
    return rerunning.plan_rerun(
        selection=Selection(**selected),
        evaluator=evaluator or Scripted(name="a"),
        prompt=None,
        now=NOON,
    )


def rerun(evaluator: Evaluator | None = None, **selected: Any) -> Rerun:
    return rerunning.start_rerun(plan=plan(evaluator, **selected), actor="tester", now=NOON)


def make_prompt() -> PromptVersion:
    return PromptVersion.objects.create(
        name="trial",
        version=2,
        system="Judge. {{question}}",
        user="{{signal}}",
        sha256="5" * 64,
        created_at=NOON,
        created_by="tester",
    )


def make_card(*, cutoff: str = "") -> ModelCard:
    return ModelCard.objects.create(
        provider="openai",
        model_id="gpt-x",
        api="responses",
        structured="json_schema",
        knowledge_cutoff=cutoff,
    )


def make_price(card: ModelCard, **changes: Any) -> Price:
    values = {
        "valid_from": date(2026, 1, 1),
        "input_usd": Decimal("3"),
        "output_usd": Decimal("20"),
    }
    return Price.objects.create(card=card, **(values | changes))


def test_each_selected_signal_gets_one_evaluation_and_one_piece_of_work() -> None:
    two = [judged(), judged()]

    made = rerun()

    rows = Evaluation.objects.filter(rerun=made).order_by("signal_id")
    assert [row.signal_id for row in rows] == [signal.id for signal in two]
    assert {(row.kind, row.model, row.status) for row in rows} == {
        (EvaluationKind.REPLAY, "a", "PENDING")
    }
    assert set(StageRun.objects.values_list("stage", "subject")) == {
        ("evaluate", row.id) for row in rows
    }
    assert (made.signals, made.created_by) == (2, "tester")


def test_the_work_is_of_the_stage_that_judges_first() -> None:
    assert rerunning.STAGE == services.STAGE == EVALUATE.name


def test_the_model_is_given_the_very_facts_whatever_became_of_the_signal(wire: Wire) -> None:
    model = Scripted(name="a")
    wire(model)
    for status in (SignalStatus.PUBLISHED, SignalStatus.EXPIRED, SignalStatus.DEAD):
        judged(status=status)
    made = rerun(model)

    run_stage(EVALUATE)

    assert [case.payload for case in model.seen] == [PAYLOAD] * 3
    assert queries.count_judged_again(rerun_id=made.id) == {"DECIDED": 3}


def test_nothing_is_decided_published_or_done_to_the_signal(wire: Wire) -> None:
    wire(Scripted(name="a"), Scripted(name="b"))
    signal = judged(status=SignalStatus.ENRICHED)
    live = make_evaluation(signal, model="b")
    before = Signal.objects.values().get(id=signal.id)
    rerun()

    run_stage(EVALUATE)

    assert Evaluation.objects.get(rerun__isnull=False).status == "DECIDED"
    assert not Decision.objects.exists()
    assert Signal.objects.values().get(id=signal.id) == before
    assert not AuditEvent.objects.filter(trace=signal.event_id).exists()
    assert Evaluation.objects.get(id=live.id).status == "PENDING"


def test_a_model_of_the_live_panel_may_judge_the_same_signal_again_and_again(wire: Wire) -> None:
    wire(Scripted(name="a"))
    signal = judged()
    make_evaluation(signal, model="a", status="DECIDED")

    rerun()
    rerun()
    run_stage(EVALUATE)

    assert Evaluation.objects.filter(signal=signal, model="a").count() == 3


def test_an_abstention_of_a_rerun_is_told_to_no_subscriber(wire: Wire) -> None:
    wire(Scripted(name="a"))
    signal = judged()
    make_evaluation(signal, model="a", status="ABSTAINED", outcome="timeout")
    rerun()
    work = StageRun.objects.get()
    pipeline.bury(run=work, result=GiveUp("oops"), at=NOON)

    services.fail_evaluation(work, GiveUp("oops"), NOON)

    assert Evaluation.objects.get(rerun__isnull=False).status == "ABSTAINED"
    assert list_notices(after_id=0, limit=100)[0] == []


def test_the_jury_and_the_lists_of_a_signal_count_its_own_evaluations_alone() -> None:
    signal = judged(status=SignalStatus.ENRICHED)
    live = make_evaluation(signal, model="b", status="ABSTAINED", outcome="timeout")
    rerun()

    assert not deliberation.list_unfinished(signals=[signal])
    assert deliberation.list_abstentions(signal=signal) == ["b: timeout"]
    assert queries.list_evaluations(signal=signal) == [live]


def test_the_end_of_a_signal_leaves_its_reruns_running(wire: Wire) -> None:
    wire(Scripted(name="a"))
    signal = judged(status=SignalStatus.ENRICHED)
    rerun()

    signals.expire(event_id=signal.event_id, now=NOON)
    run_stage(EVALUATE)

    assert Signal.objects.get().status == SignalStatus.EXPIRED
    assert Evaluation.objects.get(rerun__isnull=False).status == "DECIDED"


def test_dead_work_of_a_rerun_is_tried_again_without_waking_its_signal(wire: Wire) -> None:
    wire(Scripted(name="a"))
    judged()
    made = rerun()
    work = StageRun.objects.get()
    pipeline.bury(run=work, result=GiveUp("oops"), at=NOON)
    services.fail_evaluation(work, GiveUp("oops"), NOON)
    letter = DeadLetter.objects.get()

    pipeline.retry_letter(letter=letter, actor="tester", now=NOON)
    run_stage(EVALUATE)

    assert queries.count_judged_again(rerun_id=made.id) == {"DECIDED": 1}
    assert Signal.objects.get().status == SignalStatus.PUBLISHED
    letter.refresh_from_db()
    assert letter.status == "RESOLVED"


def test_the_hashes_of_what_is_given_are_noted_where_nothing_can_be_changed() -> None:
    signal = judged()

    made = rerun()

    row = Evaluation.objects.get()
    line = AuditEvent.objects.get(trace=row.id, verb=rerunning.REQUESTED)
    facts = Enrichment.objects.get()
    assert line.details["payload_sha256"] == facts.payload_sha256
    assert line.details["payload_sha256"] == hashlib.sha256(PAYLOAD.encode()).hexdigest()
    assert line.details["facts_sha256"] == facts.facts_sha256
    assert line.details["event_id"] == str(signal.event_id)
    assert AuditEvent.objects.get(trace=made.id).verb == rerunning.STARTED


def test_facts_that_no_longer_match_their_hash_are_not_judged() -> None:
    judged()
    Enrichment.objects.update(payload=PAYLOAD + " ")

    with pytest.raises(FactsChanged):
        plan()

    assert not Rerun.objects.exists()


def test_facts_that_change_after_the_estimate_are_not_judged() -> None:
    judged()
    made = plan()
    Enrichment.objects.update(payload=PAYLOAD + " ")

    with pytest.raises(FactsChanged):
        rerunning.start_rerun(plan=made, actor="tester", now=NOON)

    assert not Evaluation.objects.exists()


def test_large_reruns_fall_due_little_by_little_and_lose_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rerunning, "BATCH", 3)
    monkeypatch.setattr(rerunning, "PER_S", 2)
    for _ in range(7):
        judged()

    made = rerun()

    dues = StageRun.objects.order_by("next_at", "id").values_list("next_at", flat=True)
    assert [(due - NOON).total_seconds() for due in dues] == [0, 0, 1, 1, 2, 2, 3]
    assert Evaluation.objects.filter(rerun=made).count() == 7


@pytest.mark.parametrize(
    "wanted",
    [
        {"source": "wanted"},
        {"symbol": "eth"},
        {"since": NOON + timedelta(hours=1)},
        {"until": NOON},
    ],
    ids=str,
)
def test_signals_are_selected_by_what_is_said_of_them(wanted: dict[str, Any]) -> None:
    judged()
    changes: dict[str, dict[str, Any]] = {
        "source": {"source": "wanted"},
        "symbol": {"symbol": "ETH"},
        "since": {"ts_utc": NOON + timedelta(hours=1)},
        "until": {"ts_utc": NOON - timedelta(seconds=1)},
    }
    signal = judged(**changes[next(iter(wanted))])

    assert plan(**wanted).signal_ids == [signal.id]


def test_of_too_many_signals_the_newest_are_judged_oldest_first() -> None:
    rows = [judged() for _ in range(4)]

    assert plan(limit=2).signal_ids == [rows[2].id, rows[3].id]


def test_signals_without_frozen_facts_are_left_out_unless_they_were_named() -> None:
    bare, whole = make_signal(status=SignalStatus.REJECTED), judged()

    assert plan().signal_ids == [whole.id]
    with pytest.raises(RerunRefused, match="1 of the 2 named signals"):
        plan(event_ids=(bare.event_id, whole.event_id))
    with pytest.raises(RerunRefused, match="1 of the 1 named signals"):
        plan(event_ids=(uuid4(),))
    with pytest.raises(RerunRefused, match="no stored signal"):
        plan(source="nobody")


def test_a_model_that_calculates_costs_nothing_and_remembers_nothing() -> None:
    judged()

    made = plan()

    assert (made.estimate.usd, made.estimate.tokens_in, made.contaminated) == (Decimal(0), 0, 0)


def test_a_prompt_is_demanded_of_readers_and_refused_by_calculators() -> None:
    judged()
    prompt = make_prompt()

    with pytest.raises(RerunRefused, match="reads no prompt"):
        rerunning.plan_rerun(
            selection=Selection(), evaluator=Scripted(name="a"), prompt=prompt, now=NOON
        )
    with pytest.raises(RerunRefused, match="needs a prompt"):
        plan(Talker(name="t"))


def talk(prompt: PromptVersion) -> Plan:
    return rerunning.plan_rerun(
        selection=Selection(), evaluator=Talker(name="t"), prompt=prompt, now=NOON
    )


def test_the_estimate_is_of_the_rendered_prompts_at_the_price_of_the_day() -> None:
    signal = judged()
    judged()
    card, prompt = make_card(), make_prompt()
    make_price(card)
    make_price(card, valid_from=date(2027, 1, 1), input_usd=Decimal(900))
    case = queries.case_of(signal, Enrichment.objects.get(event_id=signal.event_id))
    rendered = render(text_of(prompt), case=case, base_rate=None)
    characters = 2 * len(rendered.system + rendered.user)

    estimate = talk(prompt).estimate

    tokens = 2 * -(-characters // 6)
    assert (estimate.calls, estimate.tokens_in, estimate.tokens_out) == (2, tokens, 200)
    assert estimate.usd == (tokens * Decimal(3) + 200 * Decimal(20)) / 1_000_000
    assert estimate.worst_usd is not None and estimate.worst_usd > estimate.usd
    assert not Rerun.objects.exists()


def test_played_calls_cost_nothing(settings: Settings) -> None:
    settings.LLM_RECORDING = "replay"
    judged()
    make_price(make_card())

    estimate = talk(make_prompt()).estimate

    assert (estimate.usd, estimate.worst_usd) == (Decimal(0), Decimal(0))


def test_a_case_that_cannot_be_shown_to_a_model_does_not_stop_the_others() -> None:
    signal = make_signal(status=SignalStatus.PUBLISHED)
    make_enrichment(signal, payload="[", payload_sha256=hashlib.sha256(b"[").hexdigest())
    judged()

    assert len(talk(make_prompt()).signal_ids) == 2


def test_a_price_that_nobody_knows_is_not_zero() -> None:
    judged()
    prompt = make_prompt()

    assert talk(prompt).estimate.usd is None
    make_price(make_card(), valid_from=date(2026, 2, 1))
    assert talk(prompt).estimate.usd is None


def test_the_rerun_remembers_its_prompt_and_its_estimate() -> None:
    judged()
    make_price(make_card())
    planned = talk(make_prompt())

    made = rerunning.start_rerun(plan=planned, actor="tester", now=NOON)

    made.refresh_from_db()
    assert (made.model, made.prompt_name, made.prompt_version) == ("t", "trial", 2)
    assert made.estimate_usd == planned.estimate.usd


@pytest.mark.parametrize(
    ("cutoff", "expected"),
    [
        (None, None),
        ("", False),
        ("2025", False),
        ("2026", True),
        ("2025-12", False),
        ("2026-01", True),
        ("2026-01-14", False),
        ("2026-01-15", True),
        ("2026-01-16", True),
    ],
)
def test_a_signal_from_what_the_model_may_know_is_contaminated(
    cutoff: str | None, expected: bool | None
) -> None:
    assert is_contaminated(ts_utc=NOON, cutoff=cutoff) is expected


def test_contaminated_rows_are_marked_one_by_one() -> None:
    judged(ts_utc=datetime(2025, 6, 1, tzinfo=UTC))
    judged(ts_utc=datetime(2025, 7, 1, tzinfo=UTC))
    make_card(cutoff="2025-06")
    planned = talk(make_prompt())

    rerunning.start_rerun(plan=planned, actor="tester", now=NOON)

    lines = AuditEvent.objects.filter(verb=rerunning.REQUESTED).order_by("id")
    assert planned.contaminated == 1
    assert [line.details["contaminated"] for line in lines] == [True, False]


def test_a_model_of_unknown_cutoff_is_not_said_to_be_clean() -> None:
    judged()

    assert talk(make_prompt()).contaminated is None


def test_signals_in_the_middle_of_their_lives_keep_their_own_decisions(wire: Wire) -> None:
    wire(Scripted(name="a"))
    signal = judged(status=SignalStatus.ENRICHED)
    decision = make_decision(signal, model="a")
    rerun()

    run_stage(EVALUATE)

    assert list(Decision.objects.all()) == [decision]


def test_a_reader_is_given_the_prompt_of_the_rerun_and_not_the_one_in_force(
    wire: Wire, settings: Settings
) -> None:
    model = Talker(name="t")
    wire(model)
    settings.EVALUATORS = {"t": {"PROVIDER": "openai", "PROMPT": "judge"}}
    judged()
    prompt = make_prompt()
    rerunning.start_rerun(plan=talk(prompt), actor="tester", now=NOON)

    run_stage(EVALUATE)

    [case] = model.seen
    facts = Enrichment.objects.get()
    shown = render(
        text_of(prompt), case=queries.case_of(Signal.objects.get(), facts), base_rate=None
    )
    assert case.prompt == shown
    assert shown.label == "trial v2"
    prompt.refresh_from_db()
    assert prompt.used_at is not None


def test_asking_for_many_stored_cases_takes_no_more_questions_than_for_one(
    django_assert_max_num_queries: Any,
) -> None:
    for _ in range(20):
        judged()
    made = rerun()
    ids = list(Evaluation.objects.filter(rerun=made).values_list("id", flat=True))

    with django_assert_max_num_queries(2):
        found = queries.list_assignments(ids)
        prompts = {each.evaluation.rerun for each in found.values()}

    assert (len(found), prompts) == (20, {made})
