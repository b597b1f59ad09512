"""The command line against a real slapd, as an admin uses it: encrypted, with an authority of one's own, and every exit
code of the table provoked by what really causes it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE
from servers.ldif_changes import delete, modify
from servers.slapd import ACCESS_READ_ALL, READER, READER_PASSWORD, Authority, Slapd, authority
from syncd import cli

SECURITY = f"ou=Security,{PEOPLE_BASE}"
CONFIG = """\
database: sqlite:///syncd.db
seats:
  internal: {{limit: 100}}
  crm: {{limit: 40, requires: [internal]}}
roles:
  crm-user: {{permissions: [crm.view]}}
sources:
  corp:
    kind: ldap
    url: {url}
    {tls}
    ca_file: ca.pem
    bind_dn: {reader}
    bind_password_file: bind-password
    users: {{base: "{people}"}}
    groups: {{base: "{groups}"}}
    attributes: {{userName: uid, name.givenName: givenName, name.familyName: sn, emails.work: mail, title: title}}
    canaries: ["{canary}"]
    may_grant: [admin, member, crm-user]
    page_size: 20
rules:
  - {{name: staff, when: 'groups[source eq "corp" and display eq "all-staff"]', roles: [member], seats: [internal]}}
  - {{name: crm, when: 'groups[source eq "corp" and display eq "crm-users"]', roles: [crm-user], seats: [internal, crm]}}
"""


@dataclass
class Terminal:
    """A folder with a configuration, and what was typed in it."""

    folder: Path
    environment: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]
    now: datetime = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
    err: str = ""
    config: Path = field(init=False)

    def write(self, slapd: Slapd, url: str | None = None, tls: str = "", **different: str) -> None:
        assert slapd.tls is not None
        fields = {"reader": READER, "people": PEOPLE_BASE, "groups": GROUPS_BASE, "canary": SECURITY, **different}
        self.config = self.folder / "syncd.yaml"
        self.config.write_text(CONFIG.format(url=url or slapd.ldaps_url, tls=tls, **fields))
        (self.folder / "ca.pem").write_bytes(slapd.tls.ca.read_bytes())
        password = self.folder / "bind-password"
        password.write_text(READER_PASSWORD + "\n")
        password.chmod(0o600)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and what was printed; what went to stderr is in `err`."""
        self.environment.delenv("COLUMNS", raising=False)  # tables as wide as for a pipe
        self.environment.setenv("SYNCD_TESTING", "1")
        self.environment.setenv("SYNCD_TESTING_NOW", self.now.isoformat())
        self.captured.readouterr()
        code = cli.main([*arguments, "--config", str(self.config)])
        printed = self.captured.readouterr()
        self.err = printed.err
        return code, printed.out

    def json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, out = self.run(*arguments, "--json")
        return code, json.loads(out)

    def later(self, days: int) -> None:
        self.now += timedelta(days=days)


@pytest.fixture
def encrypted(new_slapd: Callable[..., Slapd], tls_authority: Authority) -> Slapd:
    return new_slapd(ldif=companies.LDIF, tls=tls_authority)


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encrypted: Slapd
) -> Terminal:
    """With a database that is there, and nothing in it."""
    for name in ("SYNCD_CONFIG", "SYNCD_DATABASE", "SYNCD_BIND"):
        monkeypatch.delenv(name, raising=False)
    made = Terminal(tmp_path, monkeypatch, capsys)
    made.write(encrypted)
    assert made.run("db", "upgrade")[0] == 0
    return made


def test_the_first_day(terminal: Terminal) -> None:
    code, out = terminal.run("check")
    assert code == 0, out
    assert "OpenLDAP" in out and "TLSv1.3" in out and f"users: {companies.USERS} entries" in out

    code, planned = terminal.json("plan", "corp")
    assert (code, planned["status"], planned["dry_run"], planned["complete"]) == (3, "pending", True, True)
    assert planned["counts"]["create"] == companies.USERS and planned["counts"]["group_create"] == companies.GROUPS
    assert len(planned["changes"]) == sum(
        n for kind, n in planned["counts"].items() if kind not in ("read", "set_aside")
    )

    code, applied = terminal.json("sync", "corp", "--plan", planned["digest"][:12])
    assert (code, applied["status"], applied["digest"]) == (0, "applied", planned["digest"])
    code, again = terminal.json("plan", "corp")
    assert (code, again["status"], again["changes"]) == (0, "clean", [])

    code, listed = terminal.json("runs", "list")
    assert code == 0 and [each["status"] for each in listed["runs"]] == ["clean", "applied", "pending"]
    code, shown = terminal.json("runs", "show", applied["run"])
    assert code == 0 and shown["counts"] == applied["counts"] and len(shown["activity"]) >= companies.USERS
    code, out = terminal.run("runs", "show", applied["run"])
    assert code == 0 and "applied" in out

    code, why = terminal.json("explain", "jane.garcia")
    assert code == 0 and why["status"] == "active"
    assert {(each["value"], each["why"]) for each in why["roles"]} == {
        ("member", "rule staff through dept-marketing > all-staff"),
        ("crm-user", "rule crm through crm-users"),
    }
    code, out = terminal.run("explain", "jane.garcia")
    assert code == 0 and "dept-marketing > all-staff" in out


def test_starttls(terminal: Terminal, encrypted: Slapd) -> None:
    terminal.write(encrypted, url=encrypted.url, tls="starttls: true")
    code, out = terminal.run("check")
    assert code == 0 and "TLSv1.3" in out
    assert terminal.run("sync", "corp")[0] == 0


def test_a_department_that_leaves_is_exit_4_until_it_is_approved(terminal: Terminal, encrypted: Slapd) -> None:
    assert terminal.run("sync", "corp")[0] == 0
    terminal.later(2)
    encrypted.modify("".join(delete(one.dn) for one in companies.COMPANY.people if one.dn.endswith(SECURITY)))
    assert terminal.run("sync", "corp")[0] == 0
    assert "10 users were not found" in terminal.run("plan", "corp")[1] + terminal.err
    terminal.later(1)
    code, planned = terminal.json("plan", "corp")
    assert (code, planned["status"]) == (4, "held")
    code, held = terminal.json("sync", "corp")
    assert (code, held["status"], held["changes"]) == (4, "held", [])
    (item,) = held["held"]
    assert (item["guard"], item["kind"], item["changes"]) == ("limit", "suspend", 10)
    assert "10 of" in item["why"] and "limit 5" in item["why"]
    code, out = terminal.run("sync", "corp")
    assert code == 4 and "syncd runs approve DIGEST" in out

    code, listed = terminal.json("runs", "list")
    assert [each["digest"] for each in listed["held"]] == [item["digest"]]
    assert "held" in terminal.json("explain", "zoe.xu")[1] and terminal.json("explain", "zoe.xu")[1]["held"]
    assert terminal.run("runs", "approve", "00000000", "--yes")[0] == 1
    code, approved = terminal.json("runs", "approve", item["digest"][:8], "--yes")
    assert (code, approved["counts"]["suspend"]) == (0, 10)
    assert terminal.json("explain", "zoe.xu")[1]["status"] == "suspended"
    assert terminal.run("plan", "corp")[0] == 0


def test_a_plan_that_grew_losses_is_refused(terminal: Terminal, encrypted: Slapd) -> None:
    assert terminal.run("sync", "corp")[0] == 0
    terminal.later(2)
    jane, rosa = (next(one for one in companies.COMPANY.people if one.uid == uid) for uid in ("jane.garcia", "anna.xu"))
    encrypted.modify(modify(jane.dn, ("replace", "title", "Lead")))
    code, planned = terminal.json("plan", "corp")
    assert code == 3
    encrypted.modify(modify(rosa.dn, ("delete", "title")))
    assert terminal.run("sync", "corp", "--plan", planned["digest"])[0] == 4
    assert "1 losses were not in plan" in terminal.err and "anna.xu" in terminal.err
    assert terminal.json("explain", "jane.garcia")[1]["values"]["title"] != "Lead"
    encrypted.modify(modify(rosa.dn, ("add", "title", "Analyst")))
    assert terminal.run("sync", "corp", "--plan", planned["digest"])[0] == 0


def test_only_some_users(terminal: Terminal, encrypted: Slapd) -> None:
    """What is done for one is not done for the others, and nobody is nearer to being missing."""
    assert terminal.run("sync", "corp", "--only", 'userName eq "jane.garcia"')[0] == 0
    assert terminal.run("explain", "anna.xu")[0] == 1
    assert terminal.run("sync", "corp")[0] == 0
    gone = next(one for one in companies.COMPANY.people if one.uid == "anna.xu")
    encrypted.modify(delete(gone.dn))
    terminal.later(2)
    assert terminal.run("sync", "corp", "--only", 'userName eq "jane.garcia"')[0] == 0
    assert terminal.json("explain", "anna.xu")[1]["links"][0]["stage"] is None


def test_a_blind_read_is_exit_5(terminal: Terminal, encrypted: Slapd) -> None:
    assert terminal.run("sync", "corp")[0] == 0
    encrypted.access = f'access to dn.subtree="{SECURITY}" by * none\n{ACCESS_READ_ALL}'
    encrypted.restart()
    terminal.later(2)
    assert terminal.run("check")[0] == 5
    code, planned = terminal.json("plan", "corp")
    assert (code, planned["status"], planned["complete"]) == (5, "incomplete", False)
    code, report = terminal.json("sync", "corp")
    assert (code, report["status"], report["changes"]) == (5, "incomplete", [])
    assert f"canary {SECURITY} is not visible" in report["incomplete_because"][0]
    code, out = terminal.run("runs", "show", report["run"])
    assert code == 0 and f"canary {SECURITY} is not visible" in out
    code, out = terminal.run("sync", "corp")
    assert code == 5 and "nothing is taken away by absence" in out


def test_a_source_out_of_reach_is_exit_75(terminal: Terminal, encrypted: Slapd, tmp_path: Path) -> None:
    (terminal.folder / "bind-password").write_text("guess\n")
    assert terminal.run("sync", "corp")[0] == 1  # an answer, which no later attempt will change
    assert "the name or the password is wrong" in terminal.err and "guess" not in terminal.err
    (terminal.folder / "bind-password").write_text(READER_PASSWORD)

    other = authority(tmp_path / "other authority")
    (terminal.folder / "ca.pem").write_bytes(other.ca.read_bytes())
    assert terminal.run("plan", "corp")[0] == 75
    assert "the certificate is not trusted" in terminal.err
    terminal.write(encrypted)

    encrypted.stop()
    code, failed = terminal.json("sync", "corp")
    assert (code, failed["status"], failed["complete"]) == (75, "failed", False)
    assert "connection refused" in failed["incomplete_because"][0]
    assert terminal.run("check")[0] == 75
    code, listed = terminal.json("runs", "list")
    assert {each["status"] for each in listed["runs"]} == {"failed"}
    assert "connection refused" in listed["runs"][0]["message"]


def test_a_wrong_configuration_is_exit_78(terminal: Terminal) -> None:
    good = terminal.config.read_text()
    terminal.config.write_text(good.replace("may_grant", "may_grants").replace("limit: 40", "limit: many"))
    for command in (("check",), ("plan", "corp"), ("sync", "corp"), ("runs", "list")):
        assert terminal.run(*command)[0] == 78
        assert "syncd.yaml:" in terminal.err and "may_grants" in terminal.err and "'many'" in terminal.err
    terminal.config.write_text(good.replace("userName: uid,", "userName: uid, favourite: x,"))
    assert terminal.run("check")[0] == 78 and "favourite" in terminal.err
    terminal.config.write_text(good)
    (terminal.folder / "bind-password").unlink()
    assert terminal.run("check")[0] == 78
    assert "bind_password_file" in terminal.err
    assert terminal.run("plan", "corpp")[0] == 78  # the configuration comes first


def test_what_is_typed_wrongly_is_exit_2(terminal: Terminal) -> None:
    assert terminal.run("plan", "corpp")[0] == 2 and "did you mean 'corp'" in terminal.err
    assert terminal.run("plan", "corp", "--only", "userName equals x")[0] == 2
    assert terminal.run("sync")[0] == 2


def test_a_process_of_its_own_ends_with_the_same_code(terminal: Terminal, encrypted: Slapd) -> None:
    command = [sys.executable, "-m", "syncd", "plan", "corp", "--json", "--config", str(terminal.config)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 3 and json.loads(done.stdout)["status"] == "pending", done.stderr
