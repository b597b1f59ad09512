"""The configuration: every mistake is reported, all at once, at its place; what is right comes out parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from sqlalchemy.engine import make_url

from syncd.deliver import signing
from syncd.errors import ConfigError
from syncd.settings import Settings, json_schema, load
from syncd.settings.block import Block
from syncd.settings.entitlements import WhenFull
from syncd.settings.schema import MODULES
from syncd.settings.sources import LdapSource, LdifSource, ScimSource

TESTS = Path(__file__).parent.parent
MISTAKES = TESTS / "config_errors"
CONFIG = TESTS.parent / "config"
HOOK_SECRET = signing.written(b"hook" * 8)
ENV = {"PASSWORD": "hunter2", "CORP_PASSWORD": "hunter2", "HOOK_SECRET": HOOK_SECRET}


def settings_of(text: str, folder: Path, env: dict[str, str] | None = None) -> Settings:
    path = folder / "syncd.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, ENV if env is None else env)


def faults_of(text: str, folder: Path, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings_of(text, folder, env)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("mistake", sorted(MISTAKES.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_mistake_is_reported_at_its_place(mistake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The expected lines are the comments at the top of the file, without the file's name and this machine's folder."""
    monkeypatch.chdir(MISTAKES)
    comments = re.match(r"(?:# .*\n)+", mistake.read_text(encoding="utf-8"))
    assert comments, "the file begins with the expected lines as comments"
    expected = [line.removeprefix("# ") for line in comments[0].splitlines()]

    with pytest.raises(ConfigError) as caught:
        load(Path(mistake.name), ENV)
    reported = str(caught.value).replace(f"{MISTAKES}/", "").splitlines()
    assert [line.removeprefix(f"{mistake.name}:") for line in reported] == expected
    assert caught.value.exit_code == 78
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file.*--config FILE"):
        load(tmp_path / "nowhere.yaml", {})


def test_a_file_that_is_not_text_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "syncd.yaml").write_bytes(b"database: \xff\xfe")
    with pytest.raises(ConfigError, match="is not text in UTF-8"):
        load(tmp_path / "syncd.yaml", {})


def test_an_alias_of_itself_is_a_fault(tmp_path: Path) -> None:
    assert any("alias" in line for line in faults_of("database: sqlite:///a.db\nseats: &a {b: *a}\n", tmp_path))


def test_the_example_loads_and_explains_every_key() -> None:
    path = CONFIG / "syncd.example.yaml"
    load(path, ENV)
    text = path.read_text(encoding="utf-8")
    missing = [key for key in sorted(every_key()) if not re.search(rf"(^|[\s{{,#]){re.escape(key)}:(\s|$)", text, re.M)]
    assert missing == []


def every_key() -> set[str]:
    named = [each for module in MODULES for each in vars(module).values()]
    blocks = [each for each in named if isinstance(each, type) and issubclass(each, Block)]
    return {key for block in blocks if block is not WhenFull for key in block.model_fields}


def test_the_configuration_of_make_run_loads() -> None:
    settings = load(CONFIG / "syncd.yaml", {})
    assert settings.database == f"sqlite:///{CONFIG.parent / 'var' / 'syncd.db'}"
    assert settings.http.bind.loopback
    corp = settings.workspaces["default"].sources["corp"]
    assert isinstance(corp, LdifSource)
    assert corp.path == CONFIG / "sample" / "company.ldif"


def test_values_come_out_parsed(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n", encoding="utf-8")
    settings = settings_of(
        """
database: sqlite:///var/syncd.db
timezone: Europe/Berlin
seats:
  crm: {limit: 40, when_full: {overage: 10}}
  portal: {limit: unlimited}
sources:
  corp:
    kind: ldap
    url: ldaps://dc1.example.org/
    bind_dn: cn=syncd,dc=example,dc=org
    bind_password_file: password
    users: {base: "ou=people,dc=example,dc=org"}
    missing: {suspend_after: 12h, delete_after: never}
    limits: {deactivate: {share: 0.5%}, seat: {number: 7}}
    schedule: {full: "*/15 1-5 1,15 jan-mar mon", delta: 90s}
    canaries:
  okta: {kind: scim, adopt: 'userName ew "@example.org"'}
""",
        tmp_path,
    )
    assert settings.database == f"sqlite:///{tmp_path}/var/syncd.db"
    assert settings.timezone == ZoneInfo("Europe/Berlin")
    default = settings.workspaces["default"]
    assert (default.seats["crm"].limit, default.seats["portal"].limit) == (40, None)
    assert (default.seats["crm"].when_full.mode, default.seats["crm"].when_full.overage) == ("overage", 10)
    corp, okta = default.sources["corp"], default.sources["okta"]
    assert isinstance(corp, LdapSource)
    assert isinstance(okta, ScimSource)
    assert corp.url == ("ldaps://dc1.example.org",)
    assert corp.users.base == ("ou=people,dc=example,dc=org",)
    assert corp.groups is None
    assert corp.bind_password is not None
    assert corp.bind_password.reveal() == "correct horse"
    assert corp.missing.suspend_after == timedelta(hours=12)
    assert corp.missing.deactivate_after == timedelta(days=2)
    assert corp.missing.delete_after is None
    assert corp.limits.deactivate.share == 0.005
    assert (corp.limits.seat.share, corp.limits.seat.floor, corp.limits.seat.number) == (0.05, 5, 7)
    assert corp.schedule.delta == timedelta(seconds=90)
    assert corp.canaries == ()
    assert okta.may_grant is None
    assert okta.adopt == 'userName ew "@example.org"'


def test_no_secret_and_no_database_address_is_printed(tmp_path: Path) -> None:
    text = "database: postgresql://syncd:hunter2@db.example.org/syncd\n" + LDAP
    assert "hunter2" not in repr(settings_of(text, tmp_path))


def test_the_password_of_the_database_comes_from_a_file_unless_the_address_has_one(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a/b@c: d%\n", encoding="utf-8")

    def address(database: str) -> str:
        text = f"database: {database}\ndatabase_password_file: password\n"
        settings = settings_of(text, tmp_path)
        assert "a/b@c" not in repr(settings)
        return settings.database

    assert make_url(address("postgresql://syncd@db.example.org:5433/syncd")).password == "a/b@c: d%"
    assert address("postgresql://syncd@db.example.org/x").endswith("@db.example.org/x")
    assert address("postgresql://syncd:own@db.example.org/x") == "postgresql://syncd:own@db.example.org/x"
    assert address("sqlite:////x.db") == "sqlite:////x.db"


LDAP = """sources:
  corp:
    kind: ldap
    url: ldaps://dc1.example.org
    bind_dn: cn=syncd,dc=example,dc=org
    bind_password_env: PASSWORD
    users: {base: "ou=people,dc=example,dc=org"}
"""


def test_each_block_remembers_its_line(tmp_path: Path) -> None:
    text = (
        "database: sqlite:///a.db\nseats:\n  crm: {limit: 4}\nroles:\n  clerk:\n    permissions: [a.b]\n"
        "rules:\n  - name: staff\n    when: userName pr\n    roles: [clerk]\n"
    )
    default = settings_of(text + LDAP, tmp_path).workspaces["default"]
    lines = [
        block.where.rpartition(":")[2]
        for block in (default.seats["crm"], default.roles["clerk"], default.rules[0], default.sources["corp"])
    ]
    assert lines == ["3", "5", "8", "12"]
    assert default.rules[0].where == f"{tmp_path / 'syncd.yaml'}:8"


def test_the_environment_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "database: nonsense\nhttp: {bind: 0.0.0.0:80, trusted_proxies: [10.0.0.1]}\n"
    env = {"SYNCD_DATABASE": "postgresql://syncd@127.0.0.1/syncd", "SYNCD_BIND": "[::1]:9000"}
    settings = settings_of(text, tmp_path, env)
    assert settings.database == "postgresql://syncd@127.0.0.1/syncd"
    assert (settings.http.bind.host, settings.http.bind.port) == ("::1", 9000)
    assert settings.http.trusted_proxies == ("10.0.0.1/32",)
    assert settings.http.url == "http://[::1]:9000"

    monkeypatch.chdir(tmp_path)
    settings = settings_of("database: sqlite:///a.db", tmp_path, {"SYNCD_DATABASE": "sqlite:///b.db"})
    assert settings.database == f"sqlite:///{tmp_path}/b.db"


def test_networks_are_what_clients_are_compared_with(tmp_path: Path) -> None:
    networks = "['::ffff:192.0.2.0/120', '::ffff:10.1.2.3', 10.0.0.0/8, '2001:db8::/32', '::/0']"
    settings = settings_of(
        f"database: sqlite:///x.db\nsources: {{okta: {{kind: scim, networks: {networks}}}}}\n", tmp_path
    )
    okta = settings.workspaces["default"].sources["okta"]
    assert isinstance(okta, ScimSource)
    assert okta.networks == ("192.0.2.0/24", "10.1.2.3/32", "10.0.0.0/8", "2001:db8::/32", "::/0")


def test_a_wrong_environment_is_reported_by_its_own_name(tmp_path: Path) -> None:
    env = {"SYNCD_DATABASE": "oracle://x", "SYNCD_BIND": "8080"}
    first, second = faults_of("timezone: UTC\n", tmp_path, env)
    assert "SYNCD_BIND: '8080' is not an address and a port" in first
    assert "SYNCD_DATABASE: is neither" in second
    (only,) = faults_of("database: sqlite:///a.db\n", tmp_path, {"SYNCD_BIND": "0.0.0.0:8080"})
    assert "0.0.0.0:8080 is reachable from other machines" in only


def test_a_quoted_word_is_text_and_yaml_surprises_are_none(tmp_path: Path) -> None:
    text = (
        "database: sqlite:///a.db\nrules:\n  - {name: no, when: userName pr, scopes: {unit: ['0777', on, \"true\"]}}\n"
    )
    (rule,) = settings_of(text, tmp_path).workspaces["default"].rules
    assert rule.name == "no"
    assert rule.scopes == {"unit": ("0777", "on", "true")}
    (fault,) = faults_of(text.replace("'0777'", "4711"), tmp_path)
    assert fault.endswith("rules[0].scopes.unit[0]: '4711' is not text; put it in quotes")


def test_every_workspace_stands_alone(tmp_path: Path) -> None:
    settings = settings_of(
        "database: sqlite:///a.db\nseats: {a: {limit: 1}}\nworkspaces: {acme: {seats: {b: {limit: 2}}}}\n", tmp_path
    )
    assert {name: set(part.seats) for name, part in settings.workspaces.items()} == {"default": {"a"}, "acme": {"b"}}
    named = settings_of("database: sqlite:///a.db\nworkspaces: {default: {seats: {a: {limit: 1}}}}\n", tmp_path)
    assert set(named.workspaces["default"].seats) == {"a"}


def test_the_defaults_are_the_safe_ones(tmp_path: Path) -> None:
    settings = settings_of("database: sqlite:///a.db\n" + LDAP, tmp_path)
    assert str(settings.http.bind) == "127.0.0.1:8080"
    assert settings.timezone is UTC
    corp = settings.workspaces["default"].sources["corp"]
    assert isinstance(corp, LdapSource)
    dangerous = [key for block in blocks_of(corp) for key, value in block if "do_not" in key and value]
    assert dangerous == []
    assert (corp.adopt, corp.may_grant, corp.window) == ("never", None, timedelta(hours=24))


def blocks_of(block: BaseModel) -> Iterator[BaseModel]:
    yield block
    for _, value in block:
        if isinstance(value, BaseModel):
            yield from blocks_of(value)


@pytest.mark.parametrize("name", ["syncd.yaml", "syncd.example.yaml"])
def test_the_schema_agrees_with_the_files(name: str) -> None:
    written: Any = yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(written)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**written, "colour": "green"})


def test_the_schema_explains_every_key() -> None:
    schema = json_schema()
    unexplained = [
        f"{block}.{key}"
        for block, described in {"File": schema, **schema["$defs"]}.items()
        for key, value in described.get("properties", {}).items()
        if "description" not in value and block != "WhenFull"
    ]
    assert unexplained == []
