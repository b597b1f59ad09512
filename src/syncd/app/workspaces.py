"""A workspace: from what the file says of it to sources with their policies, rules, pools and roles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from ipaddress import ip_network

import orjson

from syncd.app.directories import Directory
from syncd.core import filter as scim_filter
from syncd.core.access import BUILT_IN, Role
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.canary import Bad, Fewer
from syncd.core.connection import Access, Shows, TrustedIssuer
from syncd.core.correlation import Correlation, CorrelationRule
from syncd.core.guards import Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.core.ownership import Precedence
from syncd.core.password import PasswordPolicy
from syncd.core.resource import fold
from syncd.core.rules import Rule
from syncd.core.schema import ResourceType
from syncd.core.scopes import kinds as scope_kinds
from syncd.core.seats import Pool, Price
from syncd.core.signins import SignInPolicy
from syncd.core.types import Types
from syncd.core.workspace import DEFAULT_CONNECTION, Condition, SourcePolicy, Workspace
from syncd.reconcile.mapping import DirectoryMapping
from syncd.settings import Settings, entitlements, model
from syncd.settings import sources as written

SCIM = DEFAULT_CONNECTION
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:"


def workspace(name: str, part: model.Workspace, directories: Mapping[str, Directory], loaded: Settings) -> Workspace:
    types = loaded.types[name]
    own_roles = {
        role: Role(role, frozenset(given.permissions), given.where, rank=given.rank)
        for role, given in part.roles.items()
    }
    return Workspace(
        name=name,
        sources={key: _policy(key, source, directories.get(key), types) for key, source in part.sources.items()},
        rules=tuple(_rule(rule, types) for rule in part.rules),
        pools={pool: _pool(pool, seat) for pool, seat in part.seats.items()},
        roles={**BUILT_IN, **own_roles},
        protected=tuple((text, _condition(text, types)[0]) for text in part.protected),
        precedence=_precedence(part, types),
        passwords=_passwords(part.passwords),
        sign_ins=SignInPolicy(part.sign_ins.lock_after, part.sign_ins.lock_for, part.sign_ins.count_for),
        purge_after=loaded.retention.purge_after,
        mails=loaded.mail is not None,
        invited_for=part.invitations.expire_after,
        withdrawn_after=part.invitations.withdraw_after,
        confirms_emails=part.email_changes.confirm,
        email_changes_for=part.email_changes.expire_after,
        scope_kinds=scope_kinds(part.data_scopes, (kind for rule in part.rules for kind in rule.scopes)),
        webhooks=tuple(part.webhooks),
        warn_before=part.offboarding.warn_before,
        types=types,
    )


def _policy(name: str, source: written.Source, directory: Directory | None, types: Types) -> SourcePolicy:
    limits = {kind: _limit(getattr(source.limits, kind)) for kind in type(source.limits).model_fields}
    ladder = Ladder()
    if isinstance(source, written.Directory):
        missing = source.missing
        ladder = Ladder(missing.suspend_after, missing.deactivate_after, missing.delete_after, missing.purge_after)
    policy = source.policy if isinstance(source, written.ScimSource) else written.Policy()
    by_filter = source.adopt not in ("never", "ask")
    return SourcePolicy(
        name=name,
        kind=source.kind,
        authoritative=source.authoritative,
        may_grant=None if source.may_grant is None else frozenset(source.may_grant),
        limits=Limits(limits, source.window),
        ladder=ladder,
        on_conflict=source.on_conflict,
        adopt=source.adopt,
        may_adopt=_condition(source.adopt, types)[0] if by_filter else None,
        correlation=_correlation(source, types),
        bad=Bad(source.quarantine.share, source.quarantine.floor) if isinstance(source, written.Directory) else Bad(),
        fewer=Fewer(source.fewer.share, source.fewer.floor) if isinstance(source, written.Directory) else Fewer(),
        passwords=source.passwords if isinstance(source, written.ScimSource) else False,
        sees=source.sees if isinstance(source, written.ScimSource) else "all",
        access=_access(source) if isinstance(source, written.ScimSource) else Access(),
        shows=_shows(source.show, policy) if isinstance(source, written.ScimSource) else Shows(),
        dialect=str(policy),
        tolerances=policy.tolerances,
        digest=_digest(source, directory.mapping) if directory else "",
    )


def _correlation(source: written.Source, types: Types) -> Correlation:
    if not isinstance(source, written.Directory):
        return Correlation()
    given = source.correlation
    rules = tuple(
        CorrelationRule(tuple(found.path for path in rule.same if (found := types.of_user(path))), rule.score)
        for rule in given.rules
    )
    return Correlation(rules, given.certain, given.possible)


def _shows(show: written.Show, policy: written.Policy) -> Shows:
    return Shows(
        show.roles_and_entitlements,
        show.member_display,
        show.patched_group,
        show.security_events,
        policy.base == "authentik" if show.empty_members is None else show.empty_members,
    )


def _access(source: written.ScimSource) -> Access:
    jwt = source.jwt
    issuer = None
    if jwt is not None:
        issuer = TrustedIssuer(
            issuer=jwt.issuer,
            audience=jwt.audience,
            jwks_url=jwt.jwks_url,
            claims=jwt.claims,
            algorithms=jwt.algorithms,
            allow=frozenset(jwt.allow),
            leeway_s=int(jwt.leeway.total_seconds()),
            ca_file=None if jwt.ca_file is None else str(jwt.ca_file),
        )
    return Access(tuple(map(ip_network, source.networks)), source.rate, issuer)


def _limit(limit: written.Limit) -> Limit:
    return Limit(limit.share, limit.floor, limit.number)


def _digest(source: written.Source, mapping: DirectoryMapping) -> str:
    """Of what decides which entries are read and what they come to. Not of addresses: replicas come and go, and a server
    that is another one is noticed by its identity. Not of an LDIF's path: dumps are dated."""
    parts: list[object] = [source.kind, mapping.digest]
    if isinstance(source, written.LdapSource):
        searches = (source.users, source.groups)
        parts += [[sorted(each.base), each.scope, each.filter] if each else None for each in searches]
        parts += [source.groups.by] if source.groups and source.groups.by else []
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def _condition(text: str, types: Types) -> tuple[Condition, frozenset[str]]:
    """The test a filter stands for, and what it reads."""
    found = scim_filter.parse_filter(text, types.rule_user)
    return scim_filter.compile(found), scim_filter.names(found)


def _rule(rule: entitlements.Rule, types: Types) -> Rule:
    matches, reads = _condition(rule.when, types)
    return Rule(
        name=rule.name,
        when=rule.when,
        matches=matches,
        roles=rule.roles,
        permissions=rule.permissions,
        seats=rule.seats,
        scopes=tuple(f"{kind}={value}" for kind, values in rule.scopes.items() for value in values),
        reads_groups="groups" in reads,
        reads=reads,
        where=rule.where or None,
        mode=rule.mode,
        choice=rule.choice or "",
    )


def _pool(name: str, seat: entitlements.Seat) -> Pool:
    return Pool(
        name=name,
        limit=seat.limit,
        when_full=seat.when_full.mode,
        overage=seat.when_full.overage,
        requires=seat.requires,
        excludes=seat.excludes,
        pending_counts=seat.pending_counts,
        idle_after=seat.idle_after,
        required=seat.required,
        kind=seat.kind,
        price=Price(seat.price, seat.currency, seat.per) if seat.price is not None and seat.currency else None,
        where=seat.where or None,
    )


def _passwords(given: entitlements.Passwords) -> PasswordPolicy:
    forbidden = frozenset(map(fold, given.forbidden_file or ()))
    return PasswordPolicy(
        given.min_length, forbidden, given.beside_provider, given.attempts_per_minute, given.reset_for
    )


def _precedence(part: model.Workspace, types: Types) -> Precedence:
    """Not given: directories in the order of the file, then connections, then people."""
    read = [name for name, source in part.sources.items() if isinstance(source, written.Directory)]
    pushing = [name for name, source in part.sources.items() if isinstance(source, written.ScimSource)]
    usual = tuple(dict.fromkeys([*read, *pushing, SCIM, ADMIN_SOURCE]))
    named = {_canonical(path, types.user): order for path, order in part.precedence.items() if path != "default"}
    return Precedence(part.precedence.get("default") or usual, named)


def _canonical(path: str, type: ResourceType) -> str:
    resolved = type.resolve(path) or type.resolve(_ENTERPRISE + path)
    return resolved.path if resolved else path
