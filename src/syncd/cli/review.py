"""`syncd review`: who has what, unused for how long; written as a file of decisions, and applied when they are made.

A decision stands in the column `decision` of each row: nothing or `keep`, `revoke` (this grant, if it was given by hand),
`suspend` or `deactivate` (the person). What a rule or source gives is changed there, so the file says where it comes from.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from syncd.cli.session import Session, confirmed, moment, print_json, say, session, show_rows
from syncd.cli.users import Yes
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import ChangeGroup, UserEdit
from syncd.core.denial import OVERRIDE
from syncd.core.state import Link, User
from syncd.errors import Conflict, HeldByGuard, SyncdError, UsageError
from syncd.store import facts
from syncd.store import review as store
from syncd.store.describe import Conn
from syncd.store.review import Held
from syncd.store.several import commit_each

FIELDS = (
    *("decision", "user", "status", "kind", "value", "origin", "name", "since", "expires"),
    *("last_sign_in", "unused_days", "id"),
)
DECISIONS = ("keep", "revoke", "suspend", "deactivate")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute
_WHY = "access review"


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Decided:
    """One row of the file. `line`: where it stands, from 1 on."""

    line: int
    decision: str
    id: str
    user: str
    kind: str
    value: str


def register(cli: typer.Typer) -> None:
    cli.command()(review)


def review(
    ctx: typer.Context,
    unused: Annotated[
        str | None, typer.Option(help="Only of whoever has not signed in for so long, such as 90d.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only role, permission, scope or seat.")] = None,
    form: Annotated[Format, typer.Option("--format", help="A table, or a file to decide in.")] = Format.TABLE,
    apply: Annotated[Path | None, typer.Option(help="Apply the decisions of this file (CSV or JSON).")] = None,
    yes: Yes = False,
) -> None:
    """Who has what, and unused for how long. With --apply: take back what the file decides."""
    current = session(ctx)
    if apply is not None:
        _apply(current, apply, yes)
        return
    now = current.now()
    since = moment(unused, now, ahead=False) if unused else None
    with current.database.reading() as conn:
        found = store.grants(conn, current.workspace.name, now, since)
        rows = (_row(each, now) for each in found if kind in (None, each.kind))
        match form:
            case Format.JSON:
                print_json(list(rows))
            case Format.CSV:
                writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
                writer.writeheader()
                writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
            case Format.TABLE:
                columns = FIELDS[1:-1]
                show_rows(columns, ([row[name] for name in columns] for row in rows), "nobody has anything")


def _row(each: Held, now: datetime) -> dict[str, Any]:
    last = each.last_sign_in
    return {
        **{"decision": "", "user": each.user_name, "status": each.status, "kind": each.kind, "value": each.value},
        **{"origin": each.origin, "name": each.name, "since": each.since, "expires": each.expires},
        **{"last_sign_in": last, "unused_days": None if last is None else (now - last).days, "id": each.user_id},
    }


def _cell(value: Any) -> str:
    text = "" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


# -- applying ----------------------------------------------------------------------------------------------------------------


def _apply(current: Session, path: Path, yes: bool) -> None:
    decided = [each for each in read(path) if each.decision not in ("", "keep")]
    if not decided:
        say(f"{path}: nothing is decided but to keep")
        return
    _announce(decided)
    confirmed("Do this?", yes)

    def work(conn: Conn) -> list[tuple[str, SyncdError | None]]:
        known = facts.load_users(
            conn, current.workspace.name, {each.id for each in decided}, current.workspace.precedence
        )
        groups, made = _groups(decided, known)
        outcomes = commit_each(
            conn, current.workspace, current.actor, list(groups.values()), current.now(), current.app.ids
        )
        for id, outcome in zip(groups, outcomes, strict=True):
            made[id] = outcome.error
        return [(known[id].name if id in known else id, error) for id, error in made.items()]

    done = current.database.write_now(work)
    refused = [(name, error) for name, error in done if error is not None]
    say(f"{len(done) - len(refused):,} of {len(done):,} people done")
    show_rows(
        ("not done", "why"), [(name, str(error)) for name, error in refused], "everything that was decided is done"
    )
    if refused:
        raise typer.Exit(4 if any(isinstance(error, HeldByGuard) for _, error in refused) else 1)


def _announce(decided: Iterable[Decided]) -> None:
    """What it comes to, in numbers."""
    numbers: Counter[str] = Counter()
    people: set[str] = set()
    for each in decided:
        people.add(each.id)
        what = f"{each.kind} {each.value} taken back" if each.decision == "revoke" else f"people: {each.decision}"
        numbers[what] += 1
    say(f"of {len(people):,} people: " + "; ".join(f"{n:,} x {what}" for what, n in sorted(numbers.items())))


def _groups(
    decided: Iterable[Decided], known: Mapping[str, User]
) -> tuple[dict[str, ChangeGroup], dict[str, SyncdError | None]]:
    """What is to be done of each person as one change group; and who is answered without it."""
    by_user: dict[str, list[Decided]] = defaultdict(list)
    for each in decided:
        by_user[each.id].append(each)
    groups: dict[str, ChangeGroup] = {}
    made: dict[str, SyncdError | None] = {}
    for id, rows in by_user.items():
        try:
            edits = tuple(_edits(rows, known.get(id)))
        except SyncdError as exc:
            made[id] = exc
            continue
        made[id] = None
        if edits:
            groups[id] = edits
    return groups, made


def _edits(rows: list[Decided], user: User | None) -> Iterator[UserEdit]:
    """Raises Conflict if the file is not about what is there now."""
    if user is None or not user.present:
        raise Conflict("there is no such user any more")
    if any(each.user != user.name for each in rows):
        raise Conflict(f"line {rows[0].line}: the file says {rows[0].user}, this id is {user.name}")
    revoke: list[tuple[str, str, str, str]] = []
    for each in rows:
        own = [grant for grant in user.stated if (grant.kind, grant.value) == (each.kind, each.value)]
        direct = [grant.id for grant in own if grant.origin in ("direct", OVERRIDE)]
        if each.decision == "revoke" and own and not direct:
            raise Conflict(f"{each.kind} {each.value} comes from {own[0].comes_from}: change that")
        revoke += direct if each.decision == "revoke" else []
    wanted = {each.decision for each in rows}
    if revoke:
        yield UserEdit(user.id, ADMIN_SOURCE, revoke=tuple(revoke), why=_WHY)
    if "suspend" in wanted and user.suspended is None:
        yield UserEdit(user.id, ADMIN_SOURCE, facts={"suspended": _WHY}, why=_WHY)
    if "deactivate" in wanted:
        link = user.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, user.id)
        yield UserEdit(user.id, ADMIN_SOURCE, link=replace(link, enabled=False), why=_WHY)


# -- the file ----------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Decided]:
    """Raises UsageError, naming the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: cannot be read: {exc}") from exc
    rows = _json(path, text) if text.lstrip().startswith(("[", "{")) else _csv(path, text)
    return [_decided(path, line, row) for line, row in rows]


def _json(path: Path, text: str) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise UsageError(f"{path}: is no JSON: {exc}") from exc
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UsageError(f"{path}: is no list of objects, as `syncd review --format json` writes it")
    return list(enumerate(found, 1))


def _csv(path: Path, text: str) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        reader = csv.DictReader(text.splitlines(), strict=True)
        rows: list[tuple[int, Mapping[str, Any]]] = [(reader.line_num, row) for row in reader]
    except csv.Error as exc:
        raise UsageError(f"{path}: is no CSV: {exc}") from exc
    missing = {"decision", "user", "kind", "value", "id"} - set(reader.fieldnames or ())
    if missing:
        raise UsageError(f"{path}: has no column {', '.join(sorted(missing))}: start from `syncd review --format csv`")
    return rows


def _decided(path: Path, line: int, row: Mapping[str, Any]) -> Decided:
    said = {name: _text(row.get(name)) for name in ("decision", "id", "user", "kind", "value")}
    decision = said["decision"].lower()
    if decision and decision not in DECISIONS:
        raise UsageError(f"{path}:{line}  decision: {decision!r} is none of {', '.join(DECISIONS)}")
    if not said["id"]:
        raise UsageError(f"{path}:{line}  id: it is empty, so nobody knows whom this is about")
    return Decided(line, **{**said, "decision": decision})


def _text(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
