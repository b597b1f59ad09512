"""What a configuration comes to: core values, ids, the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from syncd.app import App, TimeOrderedIds, clock, compose
from syncd.core.connection import Shows
from syncd.core.seats import Pool
from syncd.errors import ConfigError, DatabaseUnavailable, UsageError
from syncd.ldap.source import LdapSource
from syncd.store.engine import Database
from syncd.supervise import serve

BASIC = """
database: sqlite:///x.db
seats:
  internal: {limit: 5, when_full: {overage: 2}}
  crm: {limit: unlimited, requires: [internal], kind: add-on}
roles: {clerk: {permissions: [invoices.view]}}
protected: ['userName eq "root"']
sources:
  okta:
    kind: scim
    may_grant: [admin]
    show: {roles_and_entitlements: true, member_display: false, patched_group: true, security_events: true}
  corp:
    kind: ldap
    url: ldap://127.0.0.1:1389
    users: {base: "ou=people,dc=x", filter: (objectClass=person)}
    attributes: {userName: uid}
    missing: {delete_after: never}
    limits: {role: {share: 1%, floor: 2, number: 9}}
    window: 2h
    adopt: 'userType eq "Employee"'
  dump: {kind: ldif, path: dump.ldif, authoritative: false}
rules:
  - {name: a, when: 'groups.display eq "x"', roles: [clerk], scopes: {unit: [north, south]}}
  - {name: b, when: userName pr, seats: [internal]}
workspaces:
  acme: {}
"""


def composed(tmp_path: Path, text: str = BASIC) -> App:
    (tmp_path / "syncd.yaml").write_text(text, encoding="utf-8")
    return compose(tmp_path / "syncd.yaml", {})


def test_a_workspace_is_built_of_core_values(tmp_path: Path) -> None:
    default = composed(tmp_path).workspace("default")
    assert default.pools["internal"] == Pool("internal", 5, "overage", 2, where=default.pools["internal"].where)
    assert default.pools["crm"].limit is None and default.pools["crm"].requires == ("internal",)
    assert [rule.reads_groups for rule in default.rules] == [True, False]
    assert default.rules[0].scopes == ("unit=north", "unit=south")
    assert {"owner", "admin", "member", "viewer", "clerk"} == set(default.roles)
    assert default.roles["clerk"].where == f"{tmp_path / 'syncd.yaml'}:6"
    assert (default.source("okta").shows, default.source("scim").shows) == (
        Shows(True, False, True, True),
        Shows(False, True, False),
    )
    assert default.protected[0][1]({"username": "root"}) and not default.protected[0][1]({"username": "ann"})


def test_an_empty_list_of_members_is_shown_to_the_policy_that_needs_it_or_as_the_source_says(tmp_path: Path) -> None:
    sources = """
sources:
  a: {kind: scim, policy: authentik}
  b: {kind: scim, policy: {base: authentik, allow: [bare_value]}, show: {empty_members: false}}
  c: {kind: scim, policy: okta, show: {empty_members: true}}
  d: {kind: scim}
"""
    found = composed(tmp_path, f"database: sqlite:///x.db\n{sources}").workspace("default").sources
    assert [found[name].shows.empty_members for name in "abcd"] == [True, False, True, False]


def test_a_source_keeps_its_policy(tmp_path: Path) -> None:
    sources = composed(tmp_path).workspace("default").sources
    corp = sources["corp"]
    assert (corp.kind, corp.may_grant, corp.adopt) == ("ldap", None, 'userType eq "Employee"')
    assert corp.may_adopt is not None and corp.may_adopt({"usertype": "employee"})
    assert corp.ladder.delete_after is None and corp.ladder.suspend_after == timedelta(days=1)
    role = corp.limits.of("role")
    assert (role.share, role.floor, role.number, corp.limits.window) == (0.01, 2, 9, timedelta(hours=2))
    assert sources["okta"].may_grant == {"admin"} and sources["okta"].digest == ""
    assert not sources["dump"].authoritative


def test_directories_come_before_connections_and_people_unless_told(tmp_path: Path) -> None:
    assert composed(tmp_path).workspace("default").precedence.default == ("corp", "dump", "okta", "scim", "local")
    told = BASIC + "precedence: {default: [local, corp], manager: [okta], name: [dump]}\n"
    precedence = composed(tmp_path, told).workspace("default").precedence
    manager = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager"
    assert precedence.default == ("local", "corp")
    assert precedence.rank(manager, "okta") < precedence.rank(manager, "corp")
    assert precedence.rank("name.givenName", "dump") < precedence.rank("name.givenName", "local")


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("(objectClass=person)", "(objectClass=user)", True),
        ("ou=people,dc=x", "ou=staff,dc=x", True),
        ("{userName: uid}", "{userName: mail}", True),
        ("ldap://127.0.0.1:1389", "ldap://127.0.0.1:2389", False),
        ("window: 2h", "window: 3h", False),
    ],
)
def test_the_digest_of_a_source_covers_what_is_read_not_where(
    tmp_path: Path, old: str, new: str, differs: bool
) -> None:
    def digest(text: str) -> str:
        return composed(tmp_path, text).workspace("default").sources["corp"].digest

    assert (digest(BASIC) != digest(BASIC.replace(old, new))) is differs


def test_a_directory_is_ready_to_be_read(tmp_path: Path) -> None:
    app = composed(tmp_path)
    corp = app.directory("default", "corp")
    assert isinstance(corp.source, LdapSource) and corp.source.config.users.base == ("ou=people,dc=x",)
    assert {"uid", "member"} <= {name.lower() for name in corp.source.attributes_wanted}
    assert app.directory("default", "dump").source.name == "dump"


@pytest.mark.parametrize(
    ("name", "text"), [("crop", "did you mean 'corp'"), ("okta", "of kind scim"), ("scim", "of kind scim")]
)
def test_what_is_no_directory_is_said(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        composed(tmp_path).directory("default", name)


def test_workspaces_share_nothing(tmp_path: Path) -> None:
    app = composed(tmp_path)
    assert app.workspace("acme").sources == {} and app.workspace("acme").pools == {}
    with pytest.raises(UsageError, match="there is no source"):
        app.directory("acme", "corp")
    with pytest.raises(UsageError, match="did you mean 'acme'"):
        app.workspace("acne")


def test_an_attribute_that_does_not_exist_is_a_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="titel"):
        composed(tmp_path, BASIC.replace("{userName: uid}", "{userName: uid, titel: title}"))


def test_ids_are_uuids_of_version_7_in_the_order_they_were_made() -> None:
    ids = TimeOrderedIds()
    made = [ids() for _ in range(5000)]
    assert made == sorted(made) and len(set(made)) == len(made)
    parsed = UUID(made[0])
    assert (parsed.version, parsed.variant) == (7, "specified in RFC 4122")
    at = datetime.fromtimestamp((parsed.int >> 80) / 1000, UTC)
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)


def test_ids_keep_their_order_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = TimeOrderedIds()
    first = ids()
    monkeypatch.setattr("syncd.app.machine.time.time_ns", lambda: 0)
    assert ids() > first


def test_only_a_test_stops_the_clock() -> None:
    stopped = {"SYNCD_TESTING": "1", "SYNCD_TESTING_NOW": "2030-01-01T12:00:00+02:00"}
    assert clock(stopped)() == datetime(2030, 1, 1, 10, tzinfo=UTC)
    assert clock({"SYNCD_TESTING_NOW": "2030-01-01T00:00:00Z"})() != datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(ConfigError, match="SYNCD_TESTING_NOW"):
        clock({"SYNCD_TESTING": "1", "SYNCD_TESTING_NOW": "noon"})


def test_what_is_dangerous_is_said_at_every_start(tmp_path: Path) -> None:
    dangerous = "authoritative: false, accept_unmarked_files_as_complete: true"
    app = composed(
        tmp_path,
        BASIC.replace("authoritative: false", dangerous).replace("sqlite:///x.db", "postgresql://x@127.0.0.1:1/x"),
    )
    with capture_logs() as logs, pytest.raises(DatabaseUnavailable):
        serve(app, "web")
    assert [
        (each["event"], each["source"], each["setting"]) for each in logs if each["event"] == "dangerous_setting"
    ] == [("dangerous_setting", "dump", "accept_unmarked_files_as_complete")]


def test_a_configuration_without_sources_can_be_served(tmp_path: Path) -> None:
    app = composed(tmp_path, "database: sqlite:///x.db\n")
    app.timers(Database(f"sqlite:///{tmp_path / 'x.db'}", create=True), app.clock)
    assert app.timetables == {} and app.secrets == ()


def test_every_secret_of_the_configuration_is_known_to_the_log(tmp_path: Path) -> None:
    (tmp_path / "bind").write_text("of the directory\n")
    bound = BASIC.replace("url: ldap:", "bind_dn: cn=x\n    bind_password_file: bind\n    url: ldap:")
    text = bound.replace("sqlite:///x.db", "postgresql://syncd:of%20the%20database@127.0.0.1/x")
    assert {each.reveal() for each in composed(tmp_path, text).secrets} == {"of the directory", "of the database"}
