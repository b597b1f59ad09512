"""Makes a small database of a release, to be upgraded by the tests of every later one. Run once when a release is made:

    git worktree add --detach FOLDER TAG
    PYTHONPATH=FOLDER/src python tests/contract/store/releases/make.py VERSION

It speaks to that release only as people do, by its command line and SCIM, so that it needs no change for the next one.
Beside the rows (as SQL, on each engine) it keeps the configuration, the directory, and what the release itself says of
the rows (`said.json`): the later release must say the same.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

import postgres_server  # noqa: E402 - tests/ is not on the path of a program

CONFIG = """\
# What the rows of this release were made with.
database: sqlite:///unused.db
seats:
  internal: {limit: 60}
  crm: {limit: 2, requires: [internal]}
roles:
  crm-user: {permissions: [crm.view]}
sources:
  corp:
    kind: ldif
    path: corp.ldif
    attributes: {userName: uid, displayName: "{givenName} {sn}", emails.work: mail, title: title}
    may_grant: [admin, member, crm-user]
  okta: {kind: scim}
rules:
  - {name: staff, when: 'groups[source eq "corp" and display eq "all-staff"]', roles: [member], seats: [internal]}
  - {name: crm-users, when: 'groups[source eq "corp" and display eq "crm-users"]', roles: [crm-user], seats: [crm]}
workspaces:
  acme: {seats: {internal: {limit: 1}}, sources: {entra: {kind: scim}}}
"""
QUESTIONS = (
    "user list --json",
    "group list --json",
    "seat list --json",
    "role list --json",
    "token list --json",
    "runs list --json",
    "activity --format jsonl",
    "user list --json --workspace acme",
)


def syncd(folder: Path, env: dict[str, str], *argv: str, at: str = "", codes: tuple[int, ...] = (0,)) -> str:
    stopped = {"SYNCD_TESTING": "1", "SYNCD_TESTING_NOW": at} if at else {}
    ran = subprocess.run(
        [sys.executable, "-m", "syncd", *argv], cwd=folder, env={**env, **stopped}, text=True, capture_output=True, check=False
    )  # fmt: skip
    assert ran.returncode in codes, (argv, ran)
    return ran.stdout


def fill(folder: Path, database: str) -> dict[str, Any]:
    """Everything a store can hold, small. Returns what the release says of it."""
    env = {**os.environ, "SYNCD_CONFIG": "syncd.yaml", "SYNCD_DATABASE": database, "SYNCD_BIND": "127.0.0.1:0"}
    whole = (folder / "corp.ldif").read_text(encoding="utf-8")

    def do(line: str, at: str, codes: tuple[int, ...] = (0,)) -> str:
        return syncd(folder, env, *line.split(), at=at, codes=codes).strip()

    do("db upgrade", "")
    do("user create root --role owner --email root@example.org", "2026-09-01T08:00")
    do("sync corp", "2026-09-01T09:00")
    names = [
        json.loads(line)["userName"] for line in do("user list --json --status active", "2026-09-01T09:01").split("\n")
    ]
    staff = [name for name in names if name != "root"]
    do(f"user suspend {staff[0]} --reason leave -y", "2026-09-01T10:00")
    do(f"user deactivate {staff[1]} --reason left -y", "2026-09-01T10:01")
    do(f"role grant {staff[2]} viewer --expires 2027-01-01", "2026-09-01T10:02")
    do(f"seat assign {staff[3]} crm", "2026-09-01T10:03")
    do("user create mistake", "2026-09-01T10:04")
    do("user delete mistake -y", "2026-09-01T10:05")
    do("token create --name okta --source okta --expires 2027-06-01", "2026-09-01T11:00")
    do("token create --name old --allow users:read", "2026-09-01T11:01")
    do("token revoke old -y", "2026-09-01T11:02")
    do("user create ann --workspace acme --seat internal", "2026-09-01T11:03")
    do("user create ben --workspace acme --seat internal", "2026-09-01T11:04")
    push(folder, env, do("token create --name okta-push --source okta", ""))
    entries = whole.split("\n\n")
    people = [each for each in entries if "\nuid: " in each and not any(f"\nuid: {n}\n" in each for n in staff[:4])]
    # One leaver, one change and a bad entry; then a dump that was cut; then one that lacks most people: held.
    monday = [each for each in entries if each != people[0]]
    monday[monday.index(people[1])] = re.sub("\ntitle: .*", "\ntitle: Head of Change", people[1])
    monday[monday.index(people[2])] = people[2].replace("\nuid: ", "\nuid:: /w==\nx-was: ")
    few = [each for each in monday if each not in people[5:25]]
    for text, at, codes in (
        (dump(monday), "2026-09-02T09:00", (0,)),
        (dump(monday), "2026-09-03T10:00", (0,)),
        (whole[: len(whole) // 2], "2026-09-03T11:00", (5,)),
        (dump(few), "2026-09-04T09:00", (0, 4)),
        (dump(few), "2026-09-05T10:00", (4,)),
    ):
        (folder / "corp.ldif").write_text(text, encoding="utf-8")
        do("sync corp", at, codes)
    (folder / "corp.ldif").write_text(whole, encoding="utf-8")
    do("plan corp", "2026-09-05T11:00", (0, 3, 4))
    return {line: do(line, "2026-09-05T12:00") for line in QUESTIONS}


def dump(entries: list[str]) -> str:
    """As a file that says how many entries it has."""
    text = "\n\n".join(entries)
    count = sum(line.startswith("dn:") for line in text.splitlines())
    return re.sub(r"# numEntries: \d+", f"# numEntries: {count}", text)


def push(folder: Path, env: dict[str, str], token: str) -> None:
    """What an identity provider states: two users, a group, one of them disabled."""
    command = [sys.executable, "-m", "syncd", "serve", "--only", "web"]
    web = subprocess.Popen(command, cwd=folder, env=env, text=True, stderr=subprocess.PIPE)
    try:
        assert web.stderr is not None
        served = next(found for line in web.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        with httpx.Client(base_url=f"{served[0]}/scim/v2", headers={"Authorization": f"Bearer {token}"}) as scim:
            ids = []
            for name in ("zoe", "yan"):
                made = scim.post(
                    "/Users", json={"schemas": [f"{CORE}User"], "userName": name, "externalId": f"x-{name}"}
                )
                ids.append(made.raise_for_status().json()["id"])
            group = {"schemas": [f"{CORE}Group"], "displayName": "pushed", "members": [{"value": id} for id in ids]}
            scim.post("/Groups", json=group).raise_for_status()
            off = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
            scim.patch(f"/Users/{ids[1]}", json=off).raise_for_status()
    finally:
        web.terminate()
        web.communicate(timeout=30)


CORE, PATCH = "urn:ietf:params:scim:schemas:core:2.0:", "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def main(release: str) -> None:
    target = HERE / release
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, postgres_server.running() as server:
        folder = Path(name)
        (folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
        sample = syncd(folder, dict(os.environ), "sample", "--users", "40", "--groups", "8", "--seed", "3")
        (folder / "corp.ldif").write_text(sample, encoding="utf-8")
        said = {"sqlite": fill(folder, f"sqlite:///{folder / 'syncd.db'}")}
        with closing(sqlite3.connect(folder / "syncd.db")) as conn:
            (target / "sqlite.sql").write_text("".join(f"{line}\n" for line in conn.iterdump()), encoding="utf-8")
        url = server.fresh()
        said["postgresql"] = fill(folder, url)
        dump = [postgres_server.programs() / "pg_dump", "--no-owner", "--inserts", url]
        text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
        # \restrict and its like are for psql; the rest is SQL that any client may send.
        lines = [line for line in text.splitlines(True) if not line.startswith(("\\", "--")) and line.strip()]
        (target / "postgresql.sql").write_text("".join(lines), encoding="utf-8")
        for file in ("syncd.yaml", "corp.ldif"):
            (target / file).write_bytes((folder / file).read_bytes())
        (target / "said.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
