"""The rules that facts are gathered by: which are in force, and writing the next ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet

from enrichment import queries
from enrichment.models import FeatureProfile, Policy
from enrichment.policy import BUILT_IN, TradingPolicy, constraints_for, parse_policy
from enrichment.profiles import BUILT_INS, Definition, Profile, resolve
from enrichment.types import BadDefinition
from pipeline import services as pipeline

ACTOR = "lens"
RULES_KEPT = timedelta(seconds=5)
LOOKED_AT_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The profiles and the policy in force; ``faults`` says by name why a profile is unusable."""

    read_at: datetime
    profiles: Mapping[str, Profile]
    faults: Mapping[str, str]
    policy: TradingPolicy | BadDefinition


_KEPT: dict[str, Rules] = {}


def current_rules(*, now: datetime) -> Rules:
    """Return the rules in force, at most five seconds old."""
    kept = _KEPT.get("rules")
    if kept is None or not timedelta(0) <= now - kept.read_at <= RULES_KEPT:
        kept = _KEPT["rules"] = _read_rules(now=now)
    return kept


def forget_rules() -> None:
    """Read the rules anew the next time they are asked for."""
    _KEPT.clear()


def _read_rules(*, now: datetime) -> Rules:
    rows = queries.list_active_profiles()
    profiles, faults = _resolved(
        {row.name: row.definition for row in rows}, {row.name: row.version for row in rows}
    )
    return Rules(read_at=now, profiles=profiles, faults=faults, policy=_read_policy())


def _read_policy() -> TradingPolicy | BadDefinition:
    row = queries.get_active_policy()
    if row is None:
        return parse_policy(BUILT_IN, version=0)
    try:
        return parse_policy(row.definition, version=row.version)
    except BadDefinition as error:
        return error


def _resolved(
    definitions: Mapping[str, Definition], versions: Mapping[str, int]
) -> tuple[dict[str, Profile], dict[str, str]]:
    profiles: dict[str, Profile] = {}
    faults: dict[str, str] = {}
    for name in definitions:
        try:
            profiles[name] = resolve(
                name,
                definitions=definitions,
                versions=versions,
                timeframes=settings.TIMEFRAMES,
            )
        except BadDefinition as error:
            faults[name] = str(error)
    return profiles, faults


def ensure_built_ins(*, now: datetime) -> None:
    """Store the built-in profiles and policy where no version of them was ever stored."""
    stored = set(FeatureProfile.objects.values_list("name", flat=True))
    FeatureProfile.objects.bulk_create(
        [
            FeatureProfile(
                name=name,
                version=1,
                definition=dict(definition),
                is_active=True,
                created_at=now,
                created_by=ACTOR,
            )
            for name, definition in BUILT_INS.items()
            if name not in stored
        ],
        ignore_conflicts=True,
    )
    if not Policy.objects.exists():
        row = Policy(
            version=1, definition=dict(BUILT_IN), is_active=True, created_at=now, created_by=ACTOR
        )
        Policy.objects.bulk_create([row], ignore_conflicts=True)
    forget_rules()


class RulesRefused(Exception):
    """What was asked for cannot be done to this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What putting a version in force would come to.

    ``extending`` are the profiles that would change with it. ``judged`` is how many of the
    ``looked_at`` latest signals had facts by these rules; ``differing`` counts, for a policy, those
    whose constraints would be others.
    """

    version: int
    before: int | None
    extending: tuple[str, ...] = ()
    looked_at: int = 0
    judged: int = 0
    differing: Mapping[str, int] = field(default_factory=dict)


def check_profile(*, name: str, definition: Definition) -> Profile:
    """Return the profile that a definition makes with what is in force beside it.

    :raises BadDefinition: if it breaks a rule, or a profile that extends it would.
    """
    rows = {row.name: row for row in queries.list_active_profiles()}
    definitions = {each: row.definition for each, row in rows.items()}
    versions = {each: row.version for each, row in rows.items()}
    profile = resolve(
        name,
        definitions={**definitions, name: definition},
        versions={**versions, name: _next_version(FeatureProfile.objects.filter(name=name))},
        timeframes=settings.TIMEFRAMES,
    )
    _, before = _resolved(definitions, versions)
    _, after = _resolved({**definitions, name: definition}, {**versions, name: profile.version})
    for broken in after:
        if broken not in before:
            raise BadDefinition("", f"{broken} extends it and would break: {after[broken]}")
    return profile


def draft_profile(
    *, name: str, definition: Definition, actor: str, now: datetime
) -> FeatureProfile:
    """Store the next version of a profile; nothing is gathered by it until it is in force.

    :raises BadDefinition: if it breaks a rule, or a profile that extends it would.
    """
    with transaction.atomic():
        profile = check_profile(name=name, definition=definition)
        row = FeatureProfile.objects.create(
            name=name,
            version=profile.version,
            definition=dict(definition),
            created_at=now,
            created_by=actor,
        )
        _tell("PROFILE_DRAFTED", f"profile:{name}", before=None, row=row, actor=actor, now=now)
    return row


def activate_profile(
    *, profile: FeatureProfile, actor: str, now: datetime, reason: str = ""
) -> FeatureProfile:
    """Gather facts by this version from now on; signals already judged keep theirs.

    :raises RulesRefused: if it is in force already.
    :raises BadDefinition: if it breaks a rule with what is in force now.
    """
    with transaction.atomic():
        rows = FeatureProfile.objects.select_for_update().filter(name=profile.name)
        before = next((row for row in rows if row.is_active), None)
        if before is not None and before.pk == profile.pk:
            raise RulesRefused(f"{profile} is in force already")
        check_profile(name=profile.name, definition=profile.definition)
        rows.filter(is_active=True).update(is_active=False)
        rows.filter(pk=profile.pk).update(is_active=True)
        mark = f"profile:{profile.name}"
        _tell(
            "PROFILE_CHANGED", mark, before=before, row=profile, actor=actor, now=now, reason=reason
        )
        transaction.on_commit(forget_rules)
    profile.refresh_from_db()
    return profile


def add_profile_version(
    *, name: str, definition: Definition, actor: str, now: datetime
) -> FeatureProfile:
    """Put a new version of a profile in force; signals already judged keep theirs.

    :raises BadDefinition: if it breaks a rule, or a profile that extends it would.
    """
    with transaction.atomic():
        row = draft_profile(name=name, definition=definition, actor=actor, now=now)
        return activate_profile(profile=row, actor=actor, now=now)


def preview_profile_activation(*, profile: FeatureProfile) -> Activation:
    """Return what putting a version of a profile in force would come to."""
    rules = {row.name: row for row in queries.list_active_profiles()}
    extending = tuple(
        name for name in rules if name != profile.name and _extends(name, profile.name, rules)
    )
    names = [profile.name, *extending]
    latest = queries.latest_enrichments(limit=LOOKED_AT_MAX)
    before = rules.get(profile.name)
    return Activation(
        version=profile.version,
        before=None if before is None else before.version,
        extending=extending,
        looked_at=len(latest),
        judged=sum(row.profile in names for row in latest),
    )


def _extends(name: str, base: str, rules: Mapping[str, FeatureProfile]) -> bool:
    seen: set[str] = set()
    above: object = name
    while isinstance(above, str) and above in rules and above not in seen:
        seen.add(above)
        above = rules[above].definition.get("extends")
        if above == base:
            return True
    return False


def draft_policy(*, definition: Mapping[str, Any], actor: str, now: datetime) -> Policy:
    """Store the next version of the policy; nothing is held to it until it is in force.

    :raises BadDefinition: if it breaks a rule.
    """
    with transaction.atomic():
        version = _next_version(Policy.objects.all())
        parse_policy(definition, version=version)
        row = Policy.objects.create(
            version=version, definition=dict(definition), created_at=now, created_by=actor
        )
        _tell("POLICY_DRAFTED", "policy", before=None, row=row, actor=actor, now=now)
    return row


def activate_policy(*, policy: Policy, actor: str, now: datetime, reason: str = "") -> Policy:
    """Hold advice to this version from now on; signals already judged keep theirs.

    :raises RulesRefused: if it is in force already.
    :raises BadDefinition: if it breaks a rule.
    """
    with transaction.atomic():
        before = Policy.objects.select_for_update().filter(is_active=True).first()
        if before is not None and before.pk == policy.pk:
            raise RulesRefused(f"{policy} is in force already")
        parse_policy(policy.definition, version=policy.version)
        Policy.objects.filter(is_active=True).update(is_active=False)
        Policy.objects.filter(pk=policy.pk).update(is_active=True)
        _tell(
            "POLICY_CHANGED",
            "policy",
            before=before,
            row=policy,
            actor=actor,
            now=now,
            reason=reason,
        )
        transaction.on_commit(forget_rules)
    policy.refresh_from_db()
    return policy


def add_policy_version(*, definition: Mapping[str, Any], actor: str, now: datetime) -> Policy:
    """Put a new version of the policy in force; signals already judged keep theirs.

    :raises BadDefinition: if it breaks a rule.
    """
    with transaction.atomic():
        row = draft_policy(definition=definition, actor=actor, now=now)
        return activate_policy(policy=row, actor=actor, now=now)


def preview_policy_activation(*, policy: Policy) -> Activation:
    """Return whose constraints would have been others, among the latest signals."""
    before = queries.get_active_policy()
    parsed = parse_policy(policy.definition, version=policy.version)
    latest = queries.latest_enrichments(limit=LOOKED_AT_MAX)
    symbols = queries.list_symbols(event_ids=[row.event_id for row in latest])
    differing = Counter(
        symbols[row.event_id]
        for row in latest
        if row.event_id in symbols
        and constraints_for(parsed, symbol=symbols[row.event_id]) != row.constraints
    )
    return Activation(
        version=policy.version,
        before=None if before is None else before.version,
        looked_at=len(latest),
        judged=sum(before is not None and row.policy_version == before.version for row in latest),
        differing=dict(differing),
    )


def _tell(
    verb: str,
    mark: str,
    *,
    before: FeatureProfile | Policy | None,
    row: FeatureProfile | Policy,
    actor: str,
    now: datetime,
    reason: str = "",
) -> None:
    more: dict[str, Any] = {"reason": reason} if reason else {}
    pipeline.record_act(
        actor=actor,
        verb=verb,
        object=mark,
        before=None if before is None else {"version": before.version},
        after={"version": row.version},
        at=now,
        **more,
    )


def _next_version(rows: QuerySet[FeatureProfile] | QuerySet[Policy]) -> int:
    return int(rows.aggregate(latest=Max("version"))["latest"] or 0) + 1
