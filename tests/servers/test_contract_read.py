"""A whole read of every kind of directory (OpenLDAP, 389ds, Active Directory): the same company, whole when it is whole, and
never called whole when it is not. Tests of one server alone stand in its own files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from servers import faulty
from servers.corp import COMPANY, GROUPS, USERS
from servers.directories import DANGLING, OWN_KEYS, READ, Directory, Kind, each_of
from servers.faulty import DONE, Message, proxy
from servers.slapd import READER_PASSWORD, free_port
from servers.whole_reads import NOW, because, read
from syncd.core.secret import Secret
from syncd.errors import SourceUnreachable
from syncd.ldap import dn
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.source import LdapSource

ANY_GROUP = "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup)(objectClass=group))"
HALF = USERS // 2


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Directory:
    kind: Kind = request.param
    return kind.start(request)


def config(server: Directory, url: str | None = None, **different: object) -> LdapConfig:
    base = LdapConfig(
        name="corp",
        urls=(url or server.url,),
        users=SearchConfig((server.forms.people,), server.users_filter),
        groups=SearchConfig((server.forms.groups,), ANY_GROUP),
        bind_dn=server.reader,
        bind_password=Secret(READER_PASSWORD),
        page_size=10,
        connect_timeout_s=5,
        receive_timeout_s=10,
        deadline_s=30,
        retries=0,
    )
    return replace(base, **different)  # type: ignore[arg-type]


# ---- whole


@each_of(READ)
def test_the_whole_company_users_first(server: Directory) -> None:
    entries, set_aside, certificate = read(config(server))
    assert certificate.complete and not set_aside
    assert (certificate.users_read, certificate.groups_read, certificate.set_aside) == (USERS, GROUPS, 0)
    assert [one.kind for one in entries] == ["user"] * USERS + ["group"] * GROUPS
    by_uid = {one.attributes["uid"][0].decode(): one for one in entries if one.kind == "user"}
    assert by_uid.keys() == {person.uid for person in COMPANY.people}
    names = {person.uuid: dn.normalize(server.forms.of(person)) for person in COMPANY.people}
    for person in COMPANY.people:
        entry = by_uid[person.uid]
        assert dn.normalize(entry.dn) == names[person.uuid]
        assert entry.attributes["employeetype"] == (person.employee_type.encode(),)
        if person.manager:
            assert dn.normalize(entry.attributes["manager"][0].decode()) == names[person.manager]


@each_of(READ)
def test_groups_name_their_members_and_the_groups_in_them(server: Directory) -> None:
    entries = read(config(server))[0]
    dns = {dn.normalize(one.dn): one for one in entries}
    groups = {one.attributes["cn"][0].decode(): one for one in entries if one.kind == "group"}
    assert groups.keys() == {group.name for group in COMPANY.groups}
    names = {person.uuid: dn.normalize(server.forms.of(person)) for person in COMPANY.people}
    for group in COMPANY.groups:
        listed = groups[group.name].attributes
        members = {dn.normalize(each.decode()) for name in ("member", "uniquemember") for each in listed.get(name, ())}
        if group.kind == "posixGroup":
            uids = {person.uid for person in COMPANY.people if person.uuid in group.people}
            assert {each.decode() for each in listed["memberuid"]} == uids
            continue
        assert {names[one] for one in group.people} <= members
        inside = {dns[each].attributes["cn"][0].decode() for each in members & dns.keys() if dns[each].kind == "group"}
        assert inside == set(group.groups)


@each_of(READ, OWN_KEYS)
def test_keys_are_those_of_the_entries(server: Directory) -> None:
    entries, _, certificate = read(config(server))
    assert certificate.key_attribute == "entryUUID"
    assert {one.key for one in entries} == {one.uuid for one in (*COMPANY.people, *COMPANY.groups)}


@each_of(READ, DANGLING)
def test_a_member_who_is_not_there_is_read_by_name(server: Directory) -> None:
    entries = read(config(server))[0]
    dns = {dn.normalize(one.dn) for one in entries}
    (old,) = [one for one in entries if one.attributes["cn"] == (b"old-project",)]
    assert sum(dn.normalize(each.decode()) not in dns for each in old.attributes["member"]) == 1


@each_of(READ)
@pytest.mark.parametrize("page_size", [1, USERS - 1, USERS, USERS + 1, 5000])
def test_every_page_size_reads_the_same(server: Directory, page_size: int) -> None:
    _, _, certificate = read(config(server, page_size=page_size))
    assert certificate.complete and (certificate.users_read, certificate.groups_read) == (USERS, GROUPS)


@each_of(READ)
def test_overlapping_bases_give_each_entry_once(server: Directory) -> None:
    users = SearchConfig((server.forms.people, server.forms.unit("Legal")), server.users_filter)
    entries, set_aside, certificate = read(config(server, users=users))
    assert certificate.complete and certificate.users_read == USERS and not set_aside
    assert len({one.key for one in entries}) == len(entries)


@each_of(READ)
def test_the_same_server_says_the_same_of_itself(server: Directory) -> None:
    first, again = read(config(server))[2], read(config(server))[2]
    assert first.server_identity == again.server_identity != "unknown server"
    assert first.key_attribute == again.key_attribute


@each_of(READ)
def test_one_url_after_another(server: Directory) -> None:
    assert read(config(server, urls=(f"ldap://127.0.0.1:{free_port()}", server.url)))[2].complete


# ---- TLS


@each_of(READ)
@pytest.mark.parametrize("starttls", [False, True])
def test_tls_with_a_trusted_authority(server: Directory, starttls: bool) -> None:
    assert server.tls
    url = f"ldap://localhost:{server.server.port}" if starttls else server.ldaps_url
    settings = config(server, url, ca_file=server.tls.ca, starttls=starttls)
    assert read(settings)[2].complete
    found = LdapSource(settings).probe()
    assert found.tls_version == "TLSv1.3" and not found.problems


@each_of(READ)
@pytest.mark.parametrize("starttls", [False, True])
def test_an_unknown_authority_is_not_trusted(server: Directory, starttls: bool) -> None:
    url = server.url if starttls else server.ldaps_url
    with pytest.raises(SourceUnreachable, match=r"the certificate is not trusted: .*(self-signed|local issuer)"):
        read(config(server, url, starttls=starttls))
    assert read(config(server, url, starttls=starttls, tls_do_not_verify_certificates=True))[2].complete


# ---- no bind


@each_of(READ)
def test_wrong_password_and_wrong_name(server: Directory) -> None:
    with pytest.raises(SourceUnreachable, match=r"bind as .* was refused: the .*password is wrong") as error:
        read(config(server, bind_password=Secret("guess")))
    assert "guess" not in str(error.value)
    with pytest.raises(SourceUnreachable, match="was refused"):
        read(config(server, bind_dn=f"cn=nobody,{server.forms.elsewhere}"))


# ---- short reads


@each_of(READ)
def test_canaries(server: Directory) -> None:
    assert read(config(server, canaries=(server.reader, server.forms.people)))[2].complete
    nobody = f"cn=nobody,{server.forms.people}"
    assert because(config(server, canaries=(nobody,))).startswith(f"canary {nobody} is not visible")


@each_of(READ)
def test_wrong_base(server: Directory) -> None:
    wrong = server.forms.people.replace("people", "peple")
    users = SearchConfig((server.forms.people, wrong), server.users_filter)
    entries, _, certificate = read(config(server, users=users))
    assert len(entries) == USERS
    (why,) = certificate.because
    assert why.startswith(f"users: the base {wrong} does not exist or is hidden: noSuchObject (32)")
    assert why.endswith(" after 0 entries")


@each_of(READ)
def test_a_reading_that_is_given_up(server: Directory) -> None:
    reading = LdapSource(config(server)).read(NOW)
    next(iter(reading))
    reading.close()
    assert reading.certificate().because == ("the read was not carried to its end",)


@each_of(READ)
def test_more_than_wanted(server: Directory) -> None:
    assert because(config(server, max_entries=20)) == "users: more than max_entries (20) came after 21 entries"


def after(entries: int, answer: Callable[[Message], bytes | None]) -> faulty.Spoil:
    """Leaves alone what comes before the given number of entries."""
    return lambda message: answer(message) if message.entries_before >= entries else message.raw


def at_done(code: int) -> Callable[[Message], bytes]:
    return lambda message: message.done(code) if message.tag == DONE else message.raw


@each_of(READ)
@pytest.mark.parametrize(("code", "name"), [(4, "sizeLimitExceeded"), (11, "adminLimitExceeded"), (52, "unavailable")])
def test_any_result_but_success_ends_the_read(server: Directory, code: int, name: str) -> None:
    with proxy(server.server.port, after(HALF, at_done(code))) as spoiled:
        reason = because(config(server, spoiled.url))
    assert reason.startswith(f"users: {name} ({code})") and reason.endswith("entries")


@each_of(READ)
def test_a_last_page_without_the_paging_control(server: Directory) -> None:
    with proxy(server.server.port, after(HALF, at_done(0))) as spoiled:
        assert "left out the paging control" in because(config(server, spoiled.url))


@each_of(READ)
def test_a_search_that_fails_in_the_groups(server: Directory) -> None:
    with proxy(server.server.port, after(USERS + 5, at_done(51))) as spoiled:
        entries, _, certificate = read(config(server, spoiled.url))
    assert certificate.users_read == USERS and {one.kind for one in entries} == {"user"}
    assert certificate.because == ("groups: busy (51) after 0 entries",)


@each_of(READ)
def test_a_cut_connection(server: Directory) -> None:
    with proxy(server.server.port, after(HALF + 5, lambda _: None)) as spoiled:
        assert "broke: session terminated by server after " in because(config(server, spoiled.url))


@each_of(READ)
def test_a_server_that_falls_silent(server: Directory) -> None:
    with proxy(server.server.port, after(HALF, lambda _: b"")) as spoiled:
        assert "timed out" in because(config(server, spoiled.url, receive_timeout_s=1))


@each_of(READ, OWN_KEYS)
def test_one_key_on_two_entries_is_set_aside(server: Directory) -> None:
    one, other = COMPANY.people[HALF].uuid.encode(), COMPANY.people[HALF + 1].uuid.encode()
    with proxy(server.server.port, lambda message: message.raw.replace(one, other)) as spoiled:
        entries, set_aside, certificate = read(config(server, spoiled.url))
    assert certificate.complete and certificate.set_aside == 1 and certificate.users_read == USERS - 1
    assert set_aside[0].key == other.decode() and "is on another entry too" in set_aside[0].why
    assert len(entries) == USERS + GROUPS - 1


# ---- probe


@each_of(READ)
def test_probe(server: Directory) -> None:
    found = LdapSource(config(server)).probe(count_up_to=40)
    assert not found.problems and found.paging and found.tls_version is None
    users, groups = found.bases
    assert (users.entries, users.more, groups.entries, groups.more) == (40, True, GROUPS, False)
    assert any(warning.startswith("canaries: none named") for warning in found.warnings)
    certificate = read(config(server))[2]
    assert (found.server_identity, found.key_attribute) == (certificate.server_identity, certificate.key_attribute)


@each_of(READ)
def test_probe_names_what_would_go_wrong(server: Directory) -> None:
    people = server.forms.people
    users = SearchConfig((people.replace("people", "peple"),), server.users_filter)
    nobody = f"uid=none,{people}"
    problems = "\n".join(LdapSource(config(server, users=users, canaries=(nobody,))).probe().problems)
    assert "noSuchObject (32)" in problems and f"did you mean {people.lower()}?" in problems.lower()
    assert f"canary {nobody} is not visible" in problems
