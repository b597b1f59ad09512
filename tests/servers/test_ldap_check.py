"""`syncd check` on real servers that refuse, hide, limit or are badly set up: it tells them apart, says what to do, and looks
at every server of a source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from servers import corp as companies
from servers.corp import GROUPS_BASE, PEOPLE_BASE, configuration, source
from servers.faulty import BOUND, ENTRY, Message, proxy
from servers.slapd import (
    ACCESS_READ_ALL,
    BASE,
    READER,
    READER_PASSWORD,
    Authority,
    Slapd,
    authority,
    free_port,
    program,
)
from syncd import app
from syncd.cli.checking import Finding, check, worst

POLICY = f"cn=policy,{BASE}"
EXPIRED, LOCKED, RESET, AGING = (f"cn={name},{BASE}" for name in ("expired", "locked", "reset", "aging"))
AUTH = "access to attrs=userPassword by anonymous auth"


@dataclass
class Checked:
    findings: list[Finding]

    @property
    def code(self) -> int:
        return worst(self.findings)

    def of(self, level: str) -> str:
        return "\n".join(each.text for each in self.findings if each.level == level)


Check = Callable[..., Checked]


@pytest.fixture
def checked(tmp_path: Path) -> Check:
    """What is said of a source; keywords are its keys in the configuration."""

    def run(url: str | list[str], password: str = READER_PASSWORD, **different: object) -> Checked:
        path = tmp_path / "syncd.yaml"
        path.write_text(json.dumps(configuration("sqlite:///none.db", source(url, **different))))
        composed = app.compose(path, {"CORP_PASSWORD": password})
        return Checked([each for each in check(composed) if each.about == "source corp"])

    return run


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, slapd_templates: Path, tls_authority: Authority
) -> Iterator[Slapd]:
    """With accounts in every state that a password policy knows."""
    program("slapd")
    made = Slapd(
        tmp_path_factory.mktemp("checked"),
        companies.LDIF,
        slapd_templates,
        tls=tls_authority,
        globals="moduleload ppolicy",
        access=f'{AUTH}\naccess to * by dn.exact="{READER}" read by dn.exact="{AGING}" read by * none',
        limits=f'overlay ppolicy\nppolicy_default "{POLICY}"\nppolicy_use_lockout',
        max_bytes=4 << 20,
    ).start()
    ten_days_ago = datetime.now(UTC) - timedelta(days=10)
    accounts = "\n".join(
        f"dn: {name}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
        f"cn: x\nuserPassword: {READER_PASSWORD}\n"
        for name in (EXPIRED, LOCKED, RESET, AGING)
    )
    made.modify(
        f"dn: {POLICY}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\ncn: policy\n"
        f"pwdAttribute: userPassword\npwdMaxAge: {30 * 86400}\npwdExpireWarning: {29 * 86400}\npwdLockout: TRUE\n"
        f"pwdMaxFailure: 3\npwdMustChange: TRUE\n\n{accounts}\n"
        f"dn: {EXPIRED}\nchangetype: modify\nreplace: pwdChangedTime\npwdChangedTime: 20200101000000Z\n\n"
        f"dn: {LOCKED}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n\n"
        f"dn: {RESET}\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE\n\n"
        f"dn: {AGING}\nchangetype: modify\nreplace: pwdChangedTime\npwdChangedTime: {ten_days_ago:%Y%m%d%H%M%SZ}\n"
    )
    try:
        yield made
    finally:
        made.stop()


# ---- accounts


def test_all_is_well(checked: Check, server: Slapd, tls_authority: Authority) -> None:
    found = checked(server.ldaps_url, ca_file=str(tls_authority.ca), canaries=[READER])
    assert (found.code, found.of("problem"), found.of("warning")) == (
        0,
        "",
        f"{server.ldaps_url}: its certificate ends on {datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}: renew it on the "
        "server",
    )
    assert f"bound as {READER}, TLSv1.3" in found.of("ok")


@pytest.mark.parametrize(
    ("name", "password", "says"),
    [
        (READER, "guess", "the name or the password is wrong: compare the source's bind_dn and its password"),
        (f"cn=nobody,{BASE}", "guess", "the name or the password is wrong"),
        (EXPIRED, READER_PASSWORD, "its password has expired: set a new one"),
        (LOCKED, READER_PASSWORD, "the account is locked: unlock it"),
        (RESET, READER_PASSWORD, "its password must be changed first: set one"),
    ],
    ids=["wrong password", "no such account", "expired", "locked", "must change"],
)
def test_a_refused_bind(checked: Check, server: Slapd, name: str, password: str, says: str) -> None:
    found = checked(server.url, password=password, bind_dn=name)
    assert found.code == 1 and says in found.of("problem") and f"as {name} was refused" in found.of("problem")
    assert len(found.of("problem").splitlines()) == 1 and "guess" not in found.of("problem")


def test_a_password_that_ends_soon(checked: Check, server: Slapd) -> None:
    found = checked(server.url, bind_dn=AGING)
    assert found.code == 0 and re.search("its password expires in (19|20) days and", found.of("warning"))


def test_a_refused_password_is_shown_to_one_server_only(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    """Two servers with three attempts each would lock the account at the second `syncd check`."""
    second = new_slapd(ldif=companies.LDIF)
    first = new_slapd(ldif=companies.LDIF)
    seen: list[int] = []

    def note(message: Message) -> bytes:
        seen.append(message.tag)
        return message.raw

    with proxy(second.port, note) as between:
        found = checked([first.url, between.url], password="guess")
    assert (found.code, seen) == (1, [])  # no bind was answered there
    assert f"{between.url}: reached (no TLS), and not asked with the password that was refused" in found.of("problem")


# ---- certificates


def test_an_authority_that_is_not_trusted(checked: Check, server: Slapd) -> None:
    found = checked(server.ldaps_url)
    assert found.code == 75
    assert "certificate is not trusted: " in found.of("problem") and "ca_file names the auth" in found.of("problem")


def test_a_certificate_that_has_expired(checked: Check, new_slapd: Callable[..., Slapd], tmp_path: Path) -> None:
    old = authority(tmp_path / "old", days=-1)
    found = checked(new_slapd(ldif=companies.LDIF, tls=old).ldaps_url, ca_file=str(old.ca))
    assert found.code == 75
    assert "the server's certificate has expired: it must be renewed on the server" in found.of("problem")


def test_a_certificate_for_another_host(checked: Check, new_slapd: Callable[..., Slapd], tmp_path: Path) -> None:
    other = authority(tmp_path / "other", "DNS:ldap.example.com")
    found = checked(new_slapd(ldif=companies.LDIF, tls=other).ldaps_url, ca_file=str(other.ca))
    assert found.code == 75 and "Hostname mismatch, certificate is not valid for 'localhost'" in found.of("problem")
    assert "Write the host in `url` as the certificate names it" in found.of("problem")


def test_starttls_that_is_refused(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    found = checked(new_slapd(ldif=companies.LDIF).url, starttls=True)
    assert found.code == 75 and "StartTLS was refused: " in found.of("problem")
    assert "use ldaps://, or give the server a certificate" in found.of("problem")


# ---- what can be seen


def test_a_base_that_is_misspelt(checked: Check, server: Slapd) -> None:
    found = checked(server.url, users={"base": f"ou=peple,{BASE}"})
    assert found.code == 5 and f"did you mean {PEOPLE_BASE}?" in found.of("problem")


def test_a_base_of_another_directory(checked: Check, server: Slapd) -> None:
    found = checked(server.url, users={"base": "ou=people,dc=example,dc=com"})
    assert found.code == 5
    assert "ou=people,dc=example,dc=com: there is no such entry" in found.of("problem")
    assert f"this server holds {BASE}" in found.of("problem")


def test_a_base_that_is_not_there_lists_what_is(checked: Check, server: Slapd) -> None:
    found = checked(server.url, users={"base": f"ou=staff,o=north,{BASE}"})
    assert found.code == 5 and f"{BASE} exists and has " in found.of("problem")


def test_a_filter_that_matches_nothing(checked: Check, server: Slapd) -> None:
    found = checked(server.url, users={"base": PEOPLE_BASE, "filter": "(objectClass=user)"})
    assert found.code == 5
    assert "no entry matches (objectClass=user)" in found.of("problem")
    assert "though there are entries, of the classes" in found.of("problem") and "inetOrgPerson" in found.of("problem")


def test_a_base_with_nothing_to_be_seen_below(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    hidden = f'access to dn.children="{PEOPLE_BASE}" by * none\n{ACCESS_READ_ALL}'
    found = checked(new_slapd(ldif=companies.LDIF, access=hidden).url)
    assert found.code == 5 and f"{PEOPLE_BASE} is there, and nothing can be seen below it" in found.of("problem")
    assert f"either it is empty, or {READER} lacks the right to read" in found.of("problem")


def test_no_right_to_search(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    """`disclose` lets the server say that there is something and that it is not for this account."""
    no_search = f'{AUTH}\naccess to dn.subtree="{PEOPLE_BASE}" by * disclose\naccess to * by dn.exact="{READER}" read'
    found = checked(new_slapd(ldif=companies.LDIF, access=no_search).url)
    assert found.code == 5 and "insufficientAccessRights (50)" in found.of("problem")
    assert "the account lacks the right to search there" in found.of("problem")


def test_classes_that_may_not_be_searched(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    no_class = f'access to dn.children="{PEOPLE_BASE}" attrs=objectClass by * none\n{ACCESS_READ_ALL}'
    found = checked(new_slapd(ldif=companies.LDIF, access=no_class).url)
    assert found.code == 5 and "lacks the right to read" in found.of("problem")


def test_a_key_that_may_not_be_read(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    no_key = f"access to attrs=entryUUID by * none\n{ACCESS_READ_ALL}"
    url = new_slapd(ldif=companies.LDIF, access=no_key).url
    found = checked(url)
    assert found.code == 5 and f"grant {READER} the right to read the one that the server has" in found.of("problem")
    named = checked(url, key_attribute="entryUUID")
    assert named.code == 5
    assert f"no entry below {PEOPLE_BASE} shows entryUUID: grant {READER} the right to read it" in named.of("problem")


def test_no_group_matches(checked: Check, server: Slapd) -> None:
    found = checked(server.url, groups={"base": GROUPS_BASE, "filter": "(objectClass=group)"})
    assert found.code == 0 and "groups: no entry matches (objectClass=group)" in found.of("warning")


def test_a_size_limit(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    limited = new_slapd(ldif=companies.LDIF, limits=f'limits dn.exact="{READER}" size.hard=30 size.prtotal=30')
    found = checked(limited.url)
    assert found.code == 5 and "sizeLimitExceeded (4) after" in found.of("problem")
    assert "the server's size limit for this account is too small: raise it" in found.of("problem")


def test_a_server_that_hands_out_smaller_pages(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    limited = new_slapd(ldif=companies.LDIF, limits=f'limits dn.exact="{READER}" size.pr=10 size.prtotal=unlimited')
    for schedule in ({"full": "1d"}, {"full": "1d", "delta": "1m"}):
        found = checked(limited.url, schedule=schedule)
        assert found.code == 5 and "lower the source's page_size" in found.of("problem")
        assert "OpenLDAP, bound as" in found.of("ok")
    assert checked(limited.url, schedule=schedule, page_size=10).code == 0


def test_a_size_limit_of_a_server_without_paging(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    def no_paging(message: Message) -> bytes:
        return (
            message.raw.replace(b"1.2.840.113556.1.4.319", b"1.2.840.113556.1.4.000")
            if message.tag == ENTRY
            else (message.raw)
        )

    limited = new_slapd(ldif=companies.LDIF, limits=f'limits dn.exact="{READER}" size.soft=30 size.hard=30')
    with proxy(limited.port, no_paging) as between:
        found = checked(between.url)
    assert found.code == 5 and "sizeLimitExceeded (4) after 30 entries" in found.of("problem")
    assert "has no paging" in found.of("warning")


# ---- several servers


def test_every_server_is_looked_at(checked: Check, new_slapd: Callable[..., Slapd]) -> None:
    good, lagging = new_slapd(ldif=companies.LDIF), new_slapd(ldif=companies.company_ldif(without={"anna.xu"}))
    dead = f"ldap://127.0.0.1:{free_port()}"
    found = checked([dead, good.url, lagging.url])
    assert found.code == 0
    assert f"{dead}: connection refused; nothing listens there; reads go to {good.url}" in found.of("warning")
    assert f"{lagging.url} has 59 users below {PEOPLE_BASE}, {good.url} 60: does it lag" in found.of("warning")
    assert f"{good.url}: OpenLDAP" in found.of("ok") and f"{lagging.url}: OpenLDAP" in found.of("ok")


def test_one_of_two_servers_refuses_the_password(
    checked: Check, server: Slapd, new_slapd: Callable[..., Slapd]
) -> None:
    """A read that has to go there would fail, and not only today."""
    stranger = new_slapd(ldif=companies.LDIF, access="access to * by * none")
    found = checked([server.url, stranger.url])
    assert found.code == 1 and f"{stranger.url}: the bind as {READER} was refused" in found.of("problem")


def test_no_server_answers(checked: Check) -> None:
    dead = [f"ldap://127.0.0.1:{free_port()}" for _ in range(2)]
    found = checked(dead)
    assert found.code == 75 and all(url in found.of("problem") for url in dead)


def test_a_server_that_breaks_off_proves_nothing(checked: Check, server: Slapd) -> None:
    with proxy(server.port, lambda message: message.raw if message.tag == BOUND else None) as broken:
        found = checked([broken.url, server.url])
        assert found.code == 0 and broken.url not in found.of("ok")
        assert f"{broken.url}: it cannot be looked at: the connection to" in found.of("warning")
        assert f"reads go to {server.url}" in found.of("warning")
        assert checked(broken.url).code == 75


def test_a_server_of_other_data(checked: Check, server: Slapd, new_slapd: Callable[..., Slapd]) -> None:
    own_keys = "".join(line for line in companies.LDIF.splitlines(True) if not line.startswith("entryUUID"))
    found = checked([server.url, new_slapd(ldif=own_keys).url])
    assert found.code == 78 and "holds another directory than" in found.of("problem")
    assert "name only servers of the same data in `url`" in found.of("problem")


def test_one_of_two_servers_hides_the_people(checked: Check, server: Slapd, new_slapd: Callable[..., Slapd]) -> None:
    hidden = f'access to dn.children="{PEOPLE_BASE}" by * none\n{ACCESS_READ_ALL}'
    blind = new_slapd(ldif=companies.LDIF, access=hidden)
    found = checked([server.url, blind.url])
    assert found.code == 5 and f"{blind.url}: a read would be incomplete: users: no entry matches" in found.of(
        "problem"
    )
