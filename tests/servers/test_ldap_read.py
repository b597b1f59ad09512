"""Reading a real OpenLDAP or 389ds: whole when it is whole, and never called whole when it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from servers import faulty
from servers.faulty import DONE, ENTRY, Message, proxy
from servers.slapd import BASE, READER, READER_PASSWORD, Slapd, authority, free_port
from servers.whole_reads import NOW, because, read
from syncd import sample
from syncd.core.secret import Secret
from syncd.core.snapshot import Entry
from syncd.errors import ConfigError, SourceUnreachable
from syncd.ldap import dn
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.ldif_source import LdifConfig, LdifSource
from syncd.ldap.source import LdapSource

USERS = SearchConfig((f"ou=people,{BASE}",), "(objectClass=inetOrgPerson)")
GROUPS = SearchConfig(
    (f"ou=groups,{BASE}",), "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))"
)


def config(url: str, **different: object) -> LdapConfig:
    base = LdapConfig(
        name="corp",
        urls=(url,),
        users=USERS,
        groups=GROUPS,
        bind_dn=READER,
        bind_password=Secret(READER_PASSWORD),
        page_size=50,
        connect_timeout_s=5,
        receive_timeout_s=5,
        deadline_s=30,
        retries=0,
    )
    return replace(base, **different)  # type: ignore[arg-type]


# ---- whole


def test_identity_outlives_a_restart_and_not_a_reload(new_slapd: Callable[..., Slapd], company_ldif: str) -> None:
    server = new_slapd()
    before = read(config(server.url))[2].server_identity
    server.restart()
    assert read(config(server.url))[2].server_identity == before
    assert before is not None and before.startswith(f"OpenLDAP; {BASE} entryUUID ")
    without_keys = "".join(line for line in company_ldif.splitlines(True) if not line.startswith("entryUUID"))
    reloaded = new_slapd(ldif=without_keys)
    assert read(config(reloaded.url))[2].server_identity != before


def test_members_that_an_overlay_finds(new_slapd: Callable[..., Slapd], company_ldif: str) -> None:
    """What dynlist makes of a `memberURL` is read like any member, and the URL is not asked again."""
    group = f"cn=dynamic,ou=groups,{BASE}"
    said = f"objectClass: groupOfURLs\ncn: dynamic\nmemberURL: ldap:///ou=people,{BASE}??sub?(uid=noah.garcia)\n"
    server = new_slapd(
        ldif=f"{company_ldif}\ndn: {group}\n{said}\n",
        globals="include /etc/ldap/schema/dyngroup.schema\nmoduleload dynlist",
        overlays="overlay dynlist\ndynlist-attrset groupOfURLs memberURL member",
    )
    entries = read(config(server.url, groups=SearchConfig(GROUPS.base, "(objectClass=groupOfURLs)")))[0]
    (dynamic,) = [one for one in entries if one.kind == "group"]
    (who,) = [one for one in entries if one.attributes.get("uid") == (b"noah.garcia",)]
    assert [dn.normalize(each.decode()) for each in dynamic.attributes["member"]] == [dn.normalize(who.dn)]


# ---- TLS


def test_a_certificate_for_another_host(new_slapd: Callable[..., Slapd], tmp_path: Path) -> None:
    other = authority(tmp_path / "other", "DNS:ldap.example.com")
    server = new_slapd(tls=other)
    with pytest.raises(SourceUnreachable, match="not trusted: Hostname mismatch"):
        read(config(server.ldaps_url, ca_file=other.ca))


def test_starttls_that_the_server_does_not_offer(new_slapd: Callable[..., Slapd]) -> None:
    with pytest.raises(SourceUnreachable, match="StartTLS was refused"):
        read(config(new_slapd().url, starttls=True))


# ---- no connection, no bind


def test_an_expired_password_is_told_from_a_wrong_one(new_slapd: Callable[..., Slapd]) -> None:
    policy = f"cn=policy,{BASE}"
    server = new_slapd(
        globals="moduleload ppolicy", limits=f'overlay ppolicy\nppolicy_default "{policy}"\nppolicy_use_lockout'
    )
    server.modify(
        f"dn: {policy}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\ncn: policy\n"
        f"pwdAttribute: userPassword\npwdMaxAge: 1\n\n"
        f"dn: {READER}\nchangetype: modify\nreplace: pwdChangedTime\npwdChangedTime: 20200101000000Z\n"
    )
    with pytest.raises(SourceUnreachable, match="its password has expired"):
        read(config(server.url))


def test_nobody_listens() -> None:
    with pytest.raises(SourceUnreachable, match="connection refused"):
        read(config(f"ldap://127.0.0.1:{free_port()}"))


def test_an_unknown_host() -> None:
    with pytest.raises(SourceUnreachable, match="host name is not known"):
        read(config("ldaps://no-such-host.invalid"))


def test_a_listener_that_never_answers() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SourceUnreachable, match="no answer to the bind"):
            read(config(f"ldap://{url}", receive_timeout_s=1))
        with pytest.raises(SourceUnreachable, match="timed out during the TLS handshake"):
            read(config(f"ldaps://{url}", receive_timeout_s=1))
        with pytest.raises(SourceUnreachable, match="deadline of 1 s"):
            read(config(f"ldaps://{url}", deadline_s=1, receive_timeout_s=20))


@pytest.mark.parametrize(
    ("different", "message"),
    [
        ({"urls": ("ldap://dc1.example.org",)}, "would send the password in clear text"),
        ({"urls": ("ldaps://dc1.example.org",), "starttls": True}, "starttls goes with ldap://"),
        ({"urls": ("https://dc1.example.org",)}, "is not ldap://host"),
        ({"urls": ()}, "urls: at least one"),
        ({"bind_password": Secret("")}, "bind_password: missing or empty"),
        ({"bind_dn": None}, "bind_dn: missing"),
        ({"users": SearchConfig(("ou=people",), "(uid=")}, "users.filter: .* is not an LDAP filter"),
        ({"users": SearchConfig(("people",))}, "users.base: not a distinguished name"),
        ({"groups": SearchConfig(("ou=g",), scope="subtre")}, "groups.scope: 'subtre' is not one of"),
        ({"canaries": ("jdoe",)}, "canaries: not a distinguished name"),
        ({"key_attribute": "mail"}, "key_attribute: 'mail' is not one of"),
        ({"page_size": 0}, "page_size: must be 1 or more"),
        ({"urls": ("ldaps://127.0.0.1:1",), "ca_file": Path("/no/such/file")}, "ca_file: /no/such/file cannot be read"),
    ],
)
def test_values_that_cannot_work(different: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"sources\.corp\..*{message.split(':', maxsplit=1)[0]}"):
        read(config("ldap://127.0.0.1:1", **different))
    with pytest.raises(ConfigError, match=message):
        read(config("ldap://127.0.0.1:1", **different))


# ---- short reads by the server


def test_size_limit(new_slapd: Callable[..., Slapd]) -> None:
    server = new_slapd(limits=f'limits dn.exact="{READER}" size.pr=250 size.prtotal=250')
    entries, _, certificate = read(config(server.url))
    assert not certificate.complete and len(entries) < 320
    assert certificate.because == (f"users: sizeLimitExceeded (4) after {len(entries)} entries",)


def test_hidden_half_of_the_tree_is_seen_by_the_canary(new_slapd: Callable[..., Slapd]) -> None:
    hidden = f"ou=Engineering,ou=people,{BASE}"
    canary = next(p.dn for p in sample.company(320, 40, seed=7).people if p.dn.endswith(hidden))
    server = new_slapd(
        access=f'access to dn.subtree="{hidden}" by * none\n'
        f'access to attrs=userPassword by anonymous auth\naccess to * by dn.exact="{READER}" read'
    )
    blind = read(config(server.url))[2]
    assert blind.complete and blind.users_read < 320  # why canaries exist
    assert because(config(server.url, canaries=(canary,))).startswith(f"canary {canary} is not visible")


def test_no_right_to_see_the_key(new_slapd: Callable[..., Slapd]) -> None:
    server = new_slapd(
        access=f"access to attrs=entryUUID by * none\naccess to attrs=userPassword by anonymous auth\n"
        f'access to * by dn.exact="{READER}" read'
    )
    assert "no entry shows objectGUID, entryUUID" in because(config(server.url))


def test_a_root_dse_that_may_not_be_read(new_slapd: Callable[..., Slapd]) -> None:
    certificate = read(config(new_slapd(globals='access to dn.base="" by * none').url))[2]
    assert certificate.complete and certificate.server_identity == "unknown server"


def test_nothing_is_readable(new_slapd: Callable[..., Slapd]) -> None:
    server = new_slapd(access="access to attrs=userPassword by anonymous auth\naccess to * by * none")
    assert because(config(server.url)).startswith("users: the base ou=people,dc=example,dc=org does not exist or is")


def test_an_empty_replica(new_slapd: Callable[..., Slapd]) -> None:
    empty = "".join(sample.sample_company(0, 0, seed=7))
    assert "users: no entry matches (objectClass=inetOrgPerson) below" in because(config(new_slapd(ldif=empty).url))


def test_stopped_while_it_is_read(new_slapd: Callable[..., Slapd]) -> None:
    server = new_slapd()
    reading = LdapSource(config(server.url)).read(NOW)
    entries = iter(reading)
    assert isinstance(next(entries), Entry)
    server.stop()
    rest = list(entries)
    certificate = reading.certificate()
    assert len(rest) in (49, 99) and not certificate.complete  # the next page was asked for already, and may have come
    assert certificate.because[0].startswith(f"users: the connection to {server.url} broke")
    assert certificate.because[0].endswith(f"after {1 + len(rest)} entries")


# ---- short reads by what is in between


def after(entries: int, answer: Callable[[Message], bytes | None]) -> faulty.Spoil:
    """Leaves alone what comes before the given number of entries."""
    return lambda message: answer(message) if message.entries_before >= entries else message.raw


def at_done(code: int) -> Callable[[Message], bytes]:
    return lambda message: message.done(code) if message.tag == DONE else message.raw


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (3, "timeLimitExceeded"),
        (4, "sizeLimitExceeded"),
        (10, "referral"),
        (11, "adminLimitExceeded"),
        (51, "busy"),
        (52, "unavailable"),
        (53, "unwillingToPerform"),
        (80, "other"),
    ],
)
def test_any_result_but_success_ends_the_read(slapd: Slapd, code: int, name: str) -> None:
    with proxy(slapd.port, after(100, at_done(code))) as spoiled:
        reason = because(config(spoiled.url))
    assert reason.startswith(f"users: {name} ({code})") and reason.endswith("entries")


def test_a_referral_instead_of_an_entry(slapd: Slapd) -> None:
    elsewhere = "ldap://dc2.example.org/ou=people,dc=child,dc=example,dc=org"

    def spoil(message: Message) -> bytes:
        swap = message.tag == ENTRY and message.entries_before == 120
        return message.reference(elsewhere) if swap else message.raw

    with proxy(slapd.port, spoil) as spoiled:
        assert f"on another server (referral to {elsewhere})" in because(config(spoiled.url))


def test_the_references_of_active_directory_are_no_gap(slapd: Slapd) -> None:
    def spoil(message: Message) -> bytes:
        zones = message.reference("ldap://DomainDnsZones.example.org/DC=DomainDnsZones,DC=example,DC=org")
        return zones + message.raw if message.tag == DONE and message.entries_before > 10 else message.raw

    with proxy(slapd.port, spoil) as spoiled:
        assert read(config(spoiled.url))[2].complete


def test_bytes_that_are_not_ldap(slapd: Slapd) -> None:
    def corrupt(message: Message) -> bytes:
        if message.tag != ENTRY:
            return message.raw
        at = message.raw.index(b"\x04", 9)  # the DN's length runs over the end
        return message.raw[: at + 1] + b"\x7f" + message.raw[at + 2 :]

    with proxy(slapd.port, after(120, corrupt)) as spoiled:
        reason = because(config(spoiled.url))
    assert reason.startswith("users: ") and reason.endswith("after 100 entries")


def test_a_server_that_falls_silent(slapd: Slapd) -> None:
    with proxy(slapd.port, after(120, lambda _: b"")) as spoiled:
        reason = because(config(spoiled.url, receive_timeout_s=1))
    assert "timed out" in reason and reason.endswith("after 100 entries")


def test_ten_bytes_a_second_end_at_the_deadline(slapd: Slapd) -> None:
    with proxy(slapd.port, drip_after=120) as slow:
        reason = because(config(slow.url, deadline_s=2))
    assert reason == "users: the read took longer than its deadline of 2 s after 100 entries"


def test_an_early_last_page_is_the_canarys_and_the_guards_business(slapd: Slapd) -> None:
    """A server that lies about the end cannot be caught by protocol: documented here, judged against history elsewhere."""

    def lie(message: Message) -> bytes:
        return message.done(0, faulty.last_page()) if message.tag == DONE else message.raw

    with proxy(slapd.port, after(100, lie)) as spoiled:
        certificate = read(config(spoiled.url))[2]
    assert certificate.complete and certificate.users_read < 320


# ---- bad entries


def test_a_bad_key_is_set_aside_by_name(slapd: Slapd) -> None:
    person = sample.company(320, 40, seed=7).people[200]
    bad = person.uuid.replace("-", "_").encode()
    with proxy(slapd.port, lambda message: message.raw.replace(person.uuid.encode(), bad)) as spoiled:
        _, set_aside, certificate = read(config(spoiled.url))
    assert certificate.complete and certificate.users_read == 319
    assert [(one.entry, one.key) for one in set_aside] == [(person.dn, None)]
    assert "is not a stable key" in set_aside[0].why


# ---- probe


# ---- dumps by the ldapsearch command, read as a source of kind `ldif`


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        ((), None),
        (("-E", "pr=50/noprompt"), None),
        (("-z", "100"), "Size limit exceeded (4)"),
        (("-L",), "ldapsearch -L leaves it out"),
        (("-L", "-z", "100"), "ldapsearch -L leaves it out"),
        (("-LLL",), "nothing says that the file is whole"),
    ],
)
def test_what_ldapsearch_writes(slapd: Slapd, tmp_path: Path, arguments: tuple[str, ...], because: str | None) -> None:
    file = tmp_path / "dump.ldif"
    file.write_text(slapd.search(*arguments, "(objectClass=*)", "*", "+"))
    reading = LdifSource(LdifConfig("dump", file)).read(NOW)
    found = {one.key: one for one in reading if isinstance(one, Entry)}
    certificate = reading.certificate()
    if because:
        assert because in "; ".join(certificate.because)
        return
    assert certificate.complete and (certificate.users_read, certificate.groups_read) == (320, 40)
    for entry in read(config(slapd.url))[0]:  # the file and the wire give the same
        same = found[entry.key]
        assert (same.kind, same.dn) == (entry.kind, entry.dn)
        assert {name: same.attributes[name] for name in entry.attributes} == entry.attributes
