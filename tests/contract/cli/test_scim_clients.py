"""Real clients, each through a session of its own, with `syncd serve` as a process: scim2-client and scim2-cli.

Both read discovery first and check everything that they get against it; an answer that is not as it says raises.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from scim2_cli import cli as scim2
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import (
    BulkOperation,
    BulkRequest,
    PatchOp,
    PatchOperation,
    ResponseParameters,
    SCIMException,
    SearchRequest,
)

CONFIG = """
database: sqlite:///syncd.db
http: {bind: "127.0.0.1:0"}
seats:
  internal: {limit: 20}
sources:
  partner: {kind: scim, policy: rfc, limits: {delete: {number: 50, floor: 50}, deactivate: {floor: 50}}}
rules:
  - {name: staff, when: 'userType eq "Employee"', roles: [member], seats: [internal]}
"""
DEADLINE_S = 60
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The base URL of a daemon over an empty database, and a token of a strict connection."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    syncd = [sys.executable, "-m", "syncd", "--config", str(folder / "syncd.yaml")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*syncd, "serve", "--only", "web"], cwd=folder, env=env, stderr=log)
    try:
        base = f"{_address(process, folder / 'log')}/scim/v2"
        make = [*syncd, "token", "create", "--name", "partner", "--source", "partner"]
        token = subprocess.run(make, env=env, check=True, capture_output=True, text=True).stdout.strip()
        yield base, token
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until and process.poll() is None:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        found = {line["event"]: line for line in lines}
        if "ready" in found:
            return str(found["serving"]["url"])
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture
def client(served: tuple[str, str]) -> Iterator[SyncSCIMClient]:
    base, token = served
    with httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        client = SyncSCIMClient(http)
        client.discover()
        yield client


def test_scim2_client_reads_writes_and_meets_preconditions(client: SyncSCIMClient) -> None:
    User: Any = client.get_resource_model("User")
    Group: Any = client.get_resource_model("Group")
    work = {"value": "ann@example.org", "type": "work", "primary": True}
    ann = client.create(User(user_name="ann@example.org", user_type="Employee", emails=[work], external_id="a1"))
    assert (ann.meta.version, ann.active, ann.external_id) == ('W/"1"', True, "a1")
    assert client.query(ann) is ann, "304: it has this version"
    with pytest.raises(SCIMException, match="is taken by another user") as raised:
        client.create(User(user_name="ANN@example.org"))
    assert raised.value.scim_type == "uniqueness"

    op = PatchOperation(op="replace", path="displayName", value="Ann")
    patched = client.modify(User, ann.id, PatchOp[User](operations=[op]))
    assert (patched.display_name, patched.meta.version) == ("Ann", 'W/"2"')
    with pytest.raises(SCIMException, match=r'W/"2"'):  # 412: what it read first is not what is there
        client.replace(ann)
    patched.title = "Dr"
    replaced = client.replace(patched)
    assert (replaced.title, replaced.display_name, replaced.meta.version) == ("Dr", "Ann", 'W/"3"')

    crew = client.create(Group(display_name="crew", members=[{"value": ann.id}]))
    assert [(each.value, each.display, each.type) for each in crew.members] == [(ann.id, "ann@example.org", "User")]
    assert client.query(User, ann.id).groups[0].display == "crew"
    found = client.query(User, query_parameters=SearchRequest(filter='emails[type eq "work" and value sw "ann@"]'))
    assert [each.id for each in found.resources] == [ann.id]
    some = client.query(User, ann.id, ResponseParameters[User](attributes=["userName"]))
    assert (some.user_name, some.title) == ("ann@example.org", None)
    everything = client.search(SearchRequest(filter='displayName eq "crew" or userName eq "ann@example.org"'))
    assert {each.id for each in everything.resources} == {ann.id, crew.id}
    client.delete(crew)
    client.delete(User, ann.id)
    with pytest.raises(SCIMException, match="there is no user"):
        client.query(User, ann.id)


def test_scim2_client_sends_bulk_and_follows_cursors(client: SyncSCIMClient) -> None:
    User: Any = client.get_resource_model("User")
    Group: Any = client.get_resource_model("Group")
    names = [f"bulk{number}" for number in range(5)]
    people = [
        BulkOperation[User](method="POST", path="/Users", bulk_id=name, data=User(user_name=name)) for name in names
    ]
    circle = [
        BulkOperation[Group](
            method="POST", path="/Groups", bulk_id=name, data=Group(display_name=name, members=members)
        )
        for name, members in (
            ("one", [{"value": "bulkId:two"}, {"value": "bulkId:bulk0"}]),
            ("two", [{"value": "bulkId:one"}]),
        )
    ]
    done = client.bulk(BulkRequest[User | Group](operations=[*circle, *people]))
    assert [(each.bulk_id, each.status) for each in done.operations] == [(each, 201) for each in ("one", "two", *names)]
    one, two = (each.location.rpartition("/")[2] for each in done.operations[:2])
    assert two in [each.value for each in client.query(Group, one).members]
    assert [each.value for each in client.query(Group, two).members] == [one]

    found, cursor = [], ""
    while cursor is not None:
        page = client.query(User, query_parameters=SearchRequest(filter='userName sw "bulk"', count=2, cursor=cursor))
        assert page.total_results == 5
        found += [each.user_name for each in page.resources]
        cursor = page.next_cursor
    assert found == names
    gone = [
        BulkOperation[User](method="DELETE", path=each.location[each.location.index("/Users") :])
        for each in done.operations[2:]
    ]
    done = client.bulk(BulkRequest[User | Group](operations=gone))
    assert {each.status for each in done.operations} == {204}
    assert client.query(User, query_parameters=SearchRequest(filter='userName sw "bulk"')).total_results == 0


def test_scim2_cli(served: tuple[str, str]) -> None:
    base, token = served
    runner = CliRunner(env={"SCIM_CLI_URL": base, "SCIM_CLI_HEADERS": f"Authorization: Bearer {token}"})

    def run(*argv: str, stdin: Any = None, code: int = 0) -> Any:
        ran = runner.invoke(scim2, argv, input=None if stdin is None else json.dumps(stdin))
        assert (ran.exit_code, type(ran.exception)) == (code, SystemExit if code else type(None)), ran
        return json.loads(ran.stdout) if code == 0 and ran.stdout.strip() else ran.output

    boss = run("create", "user", "--user-name", "boss", "--active", "true")
    body = {
        "schemas": [USER, ENTERPRISE],
        "userName": "bo",
        ENTERPRISE: {"department": "7", "manager": {"value": boss["id"]}},
    }
    bo = run("create", stdin=body)
    assert bo[ENTERPRISE]["manager"] == {"value": boss["id"], "$ref": boss["meta"]["location"]}
    assert "uniqueness" in run("create", "user", "--user-name", "BO", code=1)
    operations = ["replace", f"{ENTERPRISE}:department", "8", "add", "emails", '[{"value": "b@x.org", "type": "work"}]']
    bo = run("modify", "user", bo["id"], *operations, "remove", f"{ENTERPRISE}:manager")
    assert (bo[ENTERPRISE], bo["emails"]) == ({"department": "8"}, [{"value": "b@x.org", "type": "work"}])
    bo = run("replace", "user", "--id", bo["id"], "--user-name", "bob")
    assert "emails" not in bo and bo["meta"]["version"] == 'W/"3"'
    group = run("create", stdin={"schemas": [GROUP], "displayName": "cli", "members": [{"value": bo["id"]}]})
    run("modify", "group", group["id"], "add", "members", json.dumps([{"value": boss["id"]}]))
    assert {each["display"] for each in run("query", "group", group["id"])["members"]} == {"bob", "boss"}
    assert "invalidFilter" in run("query", "user", "--filter", 'nothing eq "x"', code=1)
    found = run(
        "search", "user", "--filter", f'groups.value eq "{group["id"]}"', "--sort-by", "userName", "--count", "1"
    )
    assert (found["totalResults"], [each["userName"] for each in found["Resources"]]) == (2, ["bob"])
    for kind, id in (("group", group["id"]), ("user", bo["id"]), ("user", boss["id"])):
        run("delete", kind, id)
    assert "there is no group" in run("query", "group", group["id"], code=1)
