"""RFC 4514: what the same name may look like, and what is no name at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import InvalidValue
from syncd.ldap import dn

KINDS = st.sampled_from(["cn", "CN", "uid", "ou", "dc", "2.5.4.3", "x-my-type", "commonName"])
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(' ,+=#";<>\\a\0B', max_size=8)
DNS = st.lists(st.lists(st.tuples(KINDS, VALUES), min_size=1, max_size=3), min_size=0, max_size=4).map(
    lambda rdns: ",".join("+".join(f"{k}={dn.escape_value(v)}" for k, v in rdn) for rdn in rdns)
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uid=jdoe,ou=People,dc=Example,dc=Org", "UID=JDoe, OU=people , dc=example,dc=org"),
        ("cn=Doe\\, Jane,dc=x", "cn=doe\\2c jane,DC=X"),
        ("cn=a+sn=b,dc=x", "sn=b + cn=a,dc=x"),
        ("cn=Zo\u00eb,dc=x", "cn=Zo\\c3\\ab,dc=x"),
        ("cn=Zo\u00eb,dc=x", "cn=Zoe\u0308,dc=x"),
        ("cn=STRASSE", "cn=stra\u00dfe"),
        ("cn=two  spaces", "cn=two spaces"),
        ("cn=\\ lead and trail\\ ", "cn=lead and trail"),
        ("cn=\\#5", "cn=\\235"),
        ("2.5.4.3=a", "cn=a"),
        ("OID.2.5.4.3=a", "commonName=a"),
        ("cn=#040161", "cn=a"),
        ("cn=a=b", "cn=a\\3db"),
        ("cn=,dc=x", "cn= ,dc=x"),
        ("", "  "),
    ],
)
def test_two_spellings_of_one_name(one: str, other: str) -> None:
    assert dn.normalize(one) == dn.normalize(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cn=a\\,dc=x", "cn=a,dc=x"),
        ("cn=a\\+sn=b", "cn=a+sn=b"),
        ("cn=\\\\", "cn=/"),
        ("uid=a,dc=x", "uid=a,dc=y"),
        ("cn=\\ff", "cn=\\fe"),
    ],
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert dn.normalize(one) != dn.normalize(other)


@pytest.mark.parametrize(
    "bad",
    ["x", "cn", "=a", "cn=a,", ",cn=a", "cn=a;dc=x", 'cn="a"', "cn=a\\", "cn=a\\zz", "cn=<a>", "cn=#", "cn=#0",
     "cn=#zz", "1=a", "c n=a", "cn=a,,dc=x", "cn=a+", "cn=\ud800", "cn=#0401612"],
)  # fmt: skip
def test_no_name_at_all(bad: str) -> None:
    with pytest.raises(InvalidValue, match="not a distinguished name"):
        dn.normalize(bad)


def test_is_under_is_not_fooled_by_an_escaped_comma() -> None:
    assert dn.is_under("uid=a,ou=People,dc=x", "OU=people, DC=x")
    assert dn.is_under("dc=x", "dc=x") and dn.is_under("dc=x", "")
    assert not dn.is_under("cn=a\\,dc=x", "dc=x")
    assert not dn.is_under("uid=a,my-ou=people,dc=x", "ou=people,dc=x")
    assert not dn.is_under("cn=a\\\\\\,dc=x", "dc=x")
    assert dn.is_under("cn=a\\\\,dc=x", "dc=x")
    assert not dn.is_under("dc=x", "ou=people,dc=x")


def test_parent() -> None:
    assert dn.parent("UID=a,OU=b,DC=c") == "ou=b,dc=c"
    assert dn.parent("cn=a\\,b,dc=c") == "dc=c"
    assert dn.parent("dc=c") == "" == dn.parent("")


def test_parse_keeps_types_and_values_as_written() -> None:
    assert dn.parse("CN=Doe\\, Jane+uid=jd,DC=x") == ((("CN", "Doe, Jane"), ("uid", "jd")), (("DC", "x"),))


@given(VALUES)
def test_escape_round_trips(value: str) -> None:
    assert dn.parse("cn=" + dn.escape_value(value) + ",dc=x")[0] == (("cn", value),)


@given(DNS)
def test_normalize_is_idempotent(name: str) -> None:
    once = dn.normalize(name)
    assert dn.normalize(once) == once
    assert dn.is_under(name, once) and dn.is_under(once, name)


@given(DNS, DNS)
def test_a_child_is_under_its_parent(name: str, base: str) -> None:
    child = ",".join(part for part in (name, base) if part)
    assert dn.is_under(child, base)


@given(st.text(max_size=30) | st.text('cn=,+\\ #"<;a0', max_size=12))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        once = dn.normalize(text)
    except InvalidValue:
        return
    assert dn.normalize(once) == once


@given(st.text("abcdefghijklmnopqrstuvwxyzABC0123456789 .-_@'/:=#(){}~|!$%&*?[]^`", max_size=12))
def test_the_fast_path_agrees_with_the_slow_one(value: str) -> None:
    name = f"uid={dn.escape_value(value)},ou=People,dc=x"
    slow = dn.normalize(name.replace("ou=", "2.5.4.11="))
    assert dn.normalize(name) == slow


@given(DNS, DNS)
def test_a_name_is_its_first_part_and_the_name_above_it(name: str, base: str) -> None:
    below = ",".join(filter(None, (name, base)))
    assert dn.normalize(below) == ",".join(filter(None, (dn.normalize(name), dn.normalize(base))))


def test_a_fault_is_told_by_its_place_in_the_whole_name() -> None:
    with pytest.raises(InvalidValue, match=r"character 14: '<' must be escaped"):
        dn.normalize("cn=a\\, b,ou=c<d>,dc=x")


def test_a_name_of_thousands_of_parts() -> None:
    name = ",".join(["cn=a\\, b"] * 5000)
    assert dn.normalize(name) == ",".join(["cn=a\\2c b"] * 5000)


@pytest.mark.parametrize("bad", ["cn=\udd00", "cn=\udc00", "cn=a \udfff,dc=x"])
def test_half_a_character_is_none(bad: str) -> None:
    with pytest.raises(InvalidValue, match="half a surrogate pair"):
        dn.normalize(bad)
