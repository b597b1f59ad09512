"""A company that is kept in step with one directory: a configuration, a store, and a clock that tests set.

`run` is what `syncd sync` and `syncd plan` call; `standing` is everything anybody could lose, to compare before and after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

import prepared
from servers.slapd import BASE, READER, READER_PASSWORD
from syncd import app, sample
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.plan import Report
from syncd.reconcile import run
from syncd.store import describe, held, run_records
from syncd.store import tables as t
from syncd.store.commit import commit

USERS, GROUPS = 60, 24
COMPANY = sample.company(USERS, GROUPS, seed=7)
LDIF = "".join(sample.ldif(COMPANY))
PEOPLE_BASE, GROUPS_BASE = f"ou=people,{BASE}", f"ou=groups,{BASE}"
DAY = timedelta(days=1)


def company_ldif(without: set[str]) -> str:
    """The company without these uids; groups still name them."""
    keys = {one.uuid for one in COMPANY.people if one.uid in without}
    return "\n\n".join(text for text in LDIF.split("\n\n") if not any(f"entryUUID: {key}" in text for key in keys))


ATTRIBUTES = {
    "userName": "uid",
    "name.givenName": "givenName",
    "name.familyName": "sn",
    "emails.work": "mail",
    "displayName": "{givenName} {sn}",
    "userType": "employeeType",
    "department": "departmentNumber",
    "title": "title",
    "manager": "manager",
}


def source(url: str | list[str], **different: object) -> dict[str, object]:
    """A source of kind `ldap` as it is written in a configuration; a key given as None is left out."""
    usual: dict[str, object] = {
        "kind": "ldap",
        "url": url,
        "bind_dn": READER,
        "bind_password_env": "CORP_PASSWORD",
        "users": {"base": PEOPLE_BASE},
        "groups": {"base": GROUPS_BASE},
        "attributes": ATTRIBUTES,
        "may_grant": ["admin", "member", "crm-user", "billing-clerk"],
        "page_size": 20,
        "deadline": "60s",
        "receive_timeout": "20s",
    }
    return {key: value for key, value in {**usual, **different}.items() if value is not None}


def by_group(name: str) -> str:
    return f'groups[source eq "corp" and display eq "{name}"]'


RULES = [
    {"name": "staff", "when": by_group("all-staff"), "roles": ["member"], "seats": ["internal"]},
    {
        "name": "crm-admins",
        "when": by_group("crm-admins"),
        "roles": ["admin", "crm-user"],
        "seats": ["internal", "crm"],
    },
    {"name": "crm-users", "when": by_group("crm-users"), "roles": ["crm-user"], "seats": ["internal", "crm"]},
    {
        "name": "billing",
        "when": by_group("billing"),
        "roles": ["billing-clerk"],
        "seats": ["portal"],
        "scopes": {"ledger": ["receivables"]},
    },
]


def configuration(database: str, corp: Mapping[str, object]) -> dict[str, object]:
    return {
        "database": database,
        "seats": {
            "internal": {"limit": 100},
            "portal": {"limit": "unlimited", "kind": "portal"},
            "crm": {"limit": 40, "requires": ["internal"], "kind": "add-on"},
        },
        "roles": {
            "billing-clerk": {"permissions": ["invoices.view", "invoices.export"]},
            "crm-user": {"permissions": ["crm.view", "crm.edit"]},
        },
        "sources": {"corp": corp},
        "rules": RULES,
    }


@dataclass
class Corp:
    """One workspace, one directory. `url` and `source` may be changed between runs, as an admin would."""

    folder: Path
    database_url: str
    url: str | list[str]
    source: dict[str, object] = field(default_factory=dict)  # what differs from the usual
    now: datetime = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)

    def __post_init__(self) -> None:
        self._composed: dict[str, app.App] = {}
        self.ids = app.TimeOrderedIds()
        self.database = prepared.database(self.database_url)

    def close(self) -> None:
        self.database.close()

    def composed(self) -> app.App:
        written = json.dumps(configuration(self.database_url, source(self.url, **self.source)))
        if written not in self._composed:
            path = self.folder / "syncd.yaml"
            path.write_text(written)
            self._composed[written] = app.compose(path, {"CORP_PASSWORD": READER_PASSWORD})
        return self._composed[written]

    def run(self, dry_run: bool = False, **more: Any) -> Report:
        composed = self.composed()
        directory = composed.directory("default", "corp")
        actor = Actor("run", "corp", "default", source="corp")
        return run.reconcile(
            self.database,
            composed.workspace("default"),
            directory.source,
            directory.mapping,
            actor,
            lambda: self.now,
            self.ids,
            dry_run=dry_run,
            **more,
        )

    def plan(self, **more: Any) -> Report:
        return self.run(dry_run=True, **more)

    def later(self, days: float) -> None:
        self.now += days * DAY

    def approve(self, digest: str) -> Report:
        actor = Actor("cli", "ann", "default", source="local")
        workspace = self.composed().workspace("default")
        return run.approve(self.database, workspace, digest, actor, lambda: self.now, self.ids)

    def tick(self) -> None:
        """What a worker does every few seconds, of dates that have come."""
        self.composed().timers(self.database, lambda: self.now).settle("default")

    def discard(self, digest: str) -> int:
        actor = Actor("cli", "ann", "default", source="local")
        workspace = self.composed().workspace("default")
        return run.discard(self.database, workspace, digest, actor, lambda: self.now, self.ids)

    def suspend(self, name: str, why: str) -> None:
        """An admin's hold."""
        id, actor = self.user(name)["id"], Actor("cli", "ann", "default", source="local")
        with self.database.writing() as conn:
            edit = UserEdit(id, "local", facts={"suspended": why}, why=why)
            commit(conn, self.composed().workspace("default"), actor, (edit,), self.now, self.ids).check()

    def record(self, report: Report) -> run_records.RunRow:
        with self.database.reading() as conn:
            return run_records.show_run(conn, "default", report.run)

    def last_record(self) -> run_records.RunRow:
        with self.database.reading() as conn:
            return run_records.list_runs(conn, "default", 1)[0]

    def user(self, name: str) -> dict[str, Any]:
        """What `syncd explain` shows."""
        with self.database.reading() as conn:
            id = describe.find_user(conn, "default", name)
            return describe.explain(conn, self.composed().workspace("default"), id, self.now)

    def held(self) -> list[held.HeldSummary]:
        with self.database.reading() as conn:
            return held.list_held(conn, "default")

    def links(self) -> dict[str, Any]:
        """userName as the source stated it last -> the link's row."""
        with self.database.reading() as conn:
            rows = conn.execute(select(t.links).where(t.links.c.resource == "user", t.links.c.source == "corp"))
            return {row.values["userName"]: row for row in rows}

    def standing(self) -> dict[str, frozenset[Any]]:
        """Everything one could lose: who there is with status and values, grants, memberships, seats, groups."""
        u, g, m, s, k, r = (
            *(t.users.c, t.grants.c, t.memberships.c, t.seats.c, t.links.c),
            *(t.groups.c,),
        )
        e = t.effective_memberships.c
        queries = {
            "users": select(u.id, u.user_name, u.status, u.document),
            "grants": select(g.user_id, g.kind, g.value, g.origin, g.name),
            "memberships": select(m.group_id, m.member, m.member_id, m.origin),
            "effective": select(e.user_id, e.group_id),
            "seats": select(s.user_id, s.pool, s.held),
            "links": select(k.source, k.resource, k.key, k.resource_id, k.enabled),
            "groups": select(r.id, r.display_name),
        }
        with self.database.reading() as conn:
            return {name: frozenset(tuple(row) for row in conn.execute(query)) for name, query in queries.items()}

    def lost(self, before: Mapping[str, frozenset[Any]]) -> dict[str, frozenset[Any]]:
        """What was there before and is not now."""
        now = self.standing()
        return {name: gone for name, rows in before.items() if (gone := rows - now[name])}


def changes(report: Report) -> list[tuple[str, str]]:
    return sorted((change.kind, change.subject) for change in report.changes)
