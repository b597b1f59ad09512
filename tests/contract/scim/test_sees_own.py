"""`sees: own`: a connection knows the users it is linked to and the groups it made; of the others it learns nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncd.core.workspace import SourcePolicy

from .conftest import GROUP_URN, USER_URN, Service


@pytest.fixture
def narrow(service: Service) -> Service:
    """okta sees only its own; entra everything."""
    workspace = service.workspaces["default"]
    own = SourcePolicy("okta", sees="own")
    service.workspaces["default"] = replace(workspace, sources={**workspace.sources, "okta": own})
    return service


def test_it_lists_finds_and_counts_only_its_own(narrow: Service) -> None:
    entra = narrow.make_token(source="entra")
    ann, mine = narrow.user("ann"), narrow.group("mine")
    eve, theirs = narrow.user("eve-hidden", token=entra), narrow.group("theirs-hidden", token=entra)
    narrow.made_by("corp", "carl-hidden")
    for path, own in (("Users", "ann"), ("Groups", "mine")):
        listed = narrow.ask("GET", path)
        assert (listed.json()["totalResults"], narrow.names(path=path)) == (1, [own])
        assert narrow.ask("GET", path, count=0).json()["totalResults"] == 1
        assert narrow.ask("GET", path, cursor="", count=1).json()["totalResults"] == 1
        assert narrow.ask("GET", path, startIndex=2).json()["totalResults"] == 1
    assert narrow.ask("GET", "").json()["totalResults"] == 2
    for path, id in ((f"Users/{eve['id']}", eve["id"]), (f"Groups/{theirs['id']}", theirs["id"])):
        assert narrow.ask("GET", path).status_code == 404
        assert narrow.ask("DELETE", path).status_code == 404
        assert narrow.patch(path, {"op": "replace", "path": "displayName", "value": "x"}).status_code == 404
        assert narrow.names(f'id eq "{id}"', path.split("/")[0]) == []
    for question in ('userName eq "eve-hidden"', 'userName sw "e" or userName pr and not (userName eq "ann")'):
        assert narrow.names(question) == []
    assert set(narrow.names(token=entra)) == {"ann", "eve-hidden", "carl-hidden"}
    assert narrow.ask("GET", f"Users/{ann['id']}").status_code == 200 and mine


def test_of_its_own_it_learns_nothing_about_others(narrow: Service) -> None:
    entra = narrow.make_token(source="entra")
    ann = narrow.user("ann")
    eve = narrow.user("eve-hidden", token=entra)
    mine = narrow.group("mine", ann["id"])
    theirs = narrow.group("theirs-hidden", ann["id"], token=entra)
    shown = narrow.ask("GET", f"Users/{ann['id']}")
    assert [each["display"] for each in shown.json()["groups"]] == ["mine"] and "hidden" not in shown.text
    for question in (
        'groups.display eq "theirs-hidden"',
        f'groups.value eq "{theirs["id"]}"',
        'groups[display sw "theirs"]',
    ):
        assert narrow.names(question) == []
        assert narrow.names(question, token=entra) == ["ann"]
    stranger = {"op": "add", "path": "members", "value": [{"value": eve["id"]}]}
    assert narrow.patch(f"Groups/{mine['id']}", stranger).status_code == 400, "whom it does not see is unknown"
    nested = {"op": "add", "path": "members", "value": [{"value": theirs["id"]}]}
    assert narrow.patch(f"Groups/{mine['id']}", nested).status_code == 400
    assert narrow.names(f'members.value eq "{eve["id"]}"', "Groups") == []
    assert narrow.names(f'members[value eq "{ann["id"]}"]', "Groups") == ["mine"]


def test_a_name_that_somebody_hidden_has_is_taken_all_the_same(narrow: Service) -> None:
    entra = narrow.make_token(source="entra")
    narrow.user("eve", token=entra)
    refused = narrow.ask("POST", "Users", {"schemas": [USER_URN], "userName": "eve"})
    assert (refused.status_code, refused.json()["scimType"]) == (409, "uniqueness")
    made = narrow.ask("POST", "Groups", {"schemas": [GROUP_URN], "displayName": "crew"}, token=entra)
    assert made.status_code == 201
    assert narrow.group("crew")["id"] != made.json()["id"], "a group's name is its source's own"
