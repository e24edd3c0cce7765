"""Reading the whole chain again: what was changed, removed, swapped, slipped in or cut off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from pipeline.anchors import Anchor, Past
from pipeline.chain import GENESIS, Ranges, seal_hash, unpacked
from pipeline.chaining import line_hash, sealed_after
from pipeline.models import AuditEvent, Chain, Seal
from pipeline.parsing import latest_passing
from pipeline.types import Gone

logger = logging.getLogger(__name__)

PURGED = "PURGED"
"""The verb of the lines by which a purge tells what it has removed."""

NEVER = "never"
SEALS_AT_ONCE = 8
IDS_AT_ONCE = 50_000
FINDINGS_MAX = 200
"""Findings that are told one by one; beyond that the chain is broken anyway."""


Witness = Callable[[Sequence[AuditEvent]], tuple[list[str], list[Gone]]]
"""Compares what sealed lines tell of other rows with these rows: findings, and what is gone."""


@dataclass(slots=True)
class Report:
    """How far a verification has come and what it has found."""

    seals: int = 0
    seals_in_all: int = 0
    lines: int = 0
    purged: int = 0
    anchors: int = 0
    void_anchors: int = 0
    waiting: int = 0
    head: str = GENESIS
    findings: list[str] = field(default_factory=list)
    findings_in_all: int = 0

    @property
    def is_whole(self) -> bool:
        """Say whether nothing was found."""
        return self.findings_in_all == 0

    def find(self, text: str) -> None:
        """Note what is wrong."""
        self.findings_in_all += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(text)


class Verification:
    """One reading of the chain, in steps, so that it shows its progress and can be cut short."""

    def __init__(self, *, outside: Past) -> None:
        self.report = Report(void_anchors=outside.void)
        self._anchors = _by_number(outside.anchors)
        self._witnesses: dict[str, Witness] = {
            verb: import_string(path) for verb, path in settings.WITNESSES.items()
        }
        self._purged = Purged.told()
        self._gone: list[Gone] = []
        self._chain = Chain.objects.filter(id=1).first() or Chain()
        self._settled_lines = 0
        self._number = 0
        self._hash = GENESIS

    def steps(self) -> Iterator[Report]:
        """Read everything, yielding the one report as it grows."""
        upto = Seal.objects.order_by("-number").values_list("number", flat=True).first() or 0
        self._begin()
        self.report.seals_in_all = max(0, upto - self._number)
        while seals := self._next_seals(upto):
            self._read(seals)
            yield self.report
        self._miss_anchored()
        self._look_for_strangers()
        self._judge_what_is_gone()
        self.report.waiting = self._count_waiting()
        yield self.report

    def _begin(self) -> None:
        """Start at the first seal, or where a purge says that the kept ones begin."""
        self._number = self._chain.trimmed_number
        if self._number:
            self._hash = self._purged.seals.get(self._number, "")
            if not self._hash:
                self.report.find(f"seals up to {self._number} are gone and no purge tells of it")

    def _next_seals(self, upto: int) -> list[Seal]:
        rows = Seal.objects.filter(number__gt=self._number, number__lte=upto)
        return list(rows.order_by("number")[:SEALS_AT_ONCE])

    def _read(self, seals: Sequence[Seal]) -> None:
        listed = {seal.number: list(unpacked(bytes(seal.lines))) for seal in seals}
        ids = [line_id for entries in listed.values() for line_id, _ in entries]
        stored = AuditEvent.objects.in_bulk(ids)
        for seal in seals:
            self._read_seal(seal)
            for line_id, sha256 in listed[seal.number]:
                self._read_line(stored.get(line_id), line_id, sha256, seal)
        self._hear(stored[line_id] for line_id in ids if line_id in stored)

    def _read_seal(self, seal: Seal) -> None:
        find = self.report.find
        if seal.number != self._number + 1:
            find(f"seals {self._number + 1} to {seal.number - 1} are missing")
        elif seal.previous != self._hash:
            find(f"seal {seal.number} does not follow seal {self._number}")
        if seal.hash != seal_hash(
            number=seal.number,
            previous=seal.previous,
            sealed_at=seal.sealed_at,
            lines=bytes(seal.lines),
        ):
            find(f"seal {seal.number} was changed")
        for anchor in self._anchors.pop(seal.number, ()):
            self.report.anchors += 1
            if anchor.hash != seal.hash:
                find(f"seal {seal.number} is not what was anchored at {anchor.at}")
        self._number, self._hash = seal.number, seal.hash
        self.report.seals += 1
        self.report.head = seal.hash

    def _read_line(self, line: AuditEvent | None, line_id: int, sha256: str, seal: Seal) -> None:
        if line is not None:
            self.report.lines += 1
            self._settled_lines += line_id <= self._chain.settled_id
            if line_hash(line) != sha256:
                self.report.find(f"line {line_id} was changed after seal {seal.number}")
        elif line_id in self._purged.lines:
            self.report.purged += 1
        else:
            self._gone.append(Gone("line", line_id, f"line {line_id} of seal {seal.number}"))

    def _hear(self, lines: Iterable[AuditEvent]) -> None:
        by_verb: dict[str, list[AuditEvent]] = {}
        for line in lines:
            if line.verb in self._witnesses:
                by_verb.setdefault(line.verb, []).append(line)
        for verb, told in by_verb.items():
            findings, gone = self._witnesses[verb](told)
            for text in findings:
                self.report.find(text)
            self._gone += [each for each in gone if not self._purged.covers(each)]

    def _miss_anchored(self) -> None:
        """Find out that the end was cut off: what was anchored must be there."""
        for number, anchored in sorted(self._anchors.items()):
            if number > self._chain.trimmed_number:
                self.report.find(f"seal {number}, anchored at {anchored[0].at}, is missing")

    def _look_for_strangers(self) -> None:
        """Find lines that stand below the sealed place but that no seal holds."""
        settled_id = self._chain.settled_id
        stored = AuditEvent.objects.filter(id__lte=settled_id)
        if stored.count() <= self._settled_lines:
            return
        place = 0
        while True:
            rows = stored.filter(id__gt=place).order_by("id").values_list("id", flat=True)
            ids = list(rows[:IDS_AT_ONCE])
            if not ids:
                return
            sealed = _sealed_between(ids[0], ids[-1])
            for line_id in ids:
                if line_id not in sealed:
                    self.report.find(f"line {line_id} was slipped in: no seal holds it")
            place = ids[-1]

    def _judge_what_is_gone(self) -> None:
        """Ask once more what purges tell: one may have gone on while the chain was read."""
        purged = Purged.told() if self._gone else self._purged
        for each in self._gone:
            if purged.covers(each):
                self.report.purged += each.kind == "line"
            else:
                self.report.find(f"{each.text} is missing")

    def _count_waiting(self) -> int:
        settled_id = self._chain.settled_id
        later = AuditEvent.objects.filter(id__gt=settled_id).count()
        return max(0, later - len(sealed_after(settled_id)))


def is_due(*, now: datetime) -> bool:
    """Say whether the daily verification should run: its hour has passed, and none since."""
    if settings.AUDIT_VERIFY_AT == NEVER or not Seal.objects.exists():
        return False
    verified_at = Chain.objects.values_list("verified_at", flat=True).first()
    return verified_at is None or verified_at < latest_passing(settings.AUDIT_VERIFY_AT, now=now)


def note_verification(*, report: Report, now: datetime) -> None:
    """Keep what a verification found, so that pages and alarms can tell; the log tells it too."""
    if not report.is_whole:
        logger.error("the trail is NOT whole: %s", "; ".join(report.findings))
    Chain.objects.update_or_create(
        id=1,
        defaults={
            "verified_at": now,
            "verified_seals": report.seals,
            "findings": report.findings,
        },
    )


@dataclass(frozen=True, slots=True)
class Purged:
    """What purges tell that they have removed; their lines are sealed like all others."""

    lines: Ranges
    signals: Ranges
    seals: Mapping[int, str]

    @classmethod
    def told(cls) -> Purged:
        """Return what the trail tells now."""
        told = list(AuditEvent.objects.filter(verb=PURGED).values_list("details", flat=True))
        seals: list[dict[str, Any]] = [each["seals"] for each in told if each.get("seals")]
        return cls(
            lines=_united(each.get("lines", ()) for each in told),
            signals=_united(each.get("signals", ()) for each in told),
            seals={int(each["upto"]): str(each["hash"]) for each in seals},
        )

    def covers(self, gone: Gone) -> bool:
        """Say whether a purge tells of it."""
        return gone.number in (self.lines if gone.kind == "line" else self.signals)


def _united(told: Iterable[Iterable[Iterable[int]]]) -> Ranges:
    return Ranges(ends for ranges in told for ends in ranges)


def _by_number(anchored: Sequence[Anchor]) -> dict[int, list[Anchor]]:
    found: dict[int, list[Anchor]] = {}
    for anchor in anchored:
        found.setdefault(anchor.number, []).append(anchor)
    return found


def _sealed_between(first_id: int, last_id: int) -> set[int]:
    """Return the sealed ids of a stretch."""
    seals = Seal.objects.filter(first_id__lte=last_id, last_id__gte=first_id)
    return {
        line_id
        for lines in seals.values_list("lines", flat=True)
        for line_id, _ in unpacked(bytes(lines))
    }


def proof_of(line: AuditEvent) -> tuple[int | None, str]:
    """Return the seal that holds a line, and whether the line is still what was sealed."""
    near = Seal.objects.filter(first_id__lte=line.id, last_id__gte=line.id).order_by("last_id")
    for one in near[:SEALS_AT_ONCE]:
        for line_id, sha256 in unpacked(bytes(one.lines)):
            if line_id == line.id:
                return one.number, "sealed" if sha256 == line_hash(line) else "CHANGED after seal"
    return None, "not sealed yet"
