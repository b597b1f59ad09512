"""Stable keys, names of attributes, and members that Active Directory hands out in ranges."""

import copy
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from syncd.core.secret import Secret
from syncd.core.snapshot import Certificate, Entry, SetAside
from syncd.errors import InvalidValue
from syncd.ldap import keys
from syncd.ldap.client import Page
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.decode import RawEntry
from syncd.ldap.paging import PAGED_RESULTS
from syncd.ldap.source import LdapReading

NOW = datetime(2026, 11, 21, tzinfo=UTC)
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("attribute", "value", "key"),
    [
        ("entryUUID", UUID.upper().encode(), UUID),
        ("ipaUniqueID", UUID.encode(), UUID),
        ("nsUniqueId", b"66446001-1dd211b2-66225011-2EE211db", "66446001-1dd211b2-66225011-2ee211db"),
        ("objectGUID", bytes.fromhex("33221100554477668899aabbccddeeff"), "00112233-4455-6677-8899-aabbccddeeff"),
        ("employeeNumber", b" E-007", "e-007"),
    ],
)
def test_key_as_text(attribute: str, value: bytes, key: str) -> None:
    assert keys.key_of(attribute, {attribute.lower(): (value,)}) == key


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("entryUUID", ()),
        ("entryUUID", (UUID.encode(), UUID.encode())),
        ("entryUUID", (b"autogenerate",)),
        ("ipaUniqueID", (b"autogenerate",)),
        ("nsUniqueId", (UUID.encode(),)),
        ("objectGUID", (UUID.encode(),)),
        ("employeeNumber", (b"  ",)),
        ("employeeNumber", (b"\xff",)),
    ],
)
def test_no_key(attribute: str, values: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidValue, match=attribute):
        keys.key_of(attribute, {attribute.lower(): values})


def test_the_key_attribute_is_the_one_most_entries_have() -> None:
    both, one = {"entryuuid": (b"x",), "nsuniqueid": (b"x",)}, {"nsuniqueid": (b"x",)}
    assert keys.choose([both, both]) == "entryUUID"
    assert keys.choose([both, one]) == "nsUniqueId"
    assert keys.choose([both, {"objectguid": (b"x",), **both}]) == "entryUUID"
    assert keys.choose([{}]) is None


def test_names_of_attributes() -> None:
    raw = {"CN": (b"a",), "cn;lang-de": (b"b",), "userCertificate;binary": (b"c",), "usercertificate": (b"d",)}
    assert keys.fold_names(raw) == {"cn": (b"a",), "cn;lang-de": (b"b",), "usercertificate": (b"c", b"d")}


class Directory:
    """A session that answers like Active Directory: 1,500 members at a time."""

    url = "ldap://127.0.0.1"
    entries_received = 0

    def __init__(
        self, members: int, broken_from: int | None = None, paging: bool = True, repeats: bool = False
    ) -> None:
        self.members = tuple(f"cn=u{n},dc=x".encode() for n in range(members))
        self.broken_from = broken_from
        self.closed = False
        self.paging = paging
        self.repeats = repeats
        self.sizes: set[int | None] = set()

    def search(
        self,
        base: str,
        scope: str,
        filter_text: str,
        attributes: tuple[str, ...],
        size: int | None = None,
        cookie: bytes = b"",
        ahead: bool = False,
    ) -> Page:
        key = {"objectGUID": (bytes(15) + bytes([len(base)]),)}
        if base == "":
            return page({"supportedControl": (PAGED_RESULTS.encode() if self.paging else b"1.1.1",)})
        if attributes and ";range=" in attributes[0]:
            start = int(attributes[0].partition("=")[2].partition("-")[0])
            if start == self.broken_from:
                return page()
            return page(self._range(0 if self.repeats else start))
        if scope == "subtree":
            self.sizes.add(size)
        if filter_text == "(member=*)":
            return page({**key, "member": (), **self._range(0)}, dn="cn=g,dc=x")
        return page(key, dn="cn=u,dc=x")

    def _range(self, start: int) -> dict[str, tuple[bytes, ...]]:
        end = start + 1500
        last = "*" if end >= len(self.members) else str(end - 1)
        return {f"member;range={start}-{last}": self.members[start:end]}

    def close(self) -> None:
        self.closed = True


def page(*entries: Mapping[str, tuple[bytes, ...]], dn: str = "") -> Page:
    return Page(tuple(RawEntry(dn.encode(), one) for one in entries), (), 0, "success", "", b"")


def read(directory: Directory) -> tuple[list[Entry | SetAside], Certificate]:
    config = LdapConfig(
        "ad", ("ldap://127.0.0.1",), SearchConfig(("ou=u,dc=x",)), SearchConfig(("dc=x",), "(member=*)")
    )
    reading = LdapReading(config, (), directory)  # type: ignore[arg-type]
    return list(reading), reading.certificate()


@pytest.mark.parametrize("members", [1, 1500, 1501, 13000])
def test_every_range_of_members_is_asked_for(members: int) -> None:
    directory = Directory(members)
    found, certificate = read(directory)
    assert certificate.complete and certificate.key_attribute == "objectGUID" and directory.closed
    group = found[1]
    assert isinstance(group, Entry) and group.attributes["member"] == directory.members


def test_a_range_that_does_not_come_makes_the_read_incomplete() -> None:
    found, certificate = read(Directory(13000, broken_from=4500))
    assert len(found) == 1 and certificate.because == (
        "groups: member of cn=g,dc=x: the values from 4,500 on did not come: success (0) after 1 entries",
    )


def test_a_server_that_repeats_the_first_range_is_not_believed() -> None:
    assert "the values from 1,500 on did not come" in read(Directory(2000, repeats=True))[1].because[0]


def test_a_server_without_paging_is_read_in_one_piece() -> None:
    unpaged, paged = Directory(3, paging=False), Directory(3)
    assert read(unpaged)[1].complete and read(paged)[1].complete
    assert (unpaged.sizes, paged.sizes) == ({None}, {500})


def test_a_secret_is_never_shown() -> None:
    secret = Secret("hunter2")
    assert (
        "hunter2"
        not in f"{secret} {secret!r} {secret:>20} {[secret]} {LdapConfig('a', (), SearchConfig(()), bind_password=secret)}"
    )
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == "hunter2" and secret == Secret("hunter2") != Secret("hunter3") and not Secret("")
