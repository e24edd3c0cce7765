"""What all language models share: asking within a deadline, reading strictly, mending once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import httpx2

from evaluation.evaluators.base import CallFailed, Evaluator
from evaluation.evaluators.wire import KEPT_MAX_CHARS, PerLoop, open_client
from evaluation.parsing import ANSWER_SCHEMA, BadAnswer, parse_answer
from evaluation.types import RETRYABLE, Attempt, AttemptStatus, Card, Case, Opinion, Verdict
from pipeline import egress, leases, spans

CALLS_MAX = 2  # and one repair
LARGER_CAP = 2  # how much more a truncated answer may take at the second call
LEAST_CALL_S = 0.25  # with less time left, no further call is begun
PAUSE_S = 0.5  # before a call is made again without the vendor having named a wait
ABSURD_CONTEXTS = 10
CONTEXT_TOKENS = 1_000_000  # of a model whose context is not known
PARTS: Mapping[str, str] = {
    "tokens_cached": "tokens_in",
    "tokens_cache_write": "tokens_in",
    "tokens_reasoning": "tokens_out",
}
"""Which counts are counted in which others."""
COUNTS = ("tokens_in", "tokens_out", *PARTS)
RNG = Random()  # noqa: S311  only spreads retries out

WAITS = frozenset(
    {
        AttemptStatus.NETWORK,
        AttemptStatus.TIMEOUT,
        AttemptStatus.RATE_LIMITED,
        AttemptStatus.OVERLOADED,
    }
)
"""After these the vendor is given a pause; the others are asked again at once."""

MENDABLE = RETRYABLE | {AttemptStatus.TIMEOUT}
"""A vendor's own time-out may leave time for another call; ours leaves none."""

SCHEMA_AS_TEXT = "Answer with one JSON object and nothing else. It must satisfy this JSON schema:"
COMPLAINT = (
    "Your answer was refused: {fault}. Answer again with one JSON object that satisfies the"
    " schema, and nothing else."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a model, in no vendor's words. What the model does not take is None or empty.

    ``turns`` are its earlier answers, each with our complaint about it.
    """

    system: str
    user: str
    schema: Mapping[str, Any] | None
    max_tokens: int
    seed: int | None
    temperature: float | None
    effort: str
    card: Card
    turns: tuple[tuple[str, str], ...] = ()

    @property
    def is_constrained(self) -> bool:
        """Whether the vendor itself holds the answer to the schema."""
        return self.schema is not None and self.card.structured == "json_schema"

    @property
    def instructions(self) -> str:
        """The system text, with the schema in words where the vendor cannot be given it."""
        if self.schema is None or self.is_constrained:
            return self.system
        schema = json.dumps(self.schema, separators=(",", ":"))
        return f"{self.system}\n\n{SCHEMA_AS_TEXT}\n{schema}"

    @property
    def dialogue(self) -> tuple[tuple[Literal["user", "assistant"], str], ...]:
        """The messages after the system text, oldest first, each with its speaker."""
        spoken: list[tuple[Literal["user", "assistant"], str]] = [("user", self.user)]
        for answer, complaint in self.turns:
            spoken += [("assistant", answer), ("user", complaint)]
        return tuple(spoken)

    @property
    def cache_key(self) -> str:
        """A name for the part of the prompt that calls have in common."""
        return f"lens:{hashlib.sha256(self.system.encode()).hexdigest()[:16]}"

    @property
    def parameters(self) -> dict[str, Any]:
        """What was asked for besides the prompt, as attempts record it."""
        given = {
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "temperature": self.temperature,
            "effort": self.effort or None,
            "structured": self.card.structured,
            "complaint": self.turns[-1][1] if self.turns else None,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What one call brought: the model's text, or in ``status`` why there is none to be used."""

    text: str
    status: AttemptStatus = AttemptStatus.OK
    model_reported: str = ""
    request_id: str = ""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_cache_write: int | None = None
    tokens_out: int | None = None
    tokens_reasoning: int | None = None
    raw: str = ""


class Policy(Protocol):
    """Whom Lens may ask."""

    def refusal(self, *, provider: str, model_id: str, base_url: str = "") -> str | None:
        """Return why this model may not be called, or None if it may."""


class Cassette(Protocol):
    """Calls that were made before, and those that are to be kept."""

    async def play(self, key: str) -> Completion | CallFailed | None:
        """Return what a call of that content came to, or None to make it."""

    async def record(self, key: str, outcome: Completion | CallFailed) -> None:
        """Keep what a call of that content came to."""


class Step(NamedTuple):
    """What to do after a call that gave no verdict."""

    verb: Literal["retry", "repair", "stop"]
    wait_s: float = 0.0


STOP = Step("stop")


def next_step(
    *,
    status: AttemptStatus,
    retry_after_s: float | None,
    calls: int,
    may_repair: bool,
    left_s: float,
    jitter: float = 0.0,
) -> Step:
    """Return what follows on a call that ended so, with ``left_s`` until the deadline.

    ``calls`` are those that were made, repairs not counted; ``may_repair`` says whether the model
    may still be told once what was wrong. A wait that the vendor names is kept to the letter or
    not at all: if it does not fit, there is no further call. ``jitter``, 0 to 1, spreads out calls
    that failed together.
    """
    if status not in MENDABLE:
        return STOP
    if status is AttemptStatus.INVALID:
        return Step("repair") if may_repair and left_s >= LEAST_CALL_S else STOP
    if calls >= CALLS_MAX:
        return STOP
    wait_s = PAUSE_S * (0.5 + jitter) if status in WAITS else 0.0
    if retry_after_s is not None:
        wait_s = retry_after_s
    return Step("retry", wait_s) if wait_s + LEAST_CALL_S <= left_s else STOP


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt and what is needed to decide on the next."""

    attempt: Attempt
    verdict: Verdict | None = None
    text: str = ""
    fault: str = ""
    retry_after_s: float | None = None

    @property
    def ended(self) -> AttemptStatus:
        """How it ended, for what to do next: a blank answer cannot be complained about."""
        status = self.attempt.status
        blank = status is AttemptStatus.INVALID and not self.text.strip()
        return AttemptStatus.BAD_BODY if blank else status


class LLM(Evaluator):
    """Asks a vendor's model; a subclass only translates one request into the vendor's words.

    ``timeout_s`` is for all calls on one case together, by the wall clock.
    """

    provider: ClassVar[str]
    default_url: ClassVar[str] = ""
    needs_key: ClassVar[bool] = True
    takes_complaints: ClassVar[bool] = True
    structured: ClassVar[str] = "json_schema"
    """The most that the vendor can do to hold an answer to a schema, whatever a card says."""

    def __init__(  # noqa: PLR0913  they are the settings of one model
        self,
        *,
        name: str,
        model_id: str,
        api_key: str = "",
        base_url: str = "",
        timeout_s: float = 10.0,
        max_tokens: int = 1200,
        effort: str = "",
        seed: int | None = None,
        temperature: float | None = None,
        policy: Policy | None = None,
        cassette: Cassette | None = None,
        local_hosts: Collection[str] = egress.LOCAL_HOSTS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(name=name)
        self.model_id = model_id
        self.api_key = api_key
        self.base_url = (base_url or self.default_url).rstrip("/")
        if not self.base_url:
            raise TypeError(f"{type(self).__name__} needs a base_url")
        self.timeout_s = timeout_s
        self.max_tokens = max_tokens
        self.effort = effort
        self.seed = seed
        self.temperature = temperature
        self.policy = policy
        self.cassette = cassette
        self._http = PerLoop(
            lambda: open_client(timeout_s=timeout_s, local_hosts=local_hosts, transport=transport)
        )

    @property
    def terms(self) -> str:
        """Who is asked, and with which of our wishes."""
        wishes = (self.max_tokens, self.effort, self.seed, self.temperature)
        return f"{self.version} {self.provider} {self.base_url} {self.model_id} {wishes}"

    @abstractmethod
    async def complete(self, request: Request) -> Completion:
        """Return what one call brings.

        :raises CallFailed: if the vendor gave no answer, with the status of why.
        """

    async def evaluate(self, case: Case) -> Opinion:
        """Return the model's verdict or why there is none; a vendor's fault is never raised.

        No call is begun once the lease of the work is over; what was called before is told.

        :raises LeaseOver: if it is over before the first call.
        """
        status, reason = self._refusal(case)
        if status is not AttemptStatus.OK:
            return Opinion(verdict=None, status=status, attempts=(), reason=reason)
        deadline = time.monotonic() + self.timeout_s
        request, attempts = self.request_for(case), list[Attempt]()
        while True:
            if not leases.is_held():
                return _left_off(attempts)
            tried = await self._try(request, case, deadline=deadline)
            attempts.append(tried.attempt)
            if tried.verdict is not None:
                return Opinion(
                    verdict=tried.verdict, status=AttemptStatus.OK, attempts=tuple(attempts)
                )
            step = next_step(
                status=tried.ended,
                retry_after_s=tried.retry_after_s,
                calls=len(attempts) - len(request.turns),
                may_repair=self.takes_complaints and not request.turns,
                left_s=deadline - time.monotonic(),
                jitter=RNG.random(),
            )
            following = self._following(request, tried, step)
            if following is None:
                return _abstention(attempts, retry_after_s=tried.retry_after_s)
            await asyncio.sleep(step.wait_s)
            request = following

    def http(self) -> httpx2.AsyncClient:
        """Return this event loop's guarded connections to the vendor."""
        return self._http.get()

    async def close(self) -> None:
        """Close this event loop's connections; a later call opens new ones."""
        client = self._http.take()
        if client is not None:
            await client.aclose()

    def request_for(self, case: Case) -> Request:
        """Return the first call on a case: its prompt, and of our wishes what its card allows."""
        if case.prompt is None:
            raise TypeError("a language model is given a rendered prompt")
        card = self._card(case)
        return Request(
            system=case.prompt.system,
            user=case.prompt.user,
            schema=self.schema_for(case),
            max_tokens=min(self.max_tokens, card.output_tokens or self.max_tokens),
            seed=self.seed if card.supports_seed else None,
            temperature=self.temperature if card.supports_temperature else None,
            effort=(self.effort or card.effort).lower(),
            card=card,
        )

    def schema_for(self, case: Case) -> Mapping[str, Any] | None:
        """Return the schema that an answer on the case is held to."""
        return ANSWER_SCHEMA(case.event_type)

    def read(self, text: str, case: Case) -> Verdict:
        """Return the verdict in the model's text.

        :raises BadAnswer: if it is anything else.
        """
        return parse_answer(text, case=case)

    def _card(self, case: Case) -> Card:
        card = case.card or Card(
            provider=self.provider, model_id=self.model_id, api="", structured=self.structured
        )
        if card.structured == "json_schema" and self.structured != "json_schema":
            return replace(card, structured=self.structured)
        return card

    def _refusal(self, case: Case) -> tuple[AttemptStatus, str]:
        """Return why no call may be made at all, or ``OK``."""
        refusal = self.policy and self.policy.refusal(
            provider=self.provider, model_id=self.model_id, base_url=self.base_url
        )
        if refusal:
            return AttemptStatus.DISABLED, refusal
        if case.prompt is None:
            return AttemptStatus.STALE_INPUT, "no prompt was rendered for this case"
        if self.needs_key and not self.api_key and self.cassette is None:
            return AttemptStatus.AUTH, f"no API key is set for {self.name}"
        return AttemptStatus.OK, ""

    async def _try(self, request: Request, case: Case, *, deadline: float) -> Tried:
        started_at, started = datetime.now(UTC), time.monotonic()
        verdict, fault, retry_after_s = None, "", None
        try:
            async with asyncio.timeout(deadline - started):
                answer = await self._answer(request)
        except CallFailed as error:
            status, fault, retry_after_s = error.status, str(error), error.retry_after_s
            answer = Completion(text="", raw=error.answer, request_id=error.request_id)
        except TimeoutError:
            status, fault = AttemptStatus.TIMEOUT, f"no answer within {self.timeout_s:g} s"
            answer = Completion(text="")
        else:
            status, verdict, fault = self._judged(answer, case)
        used, doubts = sane_usage(answer, card=request.card)
        complaints = [fault, *(doubts if answer.text or answer.raw else ())]
        prompt = case.prompt
        attempt = Attempt(
            status=status,
            started_at=started_at,
            latency_ms=(time.monotonic() - started) * 1000,
            error=self._clean("; ".join(each for each in complaints if each)),
            model_requested=self.model_id,
            model_reported=self._clean(answer.model_reported)[:128],
            request_id=self._clean(answer.request_id)[:128],
            parameters=request.parameters,
            prompt_version=prompt.label if prompt else "",
            prompt_sha256=prompt.sha256 if prompt else "",
            prompt=prompt.text if prompt else "",
            answer=self._clean(answer.text or answer.raw)[:KEPT_MAX_CHARS],
            tokens_in=used["tokens_in"],
            tokens_cached=used["tokens_cached"],
            tokens_cache_write=used["tokens_cache_write"],
            tokens_out=used["tokens_out"],
            tokens_reasoning=used["tokens_reasoning"],
        )
        return Tried(
            attempt=attempt,
            verdict=verdict,
            text=answer.text,
            fault=fault,
            retry_after_s=retry_after_s,
        )

    async def _answer(self, request: Request) -> Completion:
        if self.cassette is None:
            return await self._completed(request)
        key = self._content_key(request)
        played = await self.cassette.play(key)
        if isinstance(played, CallFailed):
            raise played
        if played is not None:
            return played
        try:
            made = await self._completed(request)
        except CallFailed as error:
            await self.cassette.record(key, error)
            raise
        await self.cassette.record(key, made)
        return made

    async def _completed(self, request: Request) -> Completion:
        """Make one call, marked as OpenTelemetry names calls of models."""
        about: dict[str, spans.Value | None] = {
            "gen_ai__operation__name": "chat",
            "gen_ai__provider__name": self.provider,
            "gen_ai__request__model": self.model_id,
            "gen_ai__request__max_tokens": self.max_tokens,
        }
        with spans.span(f"chat {self.model_id}", **about) as mark:
            made = await self.complete(request)
            mark.say(
                gen_ai__response__model=made.model_reported or None,
                gen_ai__response__id=made.request_id or None,
                gen_ai__usage__input_tokens=made.tokens_in,
                gen_ai__usage__output_tokens=made.tokens_out,
                lens__status=str(made.status),
            )
        return made

    def _content_key(self, request: Request) -> str:
        """Return the hash of everything that the answer hangs on."""
        content = {"provider": self.provider, "model_id": self.model_id, **asdict(request)}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _judged(self, answer: Completion, case: Case) -> tuple[AttemptStatus, Verdict | None, str]:
        if answer.status is not AttemptStatus.OK:
            return answer.status, None, f"the model's answer was {answer.status}"
        try:
            return AttemptStatus.OK, self.read(answer.text, case), ""
        except BadAnswer as error:
            return AttemptStatus.INVALID, None, str(error)

    def _following(self, request: Request, tried: Tried, step: Step) -> Request | None:
        """Return the call that follows by ``step``, or None if there is none to make."""
        if step.verb == "stop":
            return None
        if step.verb == "repair":
            complaint = COMPLAINT.format(fault=tried.fault)
            return replace(request, turns=((tried.text, complaint),))
        if tried.ended is not AttemptStatus.TRUNCATED:
            return request
        larger = request.max_tokens * LARGER_CAP
        larger = min(larger, request.card.output_tokens or larger)
        return replace(request, max_tokens=larger) if larger > request.max_tokens else None

    def _clean(self, text: str) -> str:
        """Return a vendor's text without our key, which some vendors repeat in their refusals."""
        visible = text.replace("\x00", "\ufffd")
        return visible.replace(self.api_key, "[key]") if self.api_key else visible


def sane_usage(answer: Completion, *, card: Card) -> tuple[dict[str, int | None], list[str]]:
    """Return the token counts that can be true, and a sentence on each that is not.

    A count that is missing, negative or ten times what the model can hold is None: not known.
    """
    most = ABSURD_CONTEXTS * (card.context_tokens or CONTEXT_TOKENS)
    used: dict[str, int | None] = {}
    doubts = []
    for name in COUNTS:
        count = getattr(answer, name)
        used[name] = count if count is None or 0 <= count <= most else None
        if used[name] != count:
            doubts.append(f"{name} of {count} is absurd")
        elif count is None and name in ("tokens_in", "tokens_out"):
            doubts.append(f"{name} is missing")
    for part, whole in PARTS.items():
        part_count, whole_count = used[part], used[whole]
        if part_count is not None and whole_count is not None and part_count > whole_count:
            doubts.append(f"{part} of {part_count} is more than {whole} of {whole_count}")
            used[part] = None
    return used, doubts


def _left_off(attempts: list[Attempt]) -> Opinion:
    if not attempts:
        raise leases.LeaseOver
    return _abstention(attempts, retry_after_s=None)


def _abstention(attempts: list[Attempt], *, retry_after_s: float | None) -> Opinion:
    last = attempts[-1]
    return Opinion(
        verdict=None,
        status=last.status,
        attempts=tuple(attempts),
        reason=last.error,
        retry_after_s=retry_after_s,
    )
