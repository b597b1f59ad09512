"""An access review: listed, decided in a file, applied; with everything that cannot be said by name."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from command_line import Cli


def rows(cli: Cli, *options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(cli("review", "--format", "csv", *options).out)))


def decide(cli: Cli, **decisions: str) -> str:
    """`ann_viewer="revoke"`: the decision on a grant of a user, written as a file."""
    found = rows(cli)
    for row in found:
        row["decision"] = decisions.get(f"{row['user']}_{row['value']}", "")
    out = io.StringIO()
    writer = csv.DictWriter(out, found[0])
    writer.writeheader()
    writer.writerows(found)
    path = cli.folder / "review.csv"
    path.write_text(out.getvalue(), encoding="utf-8")
    return str(path)


def show(cli: Cli, name: str) -> Any:
    return cli("user", "show", name, "--json").json


@pytest.fixture
def people(cli: Cli) -> Cli:
    cli("user", "create", "root", "--role", "owner")
    for name in ("ann", "bob"):
        cli("user", "create", name, "--role", "viewer", "--seat", "internal")
    return cli


def test_listed_with_when_each_last_signed_in(people: Cli) -> None:
    found = rows(people)
    assert [(row["user"], row["kind"], row["value"]) for row in found if row["user"] != "root"] == [
        *(("ann", "role", "viewer"), ("ann", "seat", "internal")),
        *(("bob", "role", "viewer"), ("bob", "seat", "internal")),
    ]
    assert {(row["origin"], row["decision"], row["last_sign_in"]) for row in found} == {("direct", "", "")}
    assert len(rows(people, "--kind", "seat")) == 2
    assert len(rows(people, "--unused", "90d")) == 5, "nobody ever signed in"
    assert "viewer" in people("review").out
    assert len(people("review", "--format", "json").json) == 5


def test_decisions_are_applied(people: Cli) -> None:
    path = decide(people, ann_viewer="revoke", ann_internal="revoke", bob_viewer="suspend")
    ran = people("review", "--apply", path, "--yes")
    assert "of 2 people: 1 x people: suspend; 1 x role viewer taken back; 1 x seat internal taken back" in ran.err
    assert "2 of 2 people done" in ran.err
    assert (show(people, "ann")["roles"], show(people, "ann")["seats"]) == ([], [])
    assert (show(people, "bob")["status"], len(show(people, "bob")["roles"])) == ("suspended", 1)
    again = people("review", "--apply", path, "--yes")
    assert "2 of 2 people done" in again.err, "done once, whoever asks again"
    assert "access review" in people("activity", "--user", "ann").out
    kept = decide(people)
    assert "nothing is decided" in people("review", "--apply", kept).err


def test_what_cannot_be_done_is_told_and_stops_nobody(people: Cli) -> None:
    path = decide(people, root_owner="deactivate", ann_viewer="revoke")
    ran = people("review", "--apply", path, "--yes", code=1)
    assert "1 of 2 people done" in ran.err and "last active owner" in ran.out
    assert show(people, "ann")["roles"] == [] and show(people, "root")["status"] == "active"


def test_the_same_as_json(people: Cli) -> None:
    found = people("review", "--format", "json").json
    for row in found:
        row["decision"] = "deactivate" if row["user"] == "bob" else "keep"
    path = people.folder / "review.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    people("review", "--apply", str(path), "--yes")
    assert show(people, "bob")["status"] == "inactive"


def test_mistakes_in_the_file_are_named_by_line(people: Cli) -> None:
    path = people.folder / "review.csv"
    for text, told in (
        ("decision,user,kind,value,id\nperhaps,ann,role,viewer,x\n", ":2  decision: 'perhaps'"),
        ("decision,user,kind,value,id\nrevoke,ann,role,viewer,\n", ":2  id: it is empty"),
        ("user,kind\nann,role\n", "has no column decision, id, value"),
        ("[1]", "no list of objects"),
        ("[{", "is no JSON"),
    ):
        path.write_text(text, encoding="utf-8")
        ran = people("review", "--apply", str(path), "--yes", code=2)
        assert told in ran.err, ran.err
    people("review", "--apply", str(people.folder / "none.csv"), code=2)
    path.write_text("decision,user,kind,value,id\nrevoke,ann,role,viewer,nobody\n", encoding="utf-8")
    assert "no such user" in people("review", "--apply", str(path), "--yes", code=1).out
