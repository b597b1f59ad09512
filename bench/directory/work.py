"""What is measured, each in a process of its own, so that its memory is its own: `python -m bench.directory.work PIECE FOLDER`.

What it found is left in FOLDER as work.json. The peak of memory is VmHWM of /proc/self/status, not what getrusage says: that
one begins with the parent's.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bench.directory.slapd import PASSWORD, READER, Slapd
from bench.measure import alternately
from syncd import app, sample
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.plan import Report
from syncd.core.state import Link
from syncd.ldap import syncrepl
from syncd.ldap.source import LdapReading, LdapSource
from syncd.reconcile import run
from syncd.store import linked
from syncd.store import tables as t
from syncd.store.commit import commit
from syncd.store.engine import Database
from syncd.store.migrate import upgrade

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # as in syncd/ldap/client.py
    import ldap3

CHANGES = 150
ROUNDS_OF_CHANGES = 7
_SOURCE = "corp"
_ROWS = 5000

Found = dict[str, Any]


def configuration(url: str, database: Path) -> dict[str, object]:
    by_group = 'groups[source eq "corp" and display eq "group-00001"]'
    attributes = {
        **{"userName": "uid", "name.givenName": "givenName", "name.familyName": "sn", "emails.work": "mail"},
        **{"displayName": "{givenName} {sn}", "userType": "employeeType", "department": "departmentNumber"},
        **{"title": "title", "manager": "manager"},
    }
    corp = {
        "kind": "ldap",
        "url": url,
        "bind_dn": READER,
        "bind_password_env": "CORP_PASSWORD",
        "users": {"base": sample.PEOPLE, "filter": "(objectClass=inetOrgPerson)"},
        "groups": {"base": sample.GROUPS, "filter": "(objectClass=groupOfNames)"},
        "attributes": attributes,
        "schedule": {"full": "1d", "delta": "1m"},
    }
    rules = [
        {"name": "staff", "when": 'userType eq "Employee"', "roles": ["member"], "seats": ["internal"]},
        {"name": "crm", "when": by_group, "roles": ["viewer"], "seats": ["crm"]},
    ]
    return {
        "database": f"sqlite:///{database}",
        "seats": {"internal": {"limit": "unlimited"}, "crm": {"limit": 40, "requires": ["internal"]}},
        "sources": {_SOURCE: corp},
        "rules": rules,
    }


class Work:
    """A syncd of its own on SQLite, as `syncd sync` composes it. `folder` has syncd.json (`configuration`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = app.compose(folder / "syncd.json", {"CORP_PASSWORD": PASSWORD})
        self.directory = self.app.directory("default", _SOURCE)
        self.actor = Actor("run", _SOURCE, "default", source=_SOURCE)

    @property
    def source(self) -> LdapSource:
        assert isinstance(self.directory.source, LdapSource)
        return self.directory.source

    def opened(self) -> Database:
        return Database(f"sqlite:///{self.folder / 'syncd.db'}", create=True)

    def reconcile(self, database: Database, delta: bool = False) -> Report:
        report = run.reconcile(
            database,
            self.app.workspace("default"),
            self.source,
            self.directory.mapping,
            self.actor,
            lambda: datetime.now(UTC),
            self.app.ids,
            dry_run=False,
            delta=delta,
        )
        if report.status not in ("applied", "clean") or (delta and report.notes):
            raise SystemExit(f"the run ended as {report.status}: {' '.join(report.notes)}")
        return report


def load(work: Work) -> Found:
    database = work.opened()
    upgrade(database)
    found = _timed(lambda: work.reconcile(database))
    database.close()
    return found


def insert(work: Work) -> Found:
    """Every row that the first load left, by the driver alone into the same empty tables, in one transaction."""
    made = work.folder / "raw.db"
    for each in work.folder.glob("raw.db*"):
        each.unlink()
    empty = Database(f"sqlite:///{made}", create=True)
    upgrade(empty)
    empty.close()
    source, target = sqlite3.connect(work.folder / "syncd.db"), sqlite3.connect(made, isolation_level=None)
    target.execute("PRAGMA synchronous=NORMAL")
    target.execute("BEGIN IMMEDIATE")
    spent, cpu, rows = 0.0, 0.0, 0
    for table in t.metadata.sorted_tables:
        target.execute(f'DELETE FROM "{table.name}"')  # noqa: S608 - names of ours
        columns = [each[1] for each in target.execute(f'PRAGMA table_info("{table.name}")')]
        named = ", ".join(f'"{name}"' for name in columns)
        found = source.execute(f'SELECT {named} FROM "{table.name}"')  # noqa: S608
        statement = f'INSERT INTO "{table.name}" ({named}) VALUES ({", ".join("?" * len(columns))})'  # noqa: S608
        while some := found.fetchmany(_ROWS):
            started, cpu_started = time.perf_counter(), time.process_time()
            target.executemany(statement, some)
            spent, cpu = spent + time.perf_counter() - started, cpu + time.process_time() - cpu_started
            rows += len(some)
    started, cpu_started = time.perf_counter(), time.process_time()
    target.execute("COMMIT")
    spent, cpu = spent + time.perf_counter() - started, cpu + time.process_time() - cpu_started
    return {"s": spent, "cpu_s": cpu, "rows": rows}


def full(work: Work) -> Found:
    database = work.opened()
    found = _timed(lambda: _unchanged(work.reconcile(database)))
    database.close()
    return found


def delta(work: Work) -> Found:
    database = work.opened()
    found = _timed(lambda: _unchanged(work.reconcile(database, delta=True)))
    database.close()
    return found


def entries(work: Work) -> Found:
    """The whole read as a reconcile takes it, thrown away."""
    return _timed(lambda: _counted(work.source))


def entries_of_some(work: Work) -> Found:
    """The same of one department and without groups."""
    users = replace(work.source.config.users, base=(f"ou=Engineering,{sample.PEOPLE}",))
    config = replace(work.source.config, users=users, groups=None)
    return _timed(lambda: _counted(LdapSource(config, work.source.attributes_wanted)))


def entries_of_people(work: Work) -> Found:
    config = replace(work.source.config, groups=None)
    return _timed(lambda: _counted(LdapSource(config, work.source.attributes_wanted)))


def pages(work: Work) -> Found:
    """What comes off the socket by syncd's receive strategy, page by page."""
    reading = work.source.read(datetime.now(UTC))
    assert isinstance(reading, LdapReading)
    reading.meet()

    def read() -> Found:
        return {"entries": sum(len(page.entries) for each in reading.searches() for page in reading.pages(*each[1:]))}

    found = _timed(read)
    reading.close()
    return found


def stock(work: Work) -> Found:
    """The same searches by ldap3 as it comes: its defaults, its generator of pages. It asks only for what is in its schema."""
    reading = work.source.read(datetime.now(UTC))
    searches = list(reading.searches())
    reading.close()
    connection = ldap3.Connection(ldap3.Server(work.source.config.urls[0]), READER, PASSWORD, auto_bind=True)

    def read() -> Found:
        found, known = 0, connection.server.schema.attribute_types
        for each in searches:
            named = {
                "attributes": [name for name in each.attributes if name in known],
                "paged_size": work.source.config.page_size,
                "generator": True,
            }
            found += sum(1 for _ in connection.extend.standard.paged_search(each.base, each.filter, **named))
        return {"entries": found}

    found = _timed(read)
    connection.unbind()
    return found


def polls(work: Work) -> Found:
    """Deltas that find nothing, in turn with a bare poll and with the whole reconcile."""
    database = work.opened()
    with database.reading() as conn:
        cookie = json.loads(linked.source_state(conn, "default", _SOURCE).checkpoint)["state"]["cookies"][0]
    open_connection = _connected(work.source.config.urls[0])

    def connected_anew() -> None:
        connection = _connected(work.source.config.urls[0])
        _poll(connection, cookie)
        connection.unbind()

    def poll() -> None:
        _unchanged(work.reconcile(database, delta=True))

    found = {
        "poll : bare": alternately(poll, connected_anew, 25),
        "poll : bare on an open connection": alternately(poll, lambda: _poll(open_connection, cookie), 25),
        "full : poll": alternately(lambda: _unchanged(work.reconcile(database)), poll, 3),
    }
    database.close()
    return found


def _connected(url: str) -> Any:
    return ldap3.Connection(ldap3.Server(url, get_info=ldap3.NONE), READER, PASSWORD, auto_bind=True)


def _poll(connection: Any, cookie: str) -> None:
    control = (syncrepl.SYNC_REQUEST, True, syncrepl.request(syncrepl.REFRESH_ONLY, cookie.encode("latin-1")))
    asked = {"dereference_aliases": ldap3.DEREF_NEVER, "attributes": ["*"], "controls": [control]}
    connection.search(sample.PEOPLE, "(objectClass=inetOrgPerson)", **asked)
    if connection.result["result"] or connection.response:
        raise SystemExit(f"a bare poll was answered {connection.result}")


def changes(work: Work) -> Found:
    """Deltas of other titles, in turn with the same rows by the door alone, in one transaction."""
    database, directory = work.opened(), Slapd.at(work.folder, work.source.config.urls[0])
    times, processor = [], []
    for number in range(ROUNDS_OF_CHANGES + 1):
        edits = _titles(work, database, f"by hand {number}")
        directory.modify("".join(_other_title(edit, f"title {number}") for edit in edits))
        delta = _both_ms(lambda: _changed(work.reconcile(database, delta=True)))
        rows = _both_ms(lambda edits=edits: _committed(work, database, edits))  # type: ignore[misc]
        times.append((delta[0], rows[0]))
        processor.append((delta[1], rows[1]))
    work.reconcile(database)  # titles stand in the store that the directory does not have
    database.close()
    return {"delta, rows": times[1:], "delta, rows, processor time": processor[1:]}


def _other_title(edit: UserEdit, title: str) -> str:
    assert edit.link is not None
    assert edit.link.dn is not None
    name = base64.b64encode(edit.link.dn.encode()).decode()
    return f"dn:: {name}\nchangetype: modify\nreplace: title\ntitle: {title}\n\n"


def _titles(work: Work, database: Database, title: str) -> list[UserEdit]:
    """Other titles for the first ones, as the source would state them."""
    found = []
    same = ("enabled", "dn", "dn_key", "entry_hash", "mapping_digest", "starts_at", "ends_at", "created_at", "uid_key")
    with database.reading() as conn:
        mine = (t.links.c.resource == "user", t.links.c.source == _SOURCE)
        for row in conn.execute(select(t.links).where(*mine).order_by(t.links.c.dn_key).limit(CHANGES)):
            stated = {name: getattr(row, name) for name in same}
            link = Link(_SOURCE, row.key, values={**row.values, "title": title}, waits_for=row.waits_for, **stated)
            found.append(UserEdit(row.resource_id, _SOURCE, link=link))
    return found


def _committed(work: Work, database: Database, edits: list[UserEdit]) -> None:
    with database.writing() as conn:
        actor = replace(work.actor, door="run", run_id=work.app.ids())
        commit(conn, work.app.workspace("default"), actor, edits, datetime.now(UTC), work.app.ids).check()


def _unchanged(report: Report) -> Found:
    changed = {kind: n for kind, n in report.counts.items() if n and kind != "read"}
    if changed:
        raise SystemExit(f"nothing had changed, and the run found {changed}: {report.set_aside[:3]}")
    return {"entries": report.counts["read"]}


def _changed(report: Report) -> None:
    if report.counts.get("update") != CHANGES:
        raise SystemExit(f"{CHANGES} titles had changed, and the run found {report.counts['update']} updates")


def _counted(source: LdapSource) -> Found:
    reading = source.read(datetime.now(UTC))
    number = sum(1 for _ in reading)
    if reading.because:
        raise SystemExit(f"the read was not complete: {reading.because}")
    return {"entries": number}


def _timed(work: Callable[[], Any]) -> Found:
    """Seconds, seconds of processor, and MiB at its beginning and at its peak."""
    before = _memory_mib("VmHWM")
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    took = {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return {
        **took,
        "before_mib": before,
        "peak_mib": _memory_mib("VmHWM"),
        **(found if isinstance(found, dict) else {}),
    }


def _both_ms(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of this process's processor time."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - started) * 1000, (time.process_time() - cpu) * 1000


def _memory_mib(kind: str) -> float:
    lines: Iterator[list[str]] = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(round(int(parts[1]) / 1024, 1) for parts in lines if parts[0] == f"{kind}:")


PIECES = (load, insert, full, delta, entries, entries_of_some, entries_of_people, pages, stock, polls, changes)


def main() -> None:
    name, place = sys.argv[1:3]
    piece = next(each for each in PIECES if each.__name__ == name)
    found = piece(Work(Path(place)))
    (Path(place) / "work.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
