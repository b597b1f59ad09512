"""What the user pages of five products ask of the store, line by line: done through the API, and its effect looked at.

P1 an ERP suite, P2 asset and licence management, P3 a CRM, P4 complaints and service desk, P5 a CRM with user and licence
widgets. `LATER` names what of a line is drawn by the web console.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from letter_desk import Desk, desk_of
from syncd.core.access import allows
from syncd.core.schema import ENTERPRISE_USER, SYNCD_USER
from syncd.core.seats import Pool, Price
from syncd.store import copy, purge
from syncd.store.engine import Database
from syncd.timers import Timers
from web_service import Service, condition, rule

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LINES = range(1, 47)
LATER = {
    1: "a saved filter is the console's; the filter itself is here",
    18: "greying out is the console's; the status it goes by is here",
    40: "the page is the console's; what it shows is here",
}
WALKED: dict[int, str] = {}
PASSWORD, BETTER = "correct horse battery", "staple of the evening"


def line(number: int, product: str, requirement: str) -> Callable[[Any], Any]:
    """This test walks a line of the table."""
    assert number not in WALKED, number
    WALKED[number] = f"{product}: {requirement}"
    return lambda test: test


class World(Desk):
    """`internal` has two seats and refuses a third, `crm` one that needs it; portal users are free."""

    def do(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        answer = self.ask(method, path, body, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def made(self, login: str, /, *roles: str, **values: Any) -> str:
        id = str(self.do("POST", "/users", {"userName": login, **values}, 201)["id"])
        for role in roles:
            self.give(id, "role", role)
        return id

    def give(self, id: str, kind: str, value: str, **more: Any) -> Any:
        return self.do("POST", f"/users/{id}/grants", {"kind": kind, "value": value}, 200, **more)

    def take(self, id: str, kind: str, value: str, **more: str) -> None:
        assert self.ask("DELETE", f"/users/{id}/grants", kind=kind, value=value, **more).status_code == 204

    def access(self, id: str) -> Any:
        return self.do("GET", f"/users/{id}/access")

    def may(self, id: str, *wanted: str) -> list[bool]:
        held = self.access(id)
        patterns = [*held["permissions"], *(f"!{each}" for each in held["denied"])]
        return [allows(patterns, each) for each in wanted]

    def status(self, id: str) -> str:
        return str(self.do("GET", f"/users/{id}")["status"])

    def names(self, **query: str) -> list[str]:
        return [each["userName"] for each in self.ask("GET", "/users", **query).json()["items"]]

    def pool(self, name: str = "internal") -> Any:
        return self.do("GET", f"/seats/{name}")

    def seated(self, name: str, pool: str = "internal") -> str:
        id = self.made(name)
        self.do("POST", f"/seats/{pool}/holders", {"user": id})
        return id

    def as_(self, id: str, *allow: str) -> str:
        """A token that bears this user."""
        return self.service.make_token(source="local", allow=allow or ("*",), user=id)

    def record(self, id: str) -> list[str]:
        return [each["action"] for each in self.do("GET", "/activity", subject=id)["items"]]


@pytest.fixture
def world(service: Service) -> Iterator[World]:
    with desk_of(service) as desk:
        known = service.workspaces["default"]
        price = Price(Decimal("10"), "EUR", "month")
        service.workspaces["default"] = replace(
            known,
            pools={
                "internal": Pool("internal", 2, when_full="refuse", price=price),
                "crm": Pool("crm", 1, requires=("internal",), kind="add-on", price=price),
                "portal": Pool("portal", None, kind="portal"),
            },
            rules=(
                rule("portal", f'{SYNCD_USER}:kind eq "portal"', seats=("portal",)),
                rule("sales", 'groups[display eq "sales"]', roles=("clerk",), permissions=("nav.sales",)),
            ),
            protected=(('userName eq "root"', condition('userName eq "root"')),),
            webhooks=("app",),
        )
        service.web = service.application()
        yield World(service, desk.office)


# -- P1: an ERP suite --------------------------------------------------------------------------------------------------------


@line(1, "P1", "the list shows internal users, portal users on demand; each kind has its own licence")
def test_internal_and_portal_users(world: World) -> None:
    world.made("ann")
    guest = world.made("guest", **{SYNCD_USER: {"kind": "portal"}})
    assert (world.names(kind="internal"), world.names(kind="portal")) == (["ann"], ["guest"])
    assert world.access(guest)["seats"] == ["portal"] and world.pool("portal")["cost"] is None


@line(2, "P1", "archived, a user leaves the active list and the bill")
def test_archiving(world: World) -> None:
    ann = world.seated("ann")
    assert world.pool()["cost"] == "10.00"
    world.do("POST", f"/users/{ann}/deactivate")
    assert world.names(status="active") == [] and world.pool()["cost"] == "0.00"


@line(3, "P1", "the main administrator is never deactivated")
def test_the_main_administrator(world: World) -> None:
    root = world.made("root", "owner")
    for path in ("deactivate", "suspend"):
        assert world.ask("POST", f"/users/{root}/{path}").status_code == 403
    assert world.ask("DELETE", f"/users/{root}").status_code == 403
    assert world.ask("POST", "/users/bulk/state", {"action": "delete", "ids": [root]}).json()["refused"] == 1
    assert world.service.ask("DELETE", f"Users/{root}").status_code >= 400, "nor over SCIM"
    assert world.status(root) == "active"


@line(4, "P1", "adding users may change the price: it is shown before")
def test_the_price_before_and_after(world: World) -> None:
    told = world.do("POST", "/users/import", {"csv": "userName,seat\nann,internal\n"}, headers={"X-Dry-Run": "true"})
    assert (told["cost_before"][0]["cost"], told["cost_after"][0]["cost"]) == ("0.00", "10.00")
    assert world.names() == []


@line(5, "P1", "it is tried on a duplicate of the database first")
def test_a_dry_run_and_a_copy(world: World, tmp_path: Any) -> None:
    ann = world.made("ann")
    world.do("POST", f"/users/{ann}/suspend", headers={"X-Dry-Run": "true"})
    assert world.status(ann) == "active"
    target = f"sqlite:///{tmp_path}/copy.db"
    assert copy.copy(world.service.database, target, lambda *_: None) > 0
    twin = Service(f"sqlite:///{tmp_path}/unused.db")
    twin.database, original = Database(target), twin.database
    original.close()
    twin.workspaces["default"] = world.service.workspaces["default"]
    twin.web = twin.application()
    twin.now = world.service.now
    assert twin.ask("POST", f"/api/v1/users/{ann}/suspend", token=world.service.token).status_code == 200
    twin.close()
    assert world.status(ann) == "active", "what is tried on the copy stays there"


@line(6, "P1", "a licence may need another; taking that away breaks this one, and is shown before")
def test_dependencies_between_licences(world: World) -> None:
    ann = world.seated("ann")
    world.do("POST", "/seats/crm/holders", {"user": ann})
    tried = {"headers": {"X-Dry-Run": "true"}}
    world.do("DELETE", f"/seats/internal/holders/{ann}", status=204, **tried)
    assert world.access(ann)["seats"] == ["crm", "internal"]
    world.do("DELETE", f"/seats/internal/holders/{ann}", status=204)
    held = world.access(ann)
    assert (held["seats"], held["waiting"]) == ([], ["crm"]), "it waits until what it needs is there again"
    assert world.pool("crm")["requires"] == ["internal"]


@line(7, "P1", "nobody else can know what breaks: everything has a reason, a record and a way back")
def test_reason_record_and_undo(world: World) -> None:
    ann = world.made("ann", "member")
    [role] = world.do("GET", f"/users/{ann}/explain")["roles"]
    assert (role["value"], role["origin"], role["name"]) == ("member", "direct", "okta test")
    world.do("DELETE", f"/users/{ann}", status=204)
    world.do("POST", f"/users/{ann}/restore")
    assert {"create", "grant", "delete", "restore"} <= {*world.record(ann)} and world.may(ann, "assets.view") == [True]


# -- P2: assets and licences -------------------------------------------------------------------------------------------------


@line(8, "P2", "invited by e-mail with a role chosen")
def test_invited_with_a_role(world: World) -> None:
    made = world.do("POST", "/invitations", {"email": "ann@example.org", "roles": ["viewer"]}, 201)
    assert [each["value"] for each in world.service.access(made["user_id"])["roles"]] == ["viewer"]
    world.deliver()
    assert world.office.taken[0]["To"] == "ann@example.org"


@line(9, "P2", "owner, admin, member and viewer, with exactly these permissions")
def test_the_four_roles(world: World) -> None:
    asked = (
        *("billing.view", "workspace.delete", "users.manage", "users.invite", "assets.delete", "licences.edit"),
        *("reports.view", "assets.view", "assets.create", "licences.create", "assets.be-assigned", "settings.view"),
        *("dashboards.view", "licences.view", "assets.edit"),
    )
    ids = {role: world.made(role, role) for role in ("owner", "admin", "member", "viewer")}
    permitted = {
        role: {each for each, may in zip(asked, world.may(id, *asked), strict=True) if may} for role, id in ids.items()
    }
    assert permitted["owner"] == {*asked}
    assert permitted["admin"] == {*asked} - {"billing.view", "workspace.delete"}
    member = {"assets.view", "assets.create", "assets.be-assigned", "licences.view", "licences.create"}
    assert permitted["member"] == {*member, "reports.view", "dashboards.view"}
    assert permitted["viewer"] == {"assets.view", "licences.view", "reports.view", "dashboards.view"}
    refused = world.ask("DELETE", f"/users/{ids['owner']}", token=world.as_(ids["admin"]))
    assert refused.status_code == 403, "not removable by others"


@line(10, "P2", "fine-grained permissions over features")
def test_a_single_permission(world: World) -> None:
    ann = world.made("ann")
    world.give(ann, "permission", "invoices.approve")
    assert world.may(ann, "invoices.approve", "invoices.view") == [True, False]
    world.do("POST", "/roles", {"name": "buyer", "permissions": ["orders.*"]}, 201)
    world.give(ann, "role", "buyer")
    assert world.may(ann, "orders.place") == [True]


@line(11, "P2", "active, inactive, pending, suspended")
def test_the_statuses(world: World) -> None:
    ann = world.made("ann", "viewer")
    pending = world.do("POST", "/invitations", {"email": "new@example.org"}, 201)["user_id"]
    held, gone = world.made("held"), world.made("gone")
    world.do("POST", f"/users/{held}/suspend")
    world.do("POST", f"/users/{gone}/deactivate")
    states = {each["userName"]: each["status"] for each in world.do("GET", "/users")["items"]}
    assert states == {"ann": "active", "new@example.org": "pending", "held": "suspended", "gone": "inactive"}
    assert [world.access(each)["may_sign_in"] for each in (ann, pending, held, gone)] == [True, False, False, False]


@line(12, "P2", "a user's role changes, and that is documented")
def test_a_role_changes(world: World) -> None:
    ann = world.made("ann", "viewer")
    world.give(ann, "role", "member")
    world.take(ann, "role", "viewer", reason="promoted")
    assert world.access(ann)["roles"] == ["member"]
    rows = world.do("GET", "/activity", subject=ann)["items"]
    assert [(each["action"], each["before"], each["why"]) for each in rows if each["action"] == "revoke"] == [
        ("revoke", "role viewer", "promoted")
    ]


@line(13, "P2", "user activity is watched, viewed and exported")
def test_activity(world: World) -> None:
    ann = world.made("ann")
    world.do("POST", f"/users/{ann}/sign-ins", {"outcome": "failure", "address": "192.0.2.66"})
    exported = world.ask("GET", "/activity/export", format="csv")
    assert exported.status_code == 200 and "ann" in exported.text
    [seen] = world.do("GET", f"/users/{ann}/sign-ins")["items"]
    assert (seen["outcome"], seen["address"]) == ("failure", "192.0.2.66")


@line(14, "P2", "access is reviewed; inactive accounts are found and removed")
def test_idle_accounts(world: World) -> None:
    ann = world.seated("ann")
    world.made("new")
    world.do("POST", f"/users/{ann}/sign-ins", {"outcome": "success"})
    world.service.later(days=91)
    world.made("fresh")
    assert "ann" in world.names(idle_days="90") and "fresh" not in world.names(idle_days="90")
    world.do("POST", "/users/bulk/state", {"action": "deactivate", "ids": [ann], "reason": "unused"})
    assert world.pool()["used"] == 0


@line(15, "P2", "who leaves is deactivated promptly; who comes goes through a clear process")
def test_leaving_on_a_date(world: World) -> None:
    ann = world.seated("ann")
    at = world.service.now + timedelta(days=2)
    world.do("PUT", f"/users/{ann}/offboarding", {"at": at.isoformat(), "reason": "end of contract"})
    assert world.access(ann)["may_sign_in"] is True
    world.service.later(days=2)
    assert world.access(ann)["may_sign_in"] is False, "at the instant, whoever is late"
    service = world.service
    Timers(service.database, service.workspaces, lambda: service.now, service.ids).tick()
    assert world.pool()["used"] == 0
    assert [each["kind"] for each in world.do("GET", "/deliveries", user=ann)["items"]]


@line(16, "P2", "strong passwords, and whether there is a second factor")
def test_passwords_and_second_factor(world: World) -> None:
    ann = world.made("ann")
    assert world.ask("PUT", f"/users/{ann}/password", {"password": "password123456"}).status_code == 422
    world.do("PATCH", f"/users/{ann}", {SYNCD_USER: {"secondFactor": True}})
    world.do("POST", f"/users/{ann}/sign-ins", {"outcome": "success", "second_factor": True})
    shown = world.do("GET", f"/users/{ann}")
    assert shown[SYNCD_USER]["secondFactor"] is True and shown["sign_ins"]["second_factor"] is True
    world.made("bob")
    assert world.names(filter=f"not ({SYNCD_USER}:secondFactor eq true)") == ["bob"]


# -- P3: a CRM ---------------------------------------------------------------------------------------------------------------


@line(17, "P3", "the mail carries a link; its form asks password, country and time zone")
def test_the_form_of_an_invitation(world: World) -> None:
    made = world.do("POST", "/invitations", {"email": "ann@example.org", "displayName": "Ann"}, 201)
    world.deliver()
    fields = {"password": PASSWORD, "again": PASSWORD, "country": "AT", "timezone": "Europe/Vienna"}
    assert world.fill("/invitation", world.token_of("/invitation"), **fields).status_code == 200
    ann = world.do("GET", f"/users/{made['user_id']}")
    assert (ann["status"], ann["timezone"], ann["addresses"][0]["country"]) == ("active", "Europe/Vienna", "AT")


@line(18, "P3", "pending, resent, and withdrawn so that the right one can be invited")
def test_an_invitation_resent_and_withdrawn(world: World) -> None:
    made = world.do("POST", "/invitations", {"email": "anm@example.org"}, 201)
    assert world.names(status="pending") == ["anm@example.org"]
    world.do("POST", f"/invitations/{made['id']}/resend", {})
    world.do("POST", f"/invitations/{made['id']}/cancel", {})
    world.do("POST", "/invitations", {"email": "ann@example.org"}, 201)
    assert world.names(status="pending") == ["ann@example.org"]


@line(19, "P3", "the plan has a maximum; at the limit nobody is added")
def test_the_limit(world: World) -> None:
    ann, _ = world.seated("ann"), world.seated("bob")
    pool = world.pool()
    assert (pool["used"], pool["limit"], pool["free"]) == (2, 2, 0)
    third = world.made("cy")
    refused = world.ask("POST", "/seats/internal/holders", {"user": third})
    assert refused.status_code in (403, 409) and "2" in refused.json()["detail"], refused.text
    world.do("DELETE", f"/seats/internal/holders/{ann}", status=204)
    world.do("POST", "/seats/internal/holders", {"user": third})


@line(20, "P3", "a user who goes frees the seat, and what she made is handed over, not lost")
def test_the_seat_is_free_and_her_things_are_listed(world: World) -> None:
    boss = world.made("boss")
    ann = world.seated("ann")
    world.give(ann, "scope", "customer=acme")
    world.do("PATCH", f"/users/{ann}", {ENTERPRISE_USER: {"manager": {"value": boss}}})
    world.do("PUT", f"/users/{ann}/offboarding", {})
    told = world.do("GET", f"/users/{ann}/offboarding")
    assert told["handover"]["data_scopes"] == ["customer=acme"] and told["hand_over_to"]["id"] == boss
    assert world.pool()["used"] == 0 and world.record(ann)


@line(21, "P3", "a confirmation that says what it comes to")
def test_what_it_would_come_to(world: World) -> None:
    """The command line asks with these numbers; a program gets them by a dry run."""
    ids = [world.seated("ann"), world.made("bob")]
    body = {"action": "deactivate", "ids": ids}
    told = world.do("POST", "/users/bulk/state", body, headers={"X-Dry-Run": "true"})
    assert told["done"] == 2 and world.names(status="active") == ["ann", "bob"]


@line(22, "P3", "the flags admin, edit, delete and export")
def test_the_flags(world: World) -> None:
    ann = world.made("ann")
    for each in ("data.edit", "data.export", "!data.delete"):
        world.give(ann, "permission", each)
    assert world.access(ann)["flags"] == {"admin": False, "edit": True, "delete": False, "export": True}
    boss = world.made("boss", "admin")
    assert world.access(boss)["flags"]["admin"] is True and world.may(boss, "workspace.delete") == [False]


@line(23, "P3", "a deletion is undone within two weeks, then it is final")
def test_undone_within_two_weeks(world: World) -> None:
    ann, bob = world.seated("ann"), world.made("bob")
    for id in (ann, bob):
        world.do("DELETE", f"/users/{id}", status=204)
    world.service.later(days=13)
    world.do("POST", f"/users/{ann}/restore")
    assert world.status(ann) == "active" and world.pool()["used"] == 1
    world.service.later(days=2)
    service = world.service
    with service.database.writing() as conn:
        purge.strip(conn, service.workspaces["default"], [bob], service.now, 100)
        assert purge.purge(conn, service.workspaces["default"], [bob], service.now, service.ids) == 1
    assert world.ask("POST", f"/users/{bob}/restore").status_code == 404


@line(24, "P3", "only owners and administrators manage users and permissions; the list shows who they are")
def test_who_manages(world: World) -> None:
    boss, ann = world.made("boss", "admin"), world.made("ann", "member")
    body = {"kind": "role", "value": "viewer"}
    assert world.ask("POST", f"/users/{boss}/grants", body, token=world.as_(ann)).status_code == 403
    assert world.ask("POST", f"/users/{ann}/grants", body, token=world.as_(boss)).status_code == 200
    assert world.names(role="admin") == ["boss"]


@line(25, "P3", "groups with visibility permissions, and permissions of one user")
def test_groups_give_visibility(world: World) -> None:
    ann = world.made("ann")
    group = world.do("POST", "/groups", {"displayName": "north", "members": [ann]}, 201)["id"]
    world.do("POST", f"/groups/{group}/grants", {"kind": "scope", "value": "unit=north"})
    world.give(ann, "permission", "data.export")
    held = world.access(ann)
    assert held["data_scopes"] == {"unit": ["north"]} and held["flags"]["export"] is True


@line(26, "P3", "a user's password is reset from the same page")
def test_a_reset_link(world: World) -> None:
    ann = world.made("ann", emails=[{"value": "ann@example.org"}])
    world.do("POST", f"/users/{ann}/password-reset", {"mail": True}, 201)
    world.deliver()
    token = world.token_of("/password-reset")
    assert world.fill("/password-reset", token, password=PASSWORD, again=PASSWORD).status_code == 200
    assert world.do("POST", f"/users/{ann}/verify-password", {"password": PASSWORD})["valid"] is True


# -- P4: complaints and service desk -----------------------------------------------------------------------------------------


@line(27, "P4", "creating a user sends a link to set the password")
def test_creating_sends_a_link(world: World) -> None:
    told = world.do("POST", "/users/import", {"csv": "E-Mail\nann@example.org\n", "invite": True})
    assert told["invited"] == 1
    world.deliver()
    assert world.look("/invitation", world.token_of("/invitation")).status_code == 200


@line(28, "P4", "e-mail as login; last sign-in, address and failed attempts")
def test_account_data(world: World) -> None:
    ann = world.made("ann@example.org", emails=[{"value": "ann@example.org"}])
    world.do("POST", f"/users/{ann}/sign-ins", {"outcome": "success", "address": "192.0.2.1"})
    world.do("POST", f"/users/{ann}/sign-ins", {"outcome": "failure", "address": "192.0.2.2"})
    shown = world.do("GET", f"/users/{ann}")["sign_ins"]
    assert (shown["last_address"], shown["failed_attempts"], shown["failed_address"]) == ("192.0.2.1", 1, "192.0.2.2")
    assert shown["last_at"] is not None


@line(29, "P4", "first and last name, phone, position, manager, photo")
def test_personal_data(world: World) -> None:
    boss = world.made("boss")
    said = {
        "name": {"givenName": "Ann", "familyName": "Lee"},
        "phoneNumbers": [{"value": "+49 1", "type": "work"}],
        "title": "Lead",
        "photos": [{"value": "https://example.org/ann.png", "type": "photo"}],
        "locale": "de-AT",
        "timezone": "Europe/Vienna",
        ENTERPRISE_USER: {"manager": {"value": boss}},
        SYNCD_USER: {"kind": "internal"},
    }
    ann = world.made("ann", **said)
    shown = world.do("GET", f"/users/{ann}")
    manager = shown[ENTERPRISE_USER]["manager"]
    assert {name: shown[name] for name in said if name != ENTERPRISE_USER} == {
        name: value for name, value in said.items() if name != ENTERPRISE_USER
    }
    assert manager["value"] == boss
    assert world.do("GET", f"/users/{ann}/explain")["links"][0]["values"]["title"] == "Lead", "and who states it"


@line(30, "P4", "several permission groups; rights are cumulative")
def test_rights_add_up(world: World) -> None:
    ann = world.made("ann", "viewer")
    for name, permission in (("one", "complaints.view"), ("two", "complaints.close")):
        group = world.do("POST", "/groups", {"displayName": name, "members": [ann]}, 201)["id"]
        world.do("POST", f"/groups/{group}/grants", {"kind": "permission", "value": permission})
    assert world.may(ann, "complaints.view", "complaints.close", "assets.view") == [True] * 3


@line(31, "P4", "restricted to issue types and organisational units")
def test_units_and_issue_types(world: World) -> None:
    ann = world.made("ann")
    for value in ("unit=north", "unit=east", "issue-type=claim"):
        world.give(ann, "scope", value)
    assert world.access(ann)["data_scopes"] == {"unit": ["east", "north"], "issue-type": ["claim"]}


@line(32, "P4", "customers, distributors and service entities, apart from each other")
def test_three_categories(world: World) -> None:
    ann = world.made("ann")
    for value in ("customer=acme", "distributor=west", "service=repair"):
        world.give(ann, "scope", value)
    assert world.access(ann)["data_scopes"] == {"customer": ["acme"], "distributor": ["west"], "service": ["repair"]}


@line(33, "P4", "suspended by a toggle: no access, not counted, everything comes back")
def test_the_toggle_of_a_suspension(world: World) -> None:
    ann = world.seated("ann")
    world.give(ann, "role", "member")
    world.do("POST", f"/users/{ann}/suspend", {"reason": "on leave"})
    held = world.access(ann)
    assert (held["may_sign_in"], held["roles"], world.pool()["used"]) == (False, [], 0)
    world.do("POST", f"/users/{ann}/unsuspend")
    again = world.access(ann)
    assert (again["may_sign_in"], again["roles"], again["seats"]) == (True, ["member"], ["internal"])


@line(34, "P4", "locked after too many failed sign-ins, which is no suspension")
def test_a_lock(world: World) -> None:
    ann = world.seated("ann")
    for _ in range(10):
        world.do("POST", f"/users/{ann}/sign-ins", {"outcome": "failure"})
    shown = world.do("GET", f"/users/{ann}")
    assert (shown["status"], shown["suspended"], world.pool()["used"]) == ("locked", None, 1)
    world.do("POST", f"/users/{ann}/unlock")
    assert world.status(ann) == "active"
    world.do("POST", f"/users/{ann}/sign-ins", {"outcome": "failure"})
    assert world.status(ann) == "active", "a new row begins"


@line(35, "P4", "the e-mail changes; the next sign-in uses the new one")
def test_another_address(world: World) -> None:
    ann = world.made("ann@example.org", emails=[{"value": "ann@example.org", "primary": True}])
    world.do("PUT", f"/users/{ann}/password", {"password": PASSWORD}, 204)
    world.do("POST", f"/users/{ann}/email-change", {"email": "ann@example.net"})
    for name, valid in (("ann@example.org", False), ("ann@example.net", True)):
        told = world.do("POST", "/verify-password", {"userName": name, "password": PASSWORD})
        assert told["valid"] is valid
    world.do("POST", f"/users/{ann}/email-change", {"email": "ann@example.com", "confirm": True})
    assert world.do("GET", f"/users/{ann}")["email_change"]["state"] == "pending"
    assert world.do("GET", f"/users/{ann}")["userName"] == "ann@example.net", "until it is confirmed"


@line(36, "P4", "what a suspended user has must be reassigned by somebody")
def test_what_must_be_reassigned(world: World) -> None:
    boss, ann = world.made("boss"), world.made("ann")
    report = world.made("junior")
    world.do("PATCH", f"/users/{ann}", {ENTERPRISE_USER: {"manager": {"value": boss}}})
    world.do("PATCH", f"/users/{report}", {ENTERPRISE_USER: {"manager": {"value": ann}}})
    world.do("POST", f"/users/{ann}/suspend")
    told = world.do("GET", f"/users/{ann}/offboarding")
    assert [each["name"] for each in told["handover"]["reports"]] == ["junior"]
    assert told["hand_over_to"]["id"] == boss


@line(37, "P4", "deleted for good, or suspended to keep the history")
def test_purged_or_suspended(world: World) -> None:
    ann, bob = world.made("ann", displayName="Ann Lee"), world.made("bob")
    world.do("DELETE", f"/users/{ann}", status=204)
    world.do("POST", f"/users/{bob}/suspend")
    world.service.later(days=15)
    service = world.service
    with service.database.writing() as conn:
        purge.strip(conn, service.workspaces["default"], [ann], service.now, 100)
        purge.purge(conn, service.workspaces["default"], [ann], service.now, service.ids)
    assert world.ask("GET", f"/users/{ann}").status_code == 404 and world.status(bob) == "suspended"
    assert "create" in world.record(ann), "that it was done stays"
    assert "Ann Lee" not in world.ask("GET", "/activity/export").text, "the person does not"


@line(38, "P4", "the password is changed in the profile, or by a link from the sign-in page")
def test_her_own_password(world: World) -> None:
    ann = world.made("ann", emails=[{"value": "ann@example.org"}])
    world.do("PUT", f"/users/{ann}/password", {"password": PASSWORD}, 204)
    world.do("PUT", f"/users/{ann}/password", {"password": BETTER, "current": PASSWORD}, 204)
    world.service.later(minutes=1)
    world.do("POST", "/password-resets/by-mail", {"userName": "ann@example.org"}, 202)
    world.deliver()
    token = world.token_of("/password-reset")
    assert world.fill("/password-reset", token, password=PASSWORD, again=PASSWORD).status_code == 200
    assert world.do("POST", "/verify-password", {"userName": "ann", "password": PASSWORD})["may_sign_in"] is True


# -- P5: a CRM with user and licence widgets -----------------------------------------------------------------------------------


@line(39, "P5", "added by e-mail and name; a mail goes out; the list updates")
def test_added_by_address_and_name(world: World) -> None:
    world.do("POST", "/invitations", {"email": "ann@example.org", "displayName": "Ann Lee"}, 201)
    world.deliver()
    assert world.office.asked == ["ann@example.org"]
    assert [(each["displayName"], each["status"]) for each in world.do("GET", "/users")["items"]] == [
        ("Ann Lee", "pending")
    ]


@line(40, "P5", "an entry of the table opens permissions, access, licences and groups")
def test_everything_of_one_user(world: World) -> None:
    ann = world.seated("ann")
    world.give(ann, "role", "viewer")
    world.do("POST", "/groups", {"displayName": "sales", "members": [ann]}, 201)
    told = world.do("GET", f"/users/{ann}/explain")
    assert {each["value"] for each in told["roles"]} == {"viewer", "clerk"}
    assert ([each["value"] for each in told["seats"]], [each["display"] for each in told["groups"]]) == (
        *(["internal"], ["sales"]),
    )
    assert {each["role"] for each in told["permissions"]} >= {"viewer", "clerk", None}


@line(41, "P5", "a member of user groups has their roles at once")
def test_member_of(world: World) -> None:
    ann = world.made("ann")
    group = world.do("POST", "/groups", {"displayName": "sales"}, 201)["id"]
    world.do("POST", f"/groups/{group}/members", {"add": [ann]})
    assert world.access(ann)["roles"] == ["clerk"]
    world.do("POST", f"/groups/{group}/members", {"remove": [ann]})
    assert world.access(ann)["roles"] == []


@line(42, "P5", "an administrator changes a user's password")
def test_an_admin_changes_a_password(world: World) -> None:
    boss, ann = world.made("boss", "admin"), world.made("ann", "member")
    token = world.as_(boss)
    world.do("PUT", f"/users/{ann}/password", {"password": PASSWORD, "must_change": True}, 204, token=token)
    told = world.do("POST", f"/users/{ann}/verify-password", {"password": PASSWORD})
    assert (told["valid"], told["must_change"]) == (True, True)


@line(43, "P5", "licences granted and revoked per user")
def test_licences(world: World) -> None:
    ann = world.seated("ann")
    world.do("POST", "/seats/crm/holders", {"user": ann})
    assert world.access(ann)["seats"] == ["crm", "internal"]
    world.do("DELETE", f"/seats/crm/holders/{ann}", status=204)
    assert world.access(ann)["seats"] == ["internal"]


@line(44, "P5", "menus are visible by module")
def test_menus(world: World) -> None:
    ann = world.made("ann")
    world.give(ann, "permission", "nav.reports")
    assert world.may(ann, "nav.reports", "nav.settings") == [True, False]
    world.take(ann, "permission", "nav.reports")
    assert world.may(ann, "nav.reports") == [False]


@line(45, "P5", "very specific restrictions inside modules")
def test_restrictions(world: World) -> None:
    ann = world.made("ann")
    for each in ("deals.*", "!deals.discount"):
        world.give(ann, "permission", each)
    assert world.may(ann, "deals.view", "deals.discount") == [True, False]


@line(46, "P5", "a quick toggle activates or deactivates a user")
def test_the_quick_toggle(world: World) -> None:
    ann = world.seated("ann")
    world.do("POST", f"/users/{ann}/deactivate")
    assert (world.status(ann), world.access(ann)["seats"]) == ("inactive", [])
    world.do("POST", f"/users/{ann}/reactivate")
    assert (world.status(ann), world.access(ann)["seats"]) == ("active", ["internal"])


def test_every_line_is_walked(database_url: str) -> None:
    assert sorted(WALKED) == list(LINES) and set(LATER) <= set(LINES)
