from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from pytest_django import Settings

from access.models import User
from evaluation.types import AttemptStatus
from lens_site.pages.advice import BY_CODE, OTHER, advice_on
from pipeline import services
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.types import LetterStatus
from signals.models import Signal
from signals.types import SignalStatus
from tests.conftest import ROOT
from tests.factories import make_letter, make_signal

pytestmark = pytest.mark.django_db
CODE = re.compile(r"^\| `([A-Z_]+)` \|", re.MULTILINE)


def make_fresh_letter(**changes: Any) -> DeadLetter:
    """Return the letter of a signal that is still worth judging."""
    now = datetime.now(UTC)
    signal: Signal = changes.pop("signal", None) or make_signal(
        status=SignalStatus.DEAD, received_at=now, expires_at=now + timedelta(minutes=5)
    )
    return make_letter(signal, **({"created_at": now} | changes))


def asked(client: Client, **sent: Any) -> str:
    response = client.post("/dead-letters/ask", sent)
    assert response.status_code == 200
    return response.content.decode()


def confirmed(client: Client, **sent: Any) -> Any:
    """Answer the page that asks once, as its form would."""
    mark = re.search(r'name="once" value="([^"]+)"', asked(client, **sent))
    assert mark is not None
    return client.post("/dead-letters/act", {"once": mark[1], **sent})


def test_letters_are_shown_by_what_they_died_of_with_what_helps(admin_client: Client) -> None:
    for _ in range(3):
        make_fresh_letter()
    make_fresh_letter(code="NO_VERDICT", reason="every model abstained: gemini auth", stage="jury")

    page = admin_client.get("/dead-letters").content.decode()

    assert page.count('data-testid="group"') == 2
    assert "Wait until it does" in page
    assert "The vendor rejected the key" in page
    assert "still happening" in page


def test_nothing_failed_is_said(admin_client: Client) -> None:
    assert "Nothing has failed" in admin_client.get("/dead-letters").content.decode()


def test_requeueing_tells_first_what_it_comes_to_and_then_does_it_once(
    admin_client: Client,
) -> None:
    fresh = make_fresh_letter()
    now = datetime.now(UTC)
    old = make_signal(status=SignalStatus.DEAD, expires_at=now - timedelta(minutes=1))
    make_fresh_letter(signal=old)

    told = asked(admin_client, action="requeue", fingerprint=fresh.fingerprint)
    untouched = DeadLetter.objects.filter(status=LetterStatus.OPEN).count()
    response = confirmed(admin_client, action="requeue", fingerprint=fresh.fingerprint)

    assert "2 signals are taken up again" in told
    assert "1 is past its validity" in told
    assert untouched == 2
    assert response["Location"] == "/dead-letters?done=requeued&n=2&left=0"
    assert set(DeadLetter.objects.values_list("status", flat=True)) == {LetterStatus.RETRYING}
    assert StageRun.objects.filter(stage="enrich").count() == 2


def test_a_second_click_does_nothing_and_says_so(admin_client: Client) -> None:
    letter = make_fresh_letter()
    mark = re.search(r'name="once" value="([^"]+)"', asked(admin_client, letter=str(letter.id)))
    assert mark is not None
    sent = {"once": mark[1], "action": "requeue", "letter": str(letter.id)}
    admin_client.post("/dead-letters/act", sent)

    again = admin_client.post("/dead-letters/act", sent, follow=True)

    letter.refresh_from_db()
    assert "nothing was done again" in again.content.decode()
    assert letter.retry_count == 1


def test_only_what_was_chosen_is_requeued(admin_client: Client) -> None:
    chosen, other = make_fresh_letter(), make_fresh_letter()

    confirmed(admin_client, action="requeue", letter=str(chosen.id))

    chosen.refresh_from_db()
    other.refresh_from_db()
    assert (chosen.status, other.status) == (LetterStatus.RETRYING, LetterStatus.OPEN)


def test_closing_wants_a_reason_that_stays(admin_client: Client) -> None:
    letter = make_fresh_letter()

    refused = confirmed(admin_client, action="resolve", letter=str(letter.id), note=" ")
    done = confirmed(admin_client, action="resolve", letter=str(letter.id), note="stale advice")

    letter.refresh_from_db()
    assert refused.status_code == 400
    assert done.status_code == 302
    assert (letter.status, letter.note) == (LetterStatus.RESOLVED, "stale advice")
    assert letter.resolved_by == "user:admin"


def closed(client: Client, **sent: Any) -> str:
    """Close letters and return the page that tells of it."""
    done = confirmed(client, action="resolve", note="by mistake", **sent)
    return client.get(done["Location"]).content.decode()


def undone(client: Client, page: str) -> Any:
    fields = dict(re.findall(r'name="(once|closed_at|letter)" value="([^"]+)"', page))
    return client.post("/dead-letters/undo", fields)


def test_closing_is_undone_for_all_letters_of_one_act_and_told_in_the_trail(
    admin_client: Client,
) -> None:
    letter, other = make_fresh_letter(), make_fresh_letter()
    apart = make_fresh_letter(code="NO_VERDICT", reason="else", stage="jury")
    closed(admin_client, letter=str(apart.id))

    done = undone(admin_client, closed(admin_client, fingerprint=letter.fingerprint))

    states = dict(DeadLetter.objects.values_list("id", "status"))
    assert done["Location"] == "/dead-letters?done=reopened&n=2"
    assert (states[letter.id], states[other.id]) == (LetterStatus.OPEN, LetterStatus.OPEN)
    assert states[apart.id] == LetterStatus.RESOLVED
    line = AuditEvent.objects.get(verb="REOPENED", object=f"letter:{letter.id}")
    assert (line.actor, line.details["before"]["note"]) == ("user:admin", "by mistake")


def test_a_letter_is_opened_again_from_its_own_page(admin_client: Client) -> None:
    letter = make_fresh_letter()
    closed(admin_client, letter=str(letter.id))

    undone(admin_client, admin_client.get(f"/dead-letters/{letter.id}").content.decode())

    letter.refresh_from_db()
    assert (letter.status, letter.resolved_by, letter.note) == (LetterStatus.OPEN, "", "")


def test_too_late_to_undo_is_said(admin_client: Client, settings: Settings) -> None:
    letter = make_fresh_letter()
    page = closed(admin_client, letter=str(letter.id))
    settings.LETTER_UNDO_S = 0

    done = admin_client.get(undone(admin_client, page)["Location"]).content.decode()

    letter.refresh_from_db()
    assert letter.status == LetterStatus.RESOLVED
    assert "too late" in done
    assert (
        'data-testid="undo"' not in admin_client.get(f"/dead-letters/{letter.id}").content.decode()
    )


@pytest.mark.parametrize("status", [LetterStatus.RETRYING, LetterStatus.RESOLVED])
def test_what_was_being_retried_or_ended_by_itself_is_not_opened_again(
    status: LetterStatus,
) -> None:
    now = datetime.now(UTC)
    letter = make_fresh_letter(status=LetterStatus.RETRYING)
    if status == LetterStatus.RESOLVED:
        services.settle_letters(traces=[letter.trace], end="PUBLISHED", at=now)
    else:
        services.resolve_letter(letter=letter, actor="user:anna", note="tired of it", at=now)

    done = services.reopen_letters(letters=DeadLetter.objects.all(), actor="user:anna", now=now)

    assert done == 0


def test_letters_are_handed_out_as_lines_of_json(admin_client: Client) -> None:
    letter = make_fresh_letter(reason="\u202e cut nothing " + "x" * 4_000)

    answer = admin_client.get("/dead-letters/export?status=open")

    [line] = answer.getvalue().splitlines()
    assert json.loads(line)["reason"] == letter.reason
    assert json.loads(line)["id"] == str(letter.id)


def test_a_letter_shows_everything_and_a_hostile_reason_as_text(admin_client: Client) -> None:
    reason = "<script>alert(1)</script> \u202e" + "x" * 4_000
    letter = make_fresh_letter(code="UNFORESEEN", reason=reason)

    page = admin_client.get(f"/dead-letters/{letter.id}").content.decode()

    assert "&lt;script&gt;alert(1)" in page
    assert "U+202E" in page
    assert "x" * 4_000 in page


def test_old_letters_are_a_page_further(admin_client: Client) -> None:
    now = datetime.now(UTC)
    rows = [make_fresh_letter(created_at=now - timedelta(minutes=number)) for number in range(52)]
    place = f"/dead-letters/group/{rows[0].fingerprint}"

    first = admin_client.get(place).content.decode()
    older = re.search(r'href="(\?status=open&amp;before=[^"]+)"', first)
    assert older is not None
    rest = admin_client.get(place + older[1].replace("&amp;", "&")).content.decode()

    assert first.count('data-testid="letter"') == 50
    assert rest.count('data-testid="letter"') == 2


@pytest.mark.parametrize("group", ["Viewer", "Trader"])
def test_who_may_not_requeue_sees_letters_without_the_buttons(group: str) -> None:
    letter, client = make_fresh_letter(), Client()
    user = User.objects.create_user("anna")
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)

    page = client.get("/dead-letters").content.decode()

    assert letter.code in page
    assert "Requeue" not in page
    assert client.post("/dead-letters/ask", {"letter": str(letter.id)}).status_code == 403


@pytest.mark.parametrize("path", ["group/0123456789abcdef", "00000000-0000-4000-8000-000000000000"])
def test_what_is_not_there_is_not_found(admin_client: Client, path: str) -> None:
    assert admin_client.get(f"/dead-letters/{path}").status_code == 404


def test_every_code_that_operators_are_told_of_has_advice() -> None:
    codes = CODE.findall((ROOT / "docs" / "operations.md").read_text("utf-8"))

    assert codes
    assert set(codes) <= set(BY_CODE)


@pytest.mark.parametrize(
    "cause", [AttemptStatus.AUTH, AttemptStatus.RATE_LIMITED, AttemptStatus.OVER_BUDGET]
)
def test_the_cause_that_a_reason_names_is_advised_on(cause: AttemptStatus) -> None:
    advice = advice_on(code="NO_VERDICT", reason=f"every model abstained: chatgpt {cause}: 401")

    assert advice.href == "/models"
    assert advice.words not in (BY_CODE["NO_VERDICT"].words, OTHER.words)
