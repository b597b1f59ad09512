"""Contradictions: keys that are each well written and do not go together.

Each check yields (path of the key, what is wrong). They run on what is well typed, even if other parts of the file are
not; so what names refer to is looked up in the names as written, `Known`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from syncd.core.access import BUILT_IN, DENIAL, OWNER
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.filter import parse_filter
from syncd.core.scopes import KINDS
from syncd.core.types import STANDARD, Types, can_be_indexed
from syncd.deliver import letters
from syncd.errors import SyncdError
from syncd.ldap.accounts import condition
from syncd.ldap.config import is_loopback
from syncd.reconcile.mapping import compile_mapping
from syncd.scim.dialects import POLICIES
from syncd.settings.block import did_you_mean
from syncd.settings.entitlements import Rule
from syncd.settings.model import Workspace
from syncd.settings.outgoing import Deliver, Mail
from syncd.settings.service import Http
from syncd.settings.sources import Accounts, Directory, Jwt, LdapSource, Missing, Policy, Schedule, ScimSource, Source
from syncd.settings.values import shown

Path: TypeAlias = tuple[str | int, ...]
Contradiction: TypeAlias = tuple[Path, str]

# Sources that exist without being configured; a source of that name configures it and must be of that kind.
IMPLIED = {ADMIN_SOURCE: "local", "scim": "scim"}
RESERVED = {"rules": "is what `syncd plan rules` is called"}


@dataclass(frozen=True, slots=True)
class Known:
    """The names that a workspace gives, well typed or not."""

    seats: frozenset[str]
    roles: frozenset[str]
    sources: frozenset[str]

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Known:
        def names(section: str) -> frozenset[str]:
            block = written.get(section)
            return frozenset(block) if isinstance(block, Mapping) else frozenset()

        return cls(names("seats"), names("roles") | BUILT_IN.keys(), names("sources") | IMPLIED.keys())


def http(settings: Http) -> Iterator[Contradiction]:
    if not (settings.bind.loopback or settings.tls or settings.trusted_proxies):
        yield (
            ("http", "bind"),
            f"{settings.bind} is reachable from other machines: give http.tls a certificate, or name the proxies "
            "that end TLS in http.trusted_proxies",
        )


def deliver(settings: Deliver) -> Iterator[Contradiction]:
    if settings.last_retry < settings.first_retry:
        yield ("deliver", "last_retry"), "is shorter than first_retry"


def mail(settings: Mail | None) -> Iterator[Contradiction]:
    if settings is None:
        return
    if settings.tls == "none" and not is_loopback(settings.host):
        yield ("mail", "tls"), f"{settings.host} is another machine, and letters hold links that let people in: use TLS"
    if settings.tls == "none" and settings.ca_file:
        yield ("mail", "ca_file"), "is of no use without TLS; drop one of the two"
    if settings.password_file is not None and settings.password_env is not None:
        yield ("mail", "password_env"), "the password is already given by password_file; drop one of the two"
    if settings.username and settings.password is None:
        yield ("mail", "username"), "has no password: give password_file or password_env"
    if settings.password is not None and not settings.username:
        key = "password_file" if settings.password_file is not None else "password_env"
        yield ("mail", key), "has no username: whose password is it?"
    if settings.templates is not None:
        try:
            letters.read(settings.templates)
        except ValueError as exc:
            yield ("mail", "templates"), str(exc)


def letters_needed(part: Workspace, mail: Mail | None) -> Iterator[Contradiction]:
    if part.email_changes.confirm and mail is None:
        yield ("email_changes", "confirm"), "nobody could confirm an address: no mail server is configured (`mail:`)"


def workspace(part: Workspace, known: Known, types: Types | None) -> Iterator[Contradiction]:
    """`types` None: an extension's file is faulty, so nobody can say yet which attributes there are."""
    yield from _seats(part, known)
    if types is not None:
        yield from _conditions(part, types)
    for name in part.roles.keys() & BUILT_IN.keys():
        yield ("roles", name), f"{name} is built in and cannot be changed; choose another name"
    for name in part.data_scopes.keys() & KINDS.keys():
        yield ("data_scopes", name), f"{name} is a kind of data scopes already; choose another name"
    for attribute, order in part.precedence.items():
        for number, name in enumerate(order):
            if name not in known.sources:
                yield ("precedence", attribute, number), _missing("source", name, known.sources)
            elif name in order[:number]:
                yield ("precedence", attribute, number), f"{name} is named twice"
    for name, source in part.sources.items():
        for path, what in _source(name, source, known, types):
            yield ("sources", name, *path), what
    yield from _rules(part, known)
    yield from _issuers(part)
    yield from _webhooks(part)


def _conditions(part: Workspace, types: Types) -> Iterator[Contradiction]:
    """Filters, which may name attributes of the workspace's extensions."""
    written: list[tuple[Path, str]] = [(("protected", number), text) for number, text in enumerate(part.protected)]
    written += [(("sources", name, "adopt"), source.adopt) for name, source in part.sources.items()]
    written += [(("rules", number, "when"), rule.when) for number, rule in enumerate(part.rules)]
    for number, name in enumerate(part.indexes):
        found = types.user.resolve(name)
        if found is None:
            yield ("indexes", number), f"users have no attribute '{name}'{did_you_mean(name, types.user.paths)}"
        elif (why := can_be_indexed(found)) is not None:
            yield ("indexes", number), f"{found.path} {why}"
    for path, text in written:
        if path[-1] == "adopt" and text in ("never", "ask"):
            continue
        try:
            parse_filter(text, types.rule_user)
        except SyncdError as exc:
            yield path, f"{shown(text)}: {exc}"


def _missing(what: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {what} '{name}'{did_you_mean(name, known)}"


def _seats(part: Workspace, known: Known) -> Iterator[Contradiction]:
    for name, pool in part.seats.items():
        for number, needed in enumerate(pool.requires):
            if needed not in known.seats:
                yield ("seats", name, "requires", number), _missing("seat pool", needed, known.seats)
        if pool.required and pool.when_full.mode == "waitlist" and "when_full" in pool.model_fields_set:
            yield (
                ("seats", name, "when_full"),
                "a waiting list lets the person in without a seat, and `required: true` does not; drop one of the two",
            )
        if (pool.price is None) != (pool.currency is None):
            yield (
                ("seats", name, "price" if pool.currency is None else "currency"),
                "price and currency belong together",
            )
        if pool.limit is None and "when_full" in pool.model_fields_set:
            yield ("seats", name, "when_full"), "an unlimited pool is never full"
        for number, other in enumerate(pool.excludes):
            if other not in known.seats or other == name:
                told = "excludes itself" if other == name else _missing("seat pool", other, known.seats)
                yield ("seats", name, "excludes", number), told
    cycle = _cycle({name: pool.requires for name, pool in part.seats.items()})
    if cycle:
        yield ("seats", cycle[0], "requires"), f"goes round in a circle: {' -> '.join(cycle)}"
        return
    excluded = {
        name: tuple(o for o, p in part.seats.items() if name in p.excludes and o != name) for name in part.seats
    }
    cycle = _cycle({name: (*pool.requires, *excluded[name]) for name, pool in part.seats.items()})
    if cycle:
        told = f"{' and '.join(dict.fromkeys(cycle))} wait for each other: a pool excludes what it requires, or each the other"
        yield ("seats", next(name for name in cycle if part.seats[name].excludes), "excludes"), told


def _cycle(needs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The first circle, from the name that comes first in the file; () if there is none."""
    for start in needs:
        trails: list[tuple[str, ...]] = [(start,)]
        seen: set[str] = set()
        while trails:
            trail = trails.pop()
            for needed in needs.get(trail[-1], ()):
                if needed == start:
                    return (*trail, start)
                if needed not in seen:
                    seen.add(needed)
                    trails.append((*trail, needed))
    return ()


def _source(name: str, source: Source, known: Known, types: Types | None) -> Iterator[Contradiction]:
    if name in RESERVED:
        yield (), f"the name is reserved: '{name}' {RESERVED[name]}"
    if IMPLIED.get(name, source.kind) != source.kind:
        yield ("kind",), f"the source '{name}' is always of kind {IMPLIED[name]}; choose another name for this one"
    if source.kind == "local" and name != ADMIN_SOURCE:
        yield ("kind",), f"only the source '{ADMIN_SOURCE}' is of kind local"
    for number, role in enumerate(source.may_grant or ()):
        if role not in known.roles and "." not in role:  # with a dot it is a permission, module.action
            yield ("may_grant", number), _missing("role", role, known.roles)
    if isinstance(source, Directory):
        yield from _missing_ladder(source.missing)
        yield from _schedule(source.schedule)
        yield from _mapping(source, types)
        yield from _accounts(source.accounts)
        yield from _correlation(source, types)
    if isinstance(source, LdapSource):
        yield from _ldap(source)
    if isinstance(source, ScimSource):
        yield from _switches(source.policy)


def _issuers(part: Workspace) -> Iterator[Contradiction]:
    """A token must mean one source."""
    seen: list[tuple[str, Jwt]] = []
    for name, source in part.sources.items():
        if not isinstance(source, ScimSource) or source.jwt is None:
            continue
        for other, jwt in seen:
            shared = jwt.claims.keys() & source.jwt.claims.keys()
            same = jwt.issuer == source.jwt.issuer and set(jwt.audience) & set(source.jwt.audience)
            if same and all(jwt.claims[claim] == source.jwt.claims[claim] for claim in shared):
                yield ("sources", name, "jwt", "claims"), f"a token may fit source '{other}' as well: tell them apart"
        seen.append((name, source.jwt))


def _webhooks(part: Workspace) -> Iterator[Contradiction]:
    for name, webhook in part.webhooks.items():
        if not webhook.secrets:
            yield (
                ("webhooks", name),
                "has no secret, so that nobody could tell its messages from others': give secret_files or secret_envs",
            )
        if len({each.reveal() for each in webhook.secrets}) < len(webhook.secrets):
            key = "secret_files" if webhook.secret_files else "secret_envs"
            yield ("webhooks", name, key), "names the same secret twice"


def _switches(policy: Policy) -> Iterator[Contradiction]:
    held = POLICIES[policy.base]  # which may grow in a release: what is allowed besides may be part of it by then
    for number, name in enumerate(policy.refuse):
        if name in policy.allow:
            yield ("policy", "refuse", number), f"{name} is allowed as well; drop one of the two"
        elif name not in held:
            yield ("policy", "refuse", number), f"{name} is no part of {policy.base}"


def _mapping(source: Directory, types: Types | None) -> Iterator[Contradiction]:
    none: Mapping[str, Any] = {}
    users = [("attributes", name, {name: template}, none) for name, template in source.attributes.items()]
    groups = [("group_attributes", name, none, {name: template}) for name, template in source.group_attributes.items()]
    for key, name, of_user, of_group in users + groups if types is not None else ():
        try:
            compile_mapping(of_user, of_group, types=types or STANDARD)
        except SyncdError as exc:
            yield (key, name), str(exc).removeprefix(f"attributes.{name}: ")
    if "username" not in {name.lower() for name in source.attributes}:
        yield ("attributes",), "lacks userName, which every user needs"
    if "displayname" not in {name.lower() for name in source.group_attributes}:
        yield ("group_attributes",), "lacks displayName, which every group needs"


def _correlation(source: Directory, types: Types | None) -> Iterator[Contradiction]:
    given = source.correlation
    if given.possible > given.certain:
        yield ("correlation", "possible"), f"is more than certain ({given.certain}); what is certain is possible too"
    if source.adopt == "never" and "correlation" in source.model_fields_set:
        yield ("correlation",), "nobody is ever taken over while `adopt` is never; give adopt: ask, or a filter"
    for number, rule in enumerate(given.rules if types is not None else ()):
        for at, path in enumerate(rule.same):
            found = (types or STANDARD).of_user(path)
            if found is None or found.path in ("id", "meta", "schemas", "groups"):
                yield (
                    ("correlation", "rules", number, "same", at),
                    f"{shown(path)} is no attribute that a directory states of a user",
                )


def _accounts(accounts: Accounts) -> Iterator[Contradiction]:
    for key in ("disabled", "locked"):
        text = getattr(accounts, key)
        try:
            if text is not None:
                condition(text)
        except SyncdError as exc:
            yield ("accounts", key), f"{shown(text)}: {exc}"


def _missing_ladder(missing: Missing) -> Iterator[Contradiction]:
    rungs = [
        (key, getattr(missing, key))
        for key in ("suspend_after", "deactivate_after", "delete_after")
        if getattr(missing, key) is not None
    ]
    for (earlier, first), (later, second) in pairwise(rungs):
        if second < first:
            yield ("missing", later), f"comes before {earlier}; each is counted from when the entry went missing"


def _schedule(schedule: Schedule) -> Iterator[Contradiction]:
    if schedule.live and schedule.delta is None:
        yield ("schedule", "live"), "goes with delta, which makes sure of what was not heard: add delta: 5m, say"


def _ldap(source: LdapSource) -> Iterator[Contradiction]:
    if source.sasl:
        for key in ("bind_dn", "bind_password_file", "bind_password_env"):
            if getattr(source, key) is not None:
                yield (key,), "sasl: external takes the name from the connection; drop one of the two"
        yield from _ldap_tls(source)
        return
    if source.sasl_authzid:
        yield ("sasl_authzid",), "goes with sasl: external only"
    files, variables = source.bind_password_file is not None, source.bind_password_env is not None
    if files and variables:
        yield ("bind_password_env",), "the password is already given by bind_password_file; drop one of the two"
    if source.bind_dn and not (files or variables):
        yield ("bind_dn",), "has no password: give bind_password_file or bind_password_env"
    if (files or variables) and not source.bind_dn:
        key = "bind_password_file" if files else "bind_password_env"
        yield (key,), "has no bind_dn: whose password is it?"
    yield from _ldap_tls(source)


def _ldap_tls(source: LdapSource) -> Iterator[Contradiction]:
    for number, url in enumerate(source.url):
        parts = urlsplit(url)
        if parts.scheme != "ldap" and source.starttls:
            here = "is under TLS from the start" if parts.scheme == "ldaps" else "stays on this machine"
            yield ("url", number), f"'{url}' {here}; starttls is for ldap://"
        elif source.sasl and parts.scheme == "ldap" and not source.starttls:
            yield (
                ("url", number),
                f"'{url}' shows nobody's certificate: use ldaps:// or ldapi://, or set starttls: true",
            )
        elif source.sasl and parts.scheme != "ldapi" and not source.client_cert_file:
            yield ("url", number), f"'{url}' learns by the client's certificate who asks: give client_cert_file"
        elif (
            parts.scheme == "ldap" and source.bind_dn and not source.starttls and not is_loopback(parts.hostname or "")
        ):
            yield ("url", number), f"'{url}' would send the password in clear: use ldaps://, or set starttls: true"
    if source.client_key_file and not source.client_cert_file:
        yield ("client_key_file",), "has no client_cert_file: whose key is it?"
    if source.client_cert_file and not source.starttls and not any(url.startswith("ldaps:") for url in source.url):
        yield ("client_cert_file",), "is shown to nobody: no server of `url` is reached over TLS"
    if source.tls_do_not_verify_certificates and source.ca_file:
        yield ("tls_do_not_verify_certificates",), "makes ca_file useless; drop one of the two"
    if source.receive_timeout > source.deadline:
        yield ("receive_timeout",), "is longer than deadline"


def _rules(part: Workspace, known: Known) -> Iterator[Contradiction]:
    first: dict[str, Rule] = {}
    kinds = {*KINDS, *part.data_scopes}
    for number, rule in enumerate(part.rules):
        if rule.name in first:
            yield ("rules", number, "name"), f"the rule '{rule.name}' is already given at {first[rule.name].where}"
        first.setdefault(rule.name, rule)
        for kind, given, there in (("roles", rule.roles, known.roles), ("seats", rule.seats, known.seats)):
            for place, name in enumerate(given):
                if name not in there:
                    what = "role" if kind == "roles" else "seat pool"
                    yield ("rules", number, kind, place), _missing(what, name, there)
        yield from _mode(part, number, rule)
        for kind in rule.scopes if part.data_scopes else ():
            if kind not in kinds:
                yield ("rules", number, "scopes", kind), _missing("kind of data scope", kind, kinds)
        if not (rule.roles or rule.permissions or rule.seats or rule.scopes):
            yield (
                ("rules", number),
                f"the rule '{rule.name}' grants nothing: give it roles, permissions, seats or scopes",
            )


def _mode(part: Workspace, number: int, rule: Rule) -> Iterator[Contradiction]:
    path = ("rules", number)
    if rule.choice is not None and rule.mode not in ("first", "highest"):
        yield (*path, "choice"), f"is for rules of mode first or highest; this one is {rule.mode}"
    if rule.mode == "highest":
        if not rule.roles:
            yield (*path, "mode"), "highest goes by the ranks of roles, and this rule gives none"
        for place, name in enumerate(rule.roles):
            if name not in BUILT_IN and name in part.roles and part.roles[name].rank is None:
                yield (
                    (*path, "roles", place),
                    f"{name} has no rank, and the mode highest goes by it: give roles.{name}.rank",
                )
    if rule.mode == "deny":
        if OWNER in rule.roles:
            yield (*path, "roles", rule.roles.index(OWNER)), "owner cannot be denied"
        for place, permission in enumerate(rule.permissions):
            if permission.startswith(DENIAL):
                yield (*path, "permissions", place), f"{permission}: the rule denies already; leave the `!` out"
