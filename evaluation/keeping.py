"""Good answers that outlive their worker: what was paid for once is not bought again.

Between the moment at which a vendor has answered and the commit that says so lies everything that
the worker has to write down before. An answer is therefore put beside the database the moment it
is there, and whoever takes the work over settles it with that. Only the answer to the very same
question counts, and only if a program of this house has put it there.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction

from evaluation.queries import Assignment
from evaluation.types import Action, Attempt, AttemptStatus, Opinion, Verdict
from pipeline.shelf import Shelf, shelf

logger = logging.getLogger(__name__)

FORMAT = "evaluation.keeping.1"
"""What is kept; change it with the fields of an opinion, and older ones are not understood."""

SEAL_BYTES = hashlib.sha256().digest_size
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)


def keep(assignment: Assignment, opinion: Opinion, *, terms: str) -> None:
    """Put a language model's verdict where its worker's end cannot reach it; never raises.

    ``terms`` are what the answer hangs on besides its question. The prompts are left out: who
    takes the answer up has them, or may not take it up.
    """
    if opinion.verdict is None or assignment.case.prompt is None or not settings.ANSWER_KEPT_S:
        return
    bare = replace(
        opinion, attempts=tuple(replace(attempt, prompt="") for attempt in opinion.attempts)
    )
    try:
        text = orjson.dumps(bare)
    except TypeError as error:  # a number from a vendor that JSON has, but no machine's word
        logger.info("an answer of %s is not kept: %s", assignment.evaluation.model, error)
        return
    sealed = _seal(text, question=_question(assignment, terms)) + text
    _shelf().put(assignment.evaluation.id, sealed)


def look_up(ids: Collection[UUID]) -> Mapping[UUID, bytes]:
    """Return what is kept of these evaluations, unread."""
    return _shelf().look(ids) if settings.ANSWER_KEPT_S else {}


def drop_after_commit(ids: Sequence[UUID]) -> None:
    """Throw away what is kept of these evaluations once the transaction has committed."""
    if ids and settings.ANSWER_KEPT_S:
        transaction.on_commit(partial(_shelf().drop, ids), robust=True)


def read(kept: bytes, *, assignment: Assignment, terms: str) -> Opinion | None:
    """Return the kept opinion if it answers exactly what would be asked now, else None."""
    seal, text = kept[:SEAL_BYTES], kept[SEAL_BYTES:]
    question = _question(assignment, terms)
    if not hmac.compare_digest(seal, _seal(text, question=question)):
        return None
    try:
        return _opinion(orjson.loads(text), assignment)
    except UNREADABLE as error:
        logger.warning("a kept answer cannot be read, its model is asked again: %r", error)
        return None


def _shelf() -> Shelf:
    return shelf(settings.ANSWERS_DIR, kept_s=settings.ANSWER_KEPT_S)


def _question(assignment: Assignment, terms: str) -> str:
    """Return what has to be the same for an answer to count."""
    case = assignment.case
    asked = case.prompt.sha256 if case.prompt is not None else ""
    return f"{assignment.evaluation.id.hex}|{asked}|{terms}|{case.card!r}"


def _seal(text: bytes, *, question: str) -> bytes:
    key = f"{FORMAT}|{settings.SECRET_KEY}".encode()
    return hmac.digest(key, question.encode() + b"\n" + text, "sha256")


def _opinion(told: Mapping[str, Any], assignment: Assignment) -> Opinion:
    return Opinion(
        **{
            **told,
            "verdict": _verdict(told["verdict"]),
            "status": AttemptStatus(told["status"]),
            "attempts": tuple(_attempt(each, assignment) for each in told["attempts"]),
        }
    )


def _verdict(told: Mapping[str, Any]) -> Verdict:
    return Verdict(
        **{
            **told,
            "action": Action(told["action"]),
            "reasons": tuple(told["reasons"]),
            "evidence": tuple(told["evidence"]),
        }
    )


def _attempt(told: Mapping[str, Any], assignment: Assignment) -> Attempt:
    prompt = assignment.case.prompt
    return Attempt(
        **{
            **told,
            "status": AttemptStatus(told["status"]),
            "started_at": datetime.fromisoformat(told["started_at"]),
            "prompt": prompt.text if prompt is not None else "",
        }
    )
