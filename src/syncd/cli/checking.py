"""`syncd check`: is the configuration sane, the database there, every source readable; and what is doubtful.

Each finding is ok, a warning (for a person to judge) or a problem with its exit code; the worst wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncd.app import App, Directory
from syncd.core.access import Role
from syncd.core.canary import Before, Fewer, Seen, doubts
from syncd.core.counting import counted
from syncd.core.filter import And, Bound, Condition, Element, Not, Op, Or, parse_filter
from syncd.core.rules import Rule
from syncd.core.workspace import Workspace
from syncd.errors import BindRefused, ConfigError, IncompleteRead, SyncdError
from syncd.health import span
from syncd.ldap.config import LdapConfig, is_loopback
from syncd.ldap.ldif_source import LdifSource
from syncd.reconcile.beyond import Outside
from syncd.store import linked
from syncd.store.engine import Database
from syncd.store.migrate import revision
from syncd.store.read import Connection

if TYPE_CHECKING:  # they load ldap3, which a configuration without LDAP does not need
    from syncd.ldap.probe import Probe
    from syncd.ldap.source import LdapSource
    from syncd.settings.sources import Schedule

WORST_FIRST = (78, 75, 1, 4, 5, 3, 0)
_RENEW_BEFORE = timedelta(days=14)
_PINNED = frozenset({"source", "value", "externalid", "dn"})  # what tells one group from another of the same name


@dataclass(frozen=True, slots=True)
class Finding:
    about: str
    text: str
    level: str = "ok"  # "ok" | "warning" | "problem"
    exit_code: int = 0


def worst(findings: list[Finding]) -> int:
    return min((each.exit_code for each in findings), key=WORST_FIRST.index, default=0)


def check(app: App) -> Iterator[Finding]:
    """Findings as they come: reading a directory may take a while."""
    settings = app.settings
    sources = sum(len(part.sources) for part in app.workspaces.values())
    read = f"{counted(len(app.workspaces), 'workspace')}, {counted(sources, 'source')}"
    yield Finding("config", f"{settings.path}: {read}")
    if not (settings.http.bind.loopback or settings.http.tls):
        proxies = ", ".join(settings.http.trusted_proxies)
        yield Finding("http", f"{settings.http.bind} has no TLS of its own: {proxies} must end it", "warning")
    yield _database(settings.database)
    yield from _mail(app)
    before = _before(app)
    for name, workspace in app.workspaces.items():
        prefix = "" if name == "default" else f"{name}: "
        for rule in workspace.rules:
            yield from _rule(prefix, rule, workspace)
        for source, directory in app.directories[name].items():
            about = f"{prefix}source {source}"
            if not workspace.source(source).authoritative:
                yield Finding(about, "not authoritative: nobody is deactivated by its word", "warning")
            known = before.get((name, source), Known())
            yield from _directory(about, directory, app.clock(), replace(known, fewer=workspace.source(source).fewer))


@dataclass(frozen=True, slots=True)
class Known:
    """What complete reads of a source saw, and how many fewer are believed."""

    before: Before = field(default_factory=Before)
    fewer: Fewer = field(default_factory=Fewer)
    within: Mapping[str, list[str]] = field(default_factory=dict)  # members nobody answers to -> groups
    missing: Mapping[str, str] = field(default_factory=dict)  # stable keys of groups that are missing -> names
    key_attribute: str | None = None

    @property
    def most(self) -> int:
        """How many entries to count, at least."""
        return max(1000, self.before.users or 0, self.before.groups or 0)


def _before(app: App) -> dict[tuple[str, str], Known]:
    """Of every directory; nothing of a database that cannot be asked, which is a finding of its own."""
    try:
        database = Database(app.settings.database)
        try:
            if not revision(database).up_to_date:
                return {}
            with database.reading() as conn:
                return {
                    (workspace, source): _known(conn, workspace, source)
                    for workspace, directories in app.directories.items()
                    for source in directories
                }
        finally:
            database.close()
    except SyncdError:
        return {}


def _known(conn: Connection, workspace: str, source: str) -> Known:
    state = linked.source_state(conn, workspace, source)
    within, missing = linked.outside(conn, workspace, source)
    key = state.key_attribute if state is not None else None
    return Known(linked.before(conn, workspace, source), within=within, missing=missing, key_attribute=key)


def _mail(app: App) -> Iterator[Finding]:
    server = app.mail_server
    if server is None:
        return
    from syncd.deliver import postman  # noqa: PLC0415 - loads what only mail needs

    wrong = asyncio.run(postman.reach(server))
    where = f"{server.host}:{server.port}"
    if wrong is None:
        yield Finding("mail", f"{where} takes mail from {server.sender}")
    else:
        yield Finding("mail", f"{where}: {wrong}; letters wait until it takes them", "problem", 75)


def _database(url: str) -> Finding:
    try:
        database = Database(url)
        try:
            known = revision(database)
        finally:
            database.close()
    except SyncdError as exc:
        return Finding("database", str(exc), "problem", exc.exit_code)
    if not known.up_to_date:
        needed = f"this release needs {known.head}: run `syncd db upgrade`"
        return Finding("database", f"at revision {known.current or 'none'}, {needed}", "problem", 1)
    return Finding("database", f"{database.display} at revision {known.current}")


# -- rules -----------------------------------------------------------------------------------------------------------------


def _rule(prefix: str, rule: Rule, workspace: Workspace) -> Iterator[Finding]:
    privileged = [role for role in rule.roles if workspace.roles[role].privileged]
    privileged += [each for each in rule.permissions if Role("", frozenset({each})).privileged]
    if privileged and named_only(parse_filter(rule.when, workspace.types.rule_user).bound):
        yield Finding(
            f"{prefix}rule {rule.name}",
            f"gives {', '.join(privileged)} by a group's name alone: any source with a group of that name would; "
            'write groups[source eq "..." and display eq "..."]',
            "warning",
        )


def named_only(bound: Bound) -> bool:
    """True if a group is asked for by display name without anything that says which source's it is."""
    match bound:
        case And() | Or():
            return any(named_only(term) for term in bound.terms)
        case Not():
            return named_only(bound.term)
        case Element() if bound.attribute.top == "groups":
            return _by_name(bound.term) and not _pinned(bound.term)
        case _:
            return False


def _by_name(term: Bound) -> bool:
    match term:
        case And() | Or():
            return any(map(_by_name, term.terms))
        case Not():
            return _by_name(term.term)
        case Condition():
            return term.keys[-1:] == ("display",)
        case _:
            return False


def _pinned(term: Bound) -> bool:
    match term:
        case And():
            return any(map(_pinned, term.terms))
        case Or():
            return all(map(_pinned, term.terms))
        case Condition():
            return term.op is Op.EQ and bool(_PINNED & set(term.keys[-1:]))
        case _:
            return False


# -- sources ---------------------------------------------------------------------------------------------------------------


def _directory(about: str, directory: Directory, now: datetime, known: Known) -> Iterator[Finding]:
    source = directory.source
    try:
        if isinstance(source, LdifSource):
            yield from _ldif(about, source, now, known)
            yield _live(about, str(source.config.path), "a file is read whole each time", directory.schedule)
        else:
            yield from _ldap(about, source, directory.schedule, now, known)
    except SyncdError as exc:
        yield Finding(about, str(exc), "problem", exc.exit_code)


def _ldap(about: str, source: LdapSource, schedule: Schedule, now: datetime, known: Known) -> Iterator[Finding]:
    """Every server of the source. One that is out of reach is a warning as long as another one can be read."""
    config = source.config
    seen: list[Probe] = []
    failed: list[SyncdError] = []
    for _, found in source.probe_each(known.most + 1):
        if isinstance(found, SyncdError):
            failed.append(found)
            continue
        seen.append(found)
        yield from _server(about, found, now)
        if found.server_identity:
            yield _live(about, found.url, found.no_live, schedule)
        yield from _canaries(about, found, config, known)
    for url in config.urls:
        parts = urlsplit(url)
        if parts.scheme == "ldap" and not config.starttls and not is_loopback(parts.hostname or ""):
            yield Finding(about, f"{url}: what is read travels in clear; use ldaps:// or starttls: true", "warning")
    readable = [each for each in seen if not each.problems]
    for exc in failed:
        what = str(exc).removeprefix(f"source {source.name}: ")
        if readable and not isinstance(exc, BindRefused):  # one that answers and refuses will not come back by itself
            yield Finding(about, f"{what}; reads go to {readable[0].url}", "warning")
        else:
            yield Finding(about, what, "problem", exc.exit_code)
    yield from _same_data(about, seen)
    if readable and config.groups is not None:
        yield from _groups_outside(about, source, known)


def _groups_outside(about: str, source: LdapSource, known: Known) -> Iterator[Finding]:
    """Groups below no base through which nobody counts, of those that reads came upon, as they are now."""
    try:
        found = source.groups_beyond(tuple(known.missing), tuple(known.within), known.key_attribute)
    except SyncdError:
        return  # what is wrong with the connection is said already
    outside = Outside(dict(known.within))
    outside.moved = {each.key: each for each in found if each.key is not None and each.key in known.missing}
    outside.strays = [each for each in found if each.key not in known.missing]
    for note in outside.notes(source.name, known.missing):
        yield Finding(about, note, "warning")


def _server(about: str, found: Probe, now: datetime) -> Iterator[Finding]:
    server = f"{found.vendor} {found.version or ''}".strip()
    yield Finding(about, f"{found.url}: {server}, bound as {found.bound_as}, {found.tls_version or 'no TLS'}")
    for base in found.bases:
        count = f"{base.entries:,} or more entries" if base.more else counted(base.entries, "entry")
        yield Finding(about, f"{base.part}: {count} below {base.base}, key {found.key_attribute or 'none'}")
    why_not = "; ".join(found.no_deltas)
    if found.deltas:
        text = f"{found.url}: what changed is read by {found.deltas}"
        yield Finding(about, f"{text} ({why_not})" if why_not else text)
    elif why_not:
        yield Finding(about, f"{found.url}: every read reads everything: {why_not}", "warning")
    ends = found.certificate_ends
    if ends is not None and ends - now < _RENEW_BEFORE:
        yield Finding(about, f"{found.url}: its certificate ends on {ends:%Y-%m-%d}: renew it on the server", "warning")
    for warning in found.warnings:
        yield Finding(about, warning, "warning")
    for problem in found.problems:
        text = f"{found.url}: a read would be incomplete: {problem}"
        yield Finding(about, text, "problem", IncompleteRead.exit_code)


def _live(about: str, where: str, why_not: str | None, schedule: Schedule) -> Finding:
    """Whether changes are told as they happen, or could be, or why they cannot."""
    if why_not is None and schedule.live:
        return Finding(about, f"{where}: live: it tells at once that something changed")
    if why_not is None:
        return Finding(about, f"{where}: not live: it would tell at once that something changed (schedule.live: true)")
    often = f"; it is asked every {span(schedule.delta.total_seconds())}" if schedule.delta else ""
    return Finding(about, f"{where}: not live: {why_not}{often}", "warning" if schedule.live else "ok")


def _canaries(about: str, found: Probe, config: LdapConfig, known: Known) -> Iterator[Finding]:
    """What would tell that a read is blind, proved now. Those that fail for themselves are among the problems."""
    hidden = [name for name in config.canaries if any(f"canary {name} " in each for each in found.problems)]
    shown = [name for name in config.canaries if name not in hidden]
    if shown:
        yield Finding(about, f"{found.url}: canaries are visible: {'; '.join(shown)}")
    if found.own_entry:
        yield Finding(about, f"{found.url}: canary: the account that reads sees its own entry")
    parts = {part: sum(base.entries for base in found.bases if base.part == part) for part in ("users", "groups")}
    if not any(base.problem for base in found.bases):
        yield from _counted(about, Seen(parts["users"], parts["groups"], found.own_entry), known)


def _counted(about: str, now: Seen, known: Known) -> Iterator[Finding]:
    """Beside what the last complete reads saw."""
    before = known.before
    found = list(doubts(now, before, known.fewer))
    for each in found:
        text = f"a read would be incomplete: {each}; if that is right, read with --accept-fewer"
        yield Finding(about, text, "problem", IncompleteRead.exit_code)
    if not found and before.users is not None:
        said = f"{counted(now.users, 'user')} and {counted(now.groups, 'group')}"
        yield Finding(
            about, f"canary: {said}, and the last complete read saw {before.users:,} and {before.groups or 0:,}"
        )


def _same_data(about: str, seen: list[Probe]) -> Iterator[Finding]:
    """The servers of one source hold the same directory, or going from one to the other would hold every loss (rule 4)."""
    said = [each for each in seen if each.server_identity]
    for other in said[1:]:
        first = said[0]
        if other.server_identity != first.server_identity:
            yield Finding(
                about,
                f"{other.url} holds another directory than {first.url} ({other.server_identity} instead of "
                f"{first.server_identity}): name only servers of the same data in `url`",
                "problem",
                ConfigError.exit_code,
            )
            continue
        for here, there in zip(first.bases, other.bases, strict=True):
            if not (here.more or there.more) and here.entries != there.entries:
                text = (
                    f"{other.url} has {there.entries:,} {there.part} below {there.base}, {first.url} {here.entries:,}"
                )
                yield Finding(about, f"{text}: does it lag behind, or see less?", "warning")


def _ldif(about: str, source: LdifSource, now: datetime, known: Known) -> Iterator[Finding]:
    reading = source.read(now)
    for _ in reading:
        pass
    proof = reading.certificate()
    read = f"{counted(proof.users_read, 'user')}, {counted(proof.groups_read, 'group')}"
    read += f", key {proof.key_attribute or 'none'}"
    yield Finding(about, f"{source.config.path}: {read}")
    if proof.asserted_by:
        yield Finding(about, f"nothing in the file shows that it is whole; {proof.asserted_by} says so", "warning")
    if proof.set_aside:
        yield Finding(about, f"{counted(proof.set_aside, 'entry')} would be set aside", "warning")
    yield from _counted(about, Seen(proof.users_read, proof.groups_read), known)
    for because in proof.because:
        yield Finding(about, f"a read would be incomplete: {because}", "problem", IncompleteRead.exit_code)
