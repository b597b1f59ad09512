"""What docs/scim.md says of where the letter of RFC 7643 and RFC 7644 is left: each line of its table is tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from syncd.core.schema import ENTERPRISE_USER
from syncd.core.workspace import SourcePolicy
from syncd.scim.dialects import POLICIES

from .conftest import BASE, GROUP_URN, USER_URN, Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def refused(answer: Any, status: int, scim_type: str | None = None) -> bool:
    return (answer.status_code, answer.json().get("scimType")) == (status, scim_type)


def test_who_is_told_what(service: Service) -> None:
    assert refused(service.ask("GET", "ServiceProviderConfig", token=None), 401)
    assert service.ask("GET", "/.well-known/oauth-authorization-server", token=None).status_code == 200
    service.user("ann")
    assert service.names('userName eq "ann"') == ["ann"]
    asked = service.ask("GET", "ServiceProviderConfig", attributes="securityEvents").json()
    assert "securityEvents" in asked and "patch" in asked


def test_what_is_unique(service: Service) -> None:
    service.user("ann", externalId="1")
    assert refused(
        service.ask("POST", "Users", {"schemas": [USER_URN], "userName": "b", "externalId": "1"}), 409, "uniqueness"
    )
    assert service.user("bob", token=service.make_token("entra"), externalId="1")["externalId"] == "1"
    service.group("crew")
    assert refused(service.ask("POST", "Groups", {"schemas": [GROUP_URN], "displayName": "CREW"}), 409, "uniqueness")
    assert service.user(" ann ")["userName"] == " ann "
    for taken in ("ＡＮＮ", "Ann"):
        assert refused(service.ask("POST", "Users", {"schemas": [USER_URN], "userName": taken}), 409, "uniqueness")


def test_values_are_kept_as_they_are_sent(service: Service) -> None:
    sent = {
        "emails": [{"value": "Ann@EXAMPLE.COM", "type": "Office"}],
        "phoneNumbers": [{"value": "call me"}],
        "profileUrl": "no url",
        "addresses": [{"country": "USA"}],
        "locale": "en US",
        "timezone": "Nowhere",
        "x509Certificates": [{"value": "QWI="}],
    }
    ann = service.user("ann", **sent)
    assert {name: ann[name] for name in sent} == sent
    assert service.names('emails eq "ann@example.com"') == ["ann"]


def test_what_follows_from_something_else(service: Service) -> None:
    boss = service.user("boss")
    ann = service.user("ann", **{ENTERPRISE_USER: {"manager": {"value": boss["id"], "$ref": "../Users/x"}}})
    path, manager = f"Users/{ann['id']}", {"value": boss["id"], "$ref": boss["meta"]["location"]}
    assert ann[ENTERPRISE_USER]["manager"] == manager
    for op in ("add", "replace"):
        same = service.patch(path, {"op": op, "path": "schemas", "value": [USER_URN]})
        assert same.json() == ann
    assert refused(service.patch(path, {"op": "remove", "path": "schemas"}), 400, "mutability")
    meta = {"created": "2011-05-13T04:42:34Z"}
    for method, at in (("POST", "Users"), ("PUT", path)):
        body = {"schemas": [USER_URN], "userName": f"{method}1", "meta": meta}
        assert service.ask(method, at, body).json()["meta"]["created"] != meta["created"]
    assert refused(
        service.patch(path, {"op": "replace", "path": "meta.created", "value": meta["created"]}), 400, "mutability"
    )


def test_the_examples_that_are_not_in_the_grammar(service: Service) -> None:
    ann = service.user("ann")
    group = service.group("Group A", ann["id"])
    for text in ("(meta.resourceType eq User) or (meta.resourceType eq Group)", "displayName sw 'Group'"):
        assert refused(service.ask("GET", "Groups", filter=text), 400, "invalidFilter")
    gone = service.patch(f"Groups/{group['id']}", {"op": "remove", "path": f'members[value eq"{ann["id"]}"]'})
    assert gone.status_code == 204 and "members" not in service.ask("GET", f"Groups/{group['id']}").json()


def test_targets_of_a_patch_that_are_none_or_several(service: Service) -> None:
    path = f"Users/{service.user('ann')['id']}"
    work = {"op": "add", "path": 'emails[type eq "work"].value', "value": "a@x"}
    strict = replace(service.workspaces["default"], sources={"okta": SourcePolicy("okta", tolerances=POLICIES["rfc"])})
    tolerant, service.workspaces["default"] = service.workspaces["default"], strict
    assert refused(service.patch(path, work), 400, "noTarget")
    service.workspaces["default"] = tolerant
    both = {"op": "add", "path": "emails", "value": [{"value": "b@x", "type": "home"}]}
    assert service.patch(path, work, both).status_code == 200
    assert refused(service.patch(path, {"op": "replace", "path": "emails.type", "value": "x"}), 400, "invalidPath")
    left = service.patch(path, {"op": "remove", "path": "emails.type"}).json()
    assert left["emails"] == [{"value": "a@x"}, {"value": "b@x"}]


def test_a_value_without_its_value_goes(service: Service) -> None:
    sent = [{"value": "a@x", "type": "work", "display": "A"}, {"value": "b@x"}]
    path = f"Users/{service.user('ann', emails=sent)['id']}"
    left = service.patch(path, {"op": "remove", "path": 'emails[type eq "work"].value'}).json()
    assert left["emails"] == [{"value": "b@x"}]


def test_roles_and_entitlements_are_found_by_name(service: Service) -> None:
    for path in ("ResourceTypes", "Schemas"):
        listed = service.ask("GET", path).json()["Resources"]
        assert not {"Role", "Entitlement"} & {each["name"] for each in listed}
    pool = service.ask("GET", "Entitlements").json()["Resources"][0]
    assert set(pool["meta"]) == {"resourceType", "location"}
    assert service.ask("GET", "/scim/v2").json()["totalResults"] == 0
    assert service.ask("GET", "ResourceTypes/Entitlement").json()["schema"] == pool["schemas"][0]


def test_what_no_type_has_and_what_a_member_is(service: Service) -> None:
    ann = service.user("ann")
    group = service.group("crew", ann["id"])
    assert service.names("not (members pr)", "/scim/v2") == ["ann"]
    assert refused(service.ask("GET", "/scim/v2", filter="not (mebers pr)"), 400, "invalidFilter")
    body = {"schemas": [GROUP_URN], "displayName": "crew"}
    put = service.ask(
        "PUT", f"Groups/{group['id']}", body | {"members": [{"value": ann["id"], "type": "Group", "$ref": "x"}]}
    )
    assert put.json() == group


def test_one_format_and_412(service: Service) -> None:
    ann = service.user("ann")
    for wanted in ("text/html", "application/json", "application/scim+json;q=0"):
        answer = service.ask("GET", f"Users/{ann['id']}", headers={"Accept": wanted})
        assert (answer.headers["content-type"], answer.json()) == ("application/scim+json", ann)
    assert refused(service.ask("GET", f"Users/{ann['id']}.scim"), 404)
    assert ann["meta"]["location"] == f"{BASE}/scim/v2/Users/{ann['id']}"
    stale = {"If-Match": 'W/"9"'}
    assert refused(service.ask("DELETE", f"Users/{ann['id']}", headers=stale), 412)
