"""`syncd user set`: what people say of a person; and `explain` shows whose word counts."""

from __future__ import annotations

import pytest

from command_line import Cli
from syncd import sample

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
SYNCD = "urn:syncd:params:scim:schemas:extension:2.0:User"
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no engine changes it


@pytest.fixture
def ann(cli: Cli) -> Cli:
    cli("user", "create", "boss", "--role", "owner", "--email", "boss@example.org")
    cli("user", "create", "ann", "--email", "ann@example.org", "--given-name", "Ann")
    return cli


def values(cli: Cli, who: str = "ann") -> dict[str, object]:
    return dict(cli("user", "show", who, "--json").json["values"])


def test_a_whole_profile(ann: Cli) -> None:
    said = ("title=Lead", "Phone=+49 1", "mobile=+49 2", "manager=boss", "locale=de-AT", "Time zone=Europe/Vienna")
    shown = ann(
        "user", "set", "ann", *said, "kind=portal", "second factor=yes", "photo=https://x/y.png", "Last name=Lee"
    ).out
    assert "title: nothing -> Lead" in shown
    boss = ann("user", "show", "boss", "--json").json["id"]
    assert values(ann) == {
        **{"userName": "ann", "title": "Lead", "locale": "de-AT", "timezone": "Europe/Vienna"},
        **{"name.givenName": "Ann", "name.familyName": "Lee"},
        "emails": [{"value": "ann@example.org", "type": "work", "primary": True}],
        "phoneNumbers": [{"value": "+49 1", "type": "work"}, {"value": "+49 2", "type": "mobile"}],
        "photos": [{"value": "https://x/y.png", "type": "photo"}],
        **{f"{ENTERPRISE}:manager.value": boss, f"{SYNCD}:kind": "portal", f"{SYNCD}:secondFactor": True},
    }
    assert "secondFactor" in ann("user", "show", "ann").out
    ann("user", "set", "ann", "--clear", "mobile", "--clear", "title", "--clear", "manager", "phone=+49 3")
    now = values(ann)
    assert now["phoneNumbers"] == [{"value": "+49 3", "type": "work"}]
    assert "title" not in now and f"{ENTERPRISE}:manager.value" not in now
    assert "nothing to change" in ann("user", "set", "ann", "phone=+49 3").err
    ann("user", "set", "ann", "userName=anna")
    assert values(ann, "anna")["userName"] == "anna"


@SQLITE
def test_people_by_kind(ann: Cli) -> None:
    ann("user", "set", "ann", "kind=portal")
    assert (
        "ann" in ann("user", "list", "--kind", "portal").out
        and "boss" not in ann("user", "list", "--kind", "portal").out
    )
    internal = ann("user", "list", "--kind", "internal").out
    assert "boss" in internal and "ann" not in internal, "whoever nobody calls otherwise is internal"
    assert ann("user", "list", "--kind", "internal", "--filter", 'userName eq "x" or userName eq "ann"').out == ""
    ann("user", "list", "--kind", 'x" or true', code=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("titel=x",), "titel: is no column that there is; did you mean title?"),
        (("title",), "is not NAME=VALUE"),
        (("title=",), "--clear NAME takes one away"),
        (("title=a", "title=b"), "given twice"),
        (("manager=nobody",), "no user 'nobody'"),
        (("email=boss@example.org",), "is the address of boss"),
        (("secondFactor=perhaps",), "must be true or false"),
        (("--clear", "title"), "there is none"),
        (("--clear", "userName"), "a user has a name"),
        (("--clear", "nonsense"), "no attribute that there is"),
        ((), "give NAME=VALUE"),
    ],
)
@SQLITE
def test_what_is_refused(ann: Cli, words: tuple[str, ...], says: str) -> None:
    before = values(ann)
    assert says in ann("user", "set", "ann", *words, code=2).err
    assert values(ann) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_explain_says_whose_word_counts(cli: Cli) -> None:
    company = sample.company(users=3, groups=1, seed=1)
    cli.directory(company)
    cli("sync", "corp")
    who = company.people[0].uid
    before = values(cli, who)
    cli("user", "set", who, "title=Chief", "locale=de")
    owners = {each["attribute"]: each for each in cli("explain", who, "--json").json["owners"]}
    assert (values(cli, who)["title"], owners["title"]["source"]) == (before["title"], "corp")
    assert owners["title"]["aside"] == [{"source": "local", "value": "Chief"}]
    assert (owners["locale"]["source"], owners["locale"]["aside"]) == ("local", [])
    assert "Chief" in cli("explain", who).out
    assert "another source states it" in cli("user", "set", who, "--clear", "displayName", code=2).err
