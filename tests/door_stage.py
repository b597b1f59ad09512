"""A store of each engine with the door in front of it, and a directory in memory, for the tests of the door and of runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

import prepared
from syncd.core.actor import Actor
from syncd.core.change import Edit, GroupEdit, UserEdit
from syncd.core.filter import compile, names, parse_filter
from syncd.core.lifecycle import Ladder
from syncd.core.plan import Report
from syncd.core.rules import Rule
from syncd.core.schema import RULE_USER
from syncd.core.snapshot import Certificate, Entry, SetAside
from syncd.core.state import Grant, Group, Link, User
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.reconcile import run as runs
from syncd.reconcile.mapping import DirectoryMapping, compile_mapping
from syncd.store import facts
from syncd.store import tables as t
from syncd.store.commit import Outcome, commit
from syncd.store.invariants import check

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
AT_ONCE = Ladder(timedelta(0), timedelta(0), timedelta(0))


def rule(name: str, when: str, **grants: Any) -> Rule:
    found = parse_filter(when, RULE_USER)
    reads = names(found)
    return Rule(name, when, compile(found), reads_groups="groups" in reads, reads=reads, **grants)


def condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    return compile(parse_filter(text, RULE_USER))


def protects(*filters: str) -> tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...]:
    return tuple((text, condition(text)) for text in filters)


def user(id: str, source: str = "local", key: str | None = None, name: str | None = None, **more: Any) -> UserEdit:
    """A new user. `values`, `join`, `grant`, `facts` and what else an edit may carry; `enabled` goes to the link."""
    values = {"userName": name or id, **more.pop("values", {})}
    link = Link(source, key or id, values=values, enabled=more.pop("enabled", True))
    return UserEdit(id, source, create=True, link=link, **more)


def group(id: str, source: str = "local", name: str | None = None, **more: Any) -> GroupEdit:
    return GroupEdit(id, source, create=True, link=Link(source, id, values={"displayName": name or id}), **more)


def owner() -> Grant:
    return Grant("role", "owner", "direct", "root")


@dataclass
class Stage:
    """One database; `workspace` may be replaced at any time, as a changed configuration would."""

    url: str
    workspace: Workspace = field(default_factory=Workspace)
    now: datetime = NOON
    first_id: int = 1  # where ids begin; not at 1 in a database that another stage filled

    def __post_init__(self) -> None:
        self._numbers = itertools.count(self.first_id)
        self.database = prepared.database(self.url)

    def close(self) -> None:
        self.database.close()

    def ids(self) -> str:
        return f"n{next(self._numbers):09d}"

    def configure(self, **changes: Any) -> None:
        self.workspace = replace(self.workspace, **changes)

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    # -- the door ----------------------------------------------------------------------------------------------------

    def act(self, *edits: Edit, source: str = "local", dry_run: bool = False, **more: Any) -> Outcome:
        """One change group through the door; what refused it is in `.error`. The store is judged after each."""
        actor = Actor("scim" if source != "local" else "cli", source, self.workspace.name, source=source)
        with self.database.writing() as conn:
            outcome = commit(conn, self.workspace, actor, edits, self.now, self.ids, dry_run=dry_run, **more)
        self.sound()
        return outcome

    def do(self, *edits: Edit, source: str = "local", **more: Any) -> Outcome:
        return self.act(*edits, source=source, **more).check()

    def restate(self, id: str, source: str = "local", *, why: str = "", **link: Any) -> Outcome:
        """Change this source's link of a user, as a PATCH would."""
        return self.act(self.restated(id, source, why=why, **link), source=source)

    def restated(self, id: str, source: str = "local", *, why: str = "", **link: Any) -> UserEdit:
        known = self.user(id).link(source) or Link(source, id)
        if "values" in link:
            link["values"] = {**known.values, **link["values"]}
        return UserEdit(id, source, link=replace(known, **link), why=why)

    # -- looking -----------------------------------------------------------------------------------------------------

    def user(self, id: str) -> User:
        with self.database.reading() as conn:
            return facts.load_users(conn, self.workspace.name, [id], self.workspace.precedence)[id]

    def group(self, id: str) -> Group | None:
        with self.database.reading() as conn:
            return facts.load_groups(conn, self.workspace.name, [id]).get(id)

    def named(self, name: str) -> User:
        """The user of this userName, the undeleted one if there is one."""
        u = t.users.c
        with self.database.reading() as conn:
            rows = conn.execute(
                select(u.id, u.status).where(u.workspace == self.workspace.name, u.user_name == name)
            ).all()
            assert rows, f"no user {name}"
            return self.user(min(rows, key=lambda row: row.status == "deleted").id)

    def group_named(self, name: str, source: str = "corp") -> Group:
        g = t.groups.c
        with self.database.reading() as conn:
            id = conn.scalar(
                select(g.id).where(g.workspace == self.workspace.name, g.source == source, g.display_name == name)
            )
        assert id is not None, f"no group {name}"
        found = self.group(id)
        assert found is not None
        return found

    def statuses(self) -> dict[str, str]:
        u = t.users.c
        with self.database.reading() as conn:
            rows = conn.execute(select(u.user_name, u.status).where(u.workspace == self.workspace.name))
            return {row.user_name: row.status for row in rows}

    def roles(self, id: str) -> set[str]:
        return {grant.value for grant in self.user(id).grants if grant.kind == "role"}

    def held(self, pool: str) -> list[str]:
        s = t.seats.c
        with self.database.reading() as conn:
            return sorted(conn.scalars(select(s.user_id).where(s.pool == pool, s.held.is_(True))))

    def rows(self, table: Any, **where: Any) -> list[Any]:
        """In the order of the primary key, whose ids grow with time."""
        mine = (table.c.workspace == self.workspace.name, *(table.c[name] == each for name, each in where.items()))
        with self.database.reading() as conn:
            return list(conn.execute(select(table).where(*mine).order_by(*table.primary_key)))

    def activity(self, *actions: str) -> list[tuple[str, str, str]]:
        """(action, subject, why), the oldest first."""
        rows = sorted(self.rows(t.activity), key=lambda row: row.id)
        return [(row.action, row.subject, row.why) for row in rows if not actions or row.action in actions]

    def kept(self) -> list[tuple[str, str]]:
        """(kind, subject) of everything a guard holds."""
        return sorted((row.kind, row.subject) for row in self.rows(t.held))

    def sound(self, now: datetime | None = None) -> None:
        with self.database.reading() as conn:
            found = check(conn, self.workspace, now)
            assert found == [], found

    # -- runs --------------------------------------------------------------------------------------------------------

    def run(self, directory: Directory, dry_run: bool = False, **more: Any) -> Report:
        actor = Actor("cli", "root", self.workspace.name, source=directory.name)
        report = runs.reconcile(
            self.database,
            self.workspace,
            directory,
            directory.mapping,
            actor,
            lambda: self.now,
            self.ids,
            dry_run=dry_run,
            **more,
        )
        if not dry_run:  # which changes nothing, even if the configuration did
            self.sound()
        return report

    def plan(self, directory: Directory, **more: Any) -> Report:
        return self.run(directory, dry_run=True, **more)

    def rederive(self, dry_run: bool = False) -> Report:
        actor = Actor("cli", "root", self.workspace.name, source="rules")
        report = runs.rederive(self.database, self.workspace, actor, lambda: self.now, self.ids, dry_run=dry_run)
        self.sound()
        return report

    def approve(self, digest: str) -> Report:
        actor = Actor("cli", "root", self.workspace.name)
        report = runs.approve(self.database, self.workspace, digest, actor, lambda: self.now, self.ids)
        self.sound()
        return report

    def discard(self, digest: str) -> int:
        actor = Actor("cli", "root", self.workspace.name)
        return runs.discard(self.database, self.workspace, digest, actor, lambda: self.now, self.ids)


MAPPING = compile_mapping(
    {"userName": "uid", "displayName": "cn", "title": "title", "userType": "employeeType", "manager": "manager"}
)


@dataclass
class Directory:
    """A source in memory. `people` and `teams`: key -> attributes; `members` of a team are keys of either."""

    name: str = "corp"
    people: dict[str, dict[str, str]] = field(default_factory=dict)
    teams: dict[str, set[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # a team's cn, if it is not its key
    disabled: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)  # keys of entries that are set aside
    because: tuple[str, ...] = ()  # why the read is incomplete
    server: str | None = None
    key_attribute: str | None = "entryuuid"
    mapping: DirectoryMapping = MAPPING

    def hire(self, *keys: str, **attributes: str) -> None:
        for key in keys:
            self.people[key] = {"uid": key, "cn": key.title(), **attributes}

    def dn(self, key: str) -> str:
        return f"uid={key},ou=people,dc=x" if key in self.people else f"cn={key},ou=groups,dc=x"

    def read(self, now: datetime) -> _Reading:
        return _Reading(self)

    def entries(self) -> Iterator[Entry | SetAside]:
        for key, attributes in self.people.items():
            if key in self.bad:
                yield SetAside(self.dn(key), "cannot be read", key)
                continue
            texts = {name.lower(): (value.encode(),) for name, value in attributes.items()}
            if key in self.disabled:
                texts["nsaccountlock"] = (b"true",)
            if "manager" in attributes:
                texts["manager"] = (self.dn(attributes["manager"]).encode(),)
            yield Entry("user", key, self.dn(key), texts)
        for key, members in self.teams.items():
            if key in self.bad:
                yield SetAside(self.dn(key), "cannot be read", key)
                continue
            named = tuple(self.dn(member).encode() for member in sorted(members))
            cn = self.names.get(key, key).encode()
            yield Entry("group", key, self.dn(key), {"cn": (cn,), **({"member": named} if named else {})})


@dataclass
class _Reading:
    directory: Directory

    def __iter__(self) -> Iterator[Entry | SetAside]:
        return self.directory.entries()

    def certificate(self) -> Certificate:
        of = self.directory
        return Certificate(of.because, of.server, of.key_attribute, len(of.people), len(of.teams), len(of.bad))


def staff(prefix: str, n: int) -> Sequence[str]:
    return [f"{prefix}{number:03d}" for number in range(n)]


def policy(name: str = "corp", **more: Any) -> SourcePolicy:
    more.setdefault("ladder", AT_ONCE)
    return SourcePolicy(name, more.pop("kind", "ldap"), **more)


__all__ = ["Connection", "Directory", "Stage", "condition", "group", "policy", "protects", "rule", "staff", "user"]
