"""The life of accounts in any order, through every door there is: nobody's word is overwritten by another's writer.

An admin over the API, an identity provider over SCIM, a directory that is read, the application that reports sign-ins, and
time take turns on the same people. After each step whatever the writer does not own is exactly as it was; status, roles,
groups and seats are what the facts mean, as written down here a second time; and the store's invariants hold. In the end
everybody takes back what can be taken back, and all have what they had, as far as there are seats.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from door_stage import Directory
from syncd.core.actor import Actor
from syncd.core.change import Edit, GroupEdit, UserEdit
from syncd.core.connection import Access
from syncd.core.guards import VERBS, Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.core.seats import Pool
from syncd.core.signins import SignInPolicy
from syncd.core.state import STAGES, Link, User
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.reconcile import run as runs
from syncd.store import facts
from syncd.store.invariants import check
from syncd.timers import Timers
from web_service import PATCH_URN, Service
from web_service import rule as granting

UNLIMITED = Limits({kind: Limit(floor=10**6, number=10**6) for kind in VERBS})
LADDER = Ladder(timedelta(days=1), timedelta(days=2), timedelta(days=4), purge_after=None)
# Who states them: ann everybody, bob the provider, kim the directory, eve people.
SOURCES = {"ann": ("corp", "okta", "local"), "bob": ("okta",), "kim": ("corp",), "eve": ("local",)}
EMPLOYEES = {"ann", "bob", "kim"}
GROUPS = {"crm": "okta", "desk": "local"}
numbers = itertools.count(1)
anybody, somewhere = st.sampled_from([*SOURCES]), st.sampled_from([*GROUPS])
pushed, read = st.sampled_from(["ann", "bob"]), st.sampled_from(["ann", "kim"])


def workspace(name: str, seats: int) -> Workspace:
    """`seats` internal ones, and half as many for those of them who are in crm."""
    return Workspace(
        name,
        sources={
            "okta": SourcePolicy("okta", limits=UNLIMITED, access=Access(rate_per_s=1e9)),
            "corp": SourcePolicy("corp", kind="ldap", limits=UNLIMITED, ladder=LADDER),
            "local": SourcePolicy("local", kind="local", limits=UNLIMITED),
        },
        rules=(
            granting("staff", 'userType eq "Employee"', roles=("member",), seats=("internal",)),
            granting("crm", 'groups[display eq "crm"]', roles=("viewer",), seats=("crm",)),
        ),
        pools={
            "internal": Pool("internal", seats),
            "crm": Pool("crm", seats // 2, requires=("internal",), idle_after=timedelta(days=5)),
        },
        sign_ins=SignInPolicy(lock_after=2, lock_for=timedelta(hours=2)),
        purge_after=None,  # who is gone for good comes back by no way
    )


Facts = dict[str, Any]


def stated(user: User) -> Facts:
    """Every fact by its writer. What `local` says of a lock and of idle seats is the application's and time's."""
    found: Facts = {"hold": user.suspended, "deleted": user.deleted_at, "lock": user.locked_until}
    found |= {"reclaimed": user.reclaimed, "invited": user.invited}
    for source in ("local", "okta", "corp"):
        found[source] = [link for link in user.links if link.source == source]
        found[f"{source} groups"] = {each.group for each in user.memberships if each.origin == source}
    found["given"] = {(each.kind, each.value, each.expires_at) for each in user.grants if each.origin == "direct"}
    return found


def expected_status(user: User, now: datetime) -> str:
    """deleted > inactive > suspended > locked > active."""
    rungs = [STAGES.index(link.stage) if link.stage else -1 for link in user.links if link.source != "local"]
    lowest = min(rungs, default=-1)  # she falls with the last source that still shows her
    if user.deleted_at is not None or lowest >= STAGES.index("deleted"):
        return "deleted"
    ended = any(link.ends_at is not None and link.ends_at <= now for link in user.links)
    if ended or any(link.enabled is False for link in user.links) or lowest >= STAGES.index("deactivated"):
        return "inactive"
    if user.suspended is not None or lowest >= STAGES.index("suspended"):
        return "suspended"
    return "locked" if user.locked_until is not None and user.locked_until > now else "active"


class Accounts(RuleBasedStateMachine):
    service: Service

    def __init__(self) -> None:
        super().__init__()
        self.name = name = f"w{next(numbers)}"
        self.service.workspaces[name] = workspace(name, seats=2)
        self.token = self.service.make_token(workspace=name)
        self.directory = Directory()
        self.directory.hire("ann", "kim", employeeType="Employee")
        self.directory.hire("zed")  # so that the directory is never empty
        self.directory.teams["crew"] = {"zed"}
        self.groups = {}
        for group, source in GROUPS.items():
            self.groups[group] = self.service.ids()
            link = Link(source, group, values={"displayName": group})
            self.commit(GroupEdit(self.groups[group], source, create=True, link=link), source=source)
        self.people = {person: self.service.ids() for person in SOURCES}
        for person, sources in SOURCES.items():
            kind = {"userType": "Employee"} if person in EMPLOYEES else {}
            for source in sources:
                link = Link(source, person, values={"userName": person, **kind})
                self.commit(
                    UserEdit(self.people[person], source, create=source == sources[0], link=link), source=source
                )
        self.timers = Timers(self.service.database, {name: self.workspace}, lambda: self.service.now, self.service.ids)
        self.given: dict[str, dict[tuple[str, str], datetime | None]] = {person: {} for person in SOURCES}
        self.reconcile()
        self.known = self.users()

    @property
    def workspace(self) -> Workspace:
        return self.service.workspaces[self.name]

    def teardown(self) -> None:
        try:
            self.take_everything_back()
        finally:
            del self.service.workspaces[self.name]

    # -- the doors -------------------------------------------------------------------------------------------------------

    def commit(self, edit: Edit, source: str) -> None:
        self.service.commit(edit, source=source, workspace=self.name).check()

    def api(self, method: str, path: str, body: Any = None, **query: Any) -> bool:
        """Whether it was done; what is refused contradicts the state."""
        answer = self.service.ask(method, f"/api/v1{path}", body, self.token, **query)
        assert answer.status_code in (200, 201, 204, 404, 409), answer.text
        return answer.status_code < 300

    def scim(self, method: str, path: str, *operations: Any) -> bool:
        body = {"schemas": [PATCH_URN], "Operations": list(operations)} if operations else None
        answer = self.service.ask(method, path, body, self.token)
        assert answer.status_code in (200, 204, 400, 404), answer.text  # 400: a member who is deleted
        return answer.status_code < 300

    def reconcile(self) -> None:
        actor = Actor("run", "corp", self.name, source="corp")
        clock, ids = (lambda: self.service.now), self.service.ids
        mapping = self.directory.mapping
        database, workspace = self.service.database, self.workspace
        report = runs.reconcile(database, workspace, self.directory, mapping, actor, clock, ids, dry_run=False)
        assert report.status in ("applied", "clean") and not report.held, report

    def users(self) -> dict[str, User]:
        with self.service.database.reading() as conn:
            found = facts.load_users(conn, self.name, self.people.values(), self.workspace.precedence)
        return {person: found[id] for person, id in self.people.items()}

    # -- what must hold --------------------------------------------------------------------------------------------------

    def only(self, *owned: str, of: str | None = None) -> None:
        """Nobody's facts are others now but these, and of this person only; and everything follows from the facts."""
        before, self.known = self.known, self.users()
        for person, user in self.known.items():
            was, found = stated(before[person]), stated(user)
            mine = owned if of in (None, person) else ()
            others = [name for name in was if name not in mine and found[name] != was[name]]
            assert others == [], {name: (person, was[name], found[name]) for name in others}
        self.follows()

    def follows(self) -> None:
        now = self.service.now
        with self.service.database.reading() as conn:
            wrong = check(conn, self.workspace, now)
        assert wrong == [], wrong
        for person, user in self.known.items():
            assert user.status == expected_status(user, now), (person, user)
            live = {key for key, end in self.given[person].items() if end is None or end > now}
            assert {(kind, value) for kind, value, _ in stated(user)["given"]} == live
            self.has_what_is_hers(person, user, live)

    def has_what_is_hers(self, person: str, user: User, live: set[tuple[str, str]]) -> None:
        if user.status == "deleted":
            assert (user.groups, user.seats) == (frozenset(), ())
            return
        assert user.groups == {each.group for each in user.memberships}
        in_crm = self.groups["crm"] in user.groups
        roles = {value for kind, value in live if kind == "role"}
        roles |= {"member"} if person in EMPLOYEES else set()
        roles |= {"viewer"} if in_crm else set()
        assert {each.value for each in user.grants if each.kind == "role"} == roles
        seats = {value for kind, value in live if kind == "seat"}
        seats |= {"internal"} if person in EMPLOYEES else set()
        seats |= {"crm"} if in_crm else set()
        seated = user.status in ("active", "locked")
        assert {seat.pool for seat in user.seats} == (seats - set(user.reclaimed) if seated else set()), person

    # -- an admin --------------------------------------------------------------------------------------------------------

    @rule(who=anybody, lift=st.booleans())
    def hold(self, who: str, lift: bool) -> None:
        self.api("POST", f"/users/{self.people[who]}/{'unsuspend' if lift else 'suspend'}")
        self.only("hold", of=who)

    @rule(who=anybody, back=st.booleans())
    def deactivate(self, who: str, back: bool) -> None:
        self.api("POST", f"/users/{self.people[who]}/{'reactivate' if back else 'deactivate'}")
        self.only("local", of=who)

    @rule(who=anybody, back=st.booleans())
    def delete(self, who: str, back: bool) -> None:
        self.api("DELETE", f"/users/{self.people[who]}")
        self.only("deleted", of=who)
        if back:
            self.restore(who)

    @rule(who=anybody)
    def restore(self, who: str) -> None:
        """A connection that deleted her sees her again as it left her; an ended link keeps nobody whom others vouch for."""
        before = self.known[who]
        ended = [link.source for link in before.links if link.stage == "deleted"]
        self.api("POST", f"/users/{self.people[who]}/restore")
        self.only("deleted", *ended, of=who)
        for source in ended:
            was, found = before.link(source), self.known[who].link(source)
            assert was is not None and found is not None and found.values == was.values
            assert found.enabled == was.enabled or (found.stage, found.enabled) == ("deleted", None)

    @rule(who=anybody, days=st.sampled_from([None, 1, 3]))
    def leave(self, who: str, days: int | None) -> None:
        path = f"/users/{self.people[who]}/offboarding"
        if days is None:
            self.api("DELETE", path)
        else:
            self.api("PUT", path, {"at": (self.service.now + timedelta(days=days)).isoformat()})
        self.only("local", of=who)

    @rule(who=anybody, what=st.sampled_from([("role", "admin"), ("seat", "crm")]), hours=st.sampled_from([None, 1, 30]))
    def give(self, who: str, what: tuple[str, str], hours: int | None) -> None:
        end = None if hours is None else self.service.now + timedelta(hours=hours)
        body = {"kind": what[0], "value": what[1], **({"expires": end.isoformat()} if end else {})}
        if self.api("POST", f"/users/{self.people[who]}/grants", body):
            self.given[who][what] = end
        self.only("given", *(("reclaimed",) if what[0] == "seat" else ()), of=who)

    @rule(who=anybody, what=st.sampled_from([("role", "admin"), ("seat", "crm")]))
    def take(self, who: str, what: tuple[str, str]) -> None:
        if self.api("DELETE", f"/users/{self.people[who]}/grants", kind=what[0], value=what[1]):
            del self.given[who][what]
        self.only("given", of=who)

    @rule(who=anybody, group=somewhere, join=st.booleans())
    def put_into_group(self, who: str, group: str, join: bool) -> None:
        self.api("POST", f"/groups/{self.groups[group]}/members", {"add" if join else "remove": [self.people[who]]})
        self.only("local groups", of=who)

    # -- the application -------------------------------------------------------------------------------------------------

    @rule(who=anybody, outcome=st.sampled_from(["success", "failure", "failure"]))
    def sign_in(self, who: str, outcome: str) -> None:
        for _ in range(2 if outcome == "failure" else 1):
            self.api("POST", f"/users/{self.people[who]}/sign-ins", {"outcome": outcome})
        self.only("lock" if outcome == "failure" else "reclaimed", of=who)

    @rule(who=anybody)
    def unlock(self, who: str) -> None:
        self.api("POST", f"/users/{self.people[who]}/unlock")
        self.only("lock", of=who)

    # -- the provider ----------------------------------------------------------------------------------------------------

    @rule(who=pushed, active=st.booleans())
    def push_active(self, who: str, active: bool) -> None:
        self.scim("PATCH", f"Users/{self.people[who]}", {"op": "replace", "path": "active", "value": active})
        self.only("okta", of=who)

    @rule(who=pushed, title=st.sampled_from(["lead", "clerk"]))
    def push_value(self, who: str, title: str) -> None:
        self.scim("PATCH", f"Users/{self.people[who]}", {"op": "replace", "path": "title", "value": title})
        self.only("okta", of=who)

    @rule(who=pushed, active=st.booleans(), back=st.booleans())
    def push_delete(self, who: str, active: bool, back: bool) -> None:
        self.push_active(who, active)
        self.scim("DELETE", f"Users/{self.people[who]}")
        self.only("okta", "okta groups", "deleted", of=who)
        if back:
            self.restore(who)

    @rule(who=pushed, join=st.booleans())
    def push_member(self, who: str, join: bool) -> None:
        value = [{"value": self.people[who]}]
        self.scim(
            "PATCH",
            f"Groups/{self.groups['crm']}",
            {"op": "add" if join else "remove", "path": "members", "value": value},
        )
        self.only("okta groups", of=who)

    # -- the directory ---------------------------------------------------------------------------------------------------

    @rule(who=read, what=st.sampled_from(["disable", "enable", "fire", "hire", "join", "retire"]))
    def directory_says(self, who: str, what: str) -> None:
        match what:
            case "disable":
                self.directory.disabled |= {who}
            case "enable":
                self.directory.disabled -= {who}
            case "fire":
                self.directory.people.pop(who, None)
            case "hire":
                self.directory.hire(who, employeeType="Employee")
            case "join":
                self.directory.teams["crew"] ^= {who}
            case _:
                pass  # it says what it said
        self.reconcile()
        self.only("corp", "corp groups")

    # -- time ------------------------------------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([-3, 1, 3, 25, 80, 80]))
    def pass_time(self, hours: int) -> None:
        """Locks and end dates stay as they were stated; what has expired goes, and seats that nobody uses."""
        self.service.later(hours=hours)
        self.timers.tick()
        for given in self.given.values():
            for key in [key for key, end in given.items() if end is not None and end <= self.service.now]:
                del given[key]
        self.only("given", "reclaimed")

    # -- and back --------------------------------------------------------------------------------------------------------

    def take_everything_back(self) -> None:
        unlimited = {name: replace(pool, limit=None) for name, pool in self.workspace.pools.items()}
        self.service.workspaces[self.name] = replace(self.workspace, pools=unlimited)
        self.directory.hire("ann", "kim", employeeType="Employee")
        self.directory.disabled.clear()
        self.reconcile()
        for who, id in self.people.items():
            for action in ("restore", "reactivate", "unsuspend", "unlock"):
                self.api("POST", f"/users/{id}/{action}")
            self.api("DELETE", f"/users/{id}/offboarding")
            self.api("POST", f"/users/{id}/sign-ins", {"outcome": "success"})
            if who in ("ann", "bob"):
                self.scim("PATCH", f"Users/{id}", {"op": "replace", "path": "active", "value": True})
        actor = Actor("cli", "root", self.name, source="rules")
        database, clock = self.service.database, lambda: self.service.now
        runs.rederive(database, self.workspace, actor, clock, self.service.ids, dry_run=False)
        before, self.known = self.known, self.users()
        self.follows()
        for who, user in self.known.items():
            assert (user.status, user.reclaimed) == ("active", ()), (who, user)
            for name in ("local groups", "given"):
                assert stated(user)[name] == stated(before[who])[name], who
            waiting = [seat.pool for seat in user.seats if not seat.held]
            assert waiting == [] or (waiting == ["crm"] and who not in EMPLOYEES), "crm requires a seat in internal"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(f"sqlite:///{tmp_path}/syncd.db")
    made.web = made.application(token_cache_s=3600)
    yield made
    made.close()


def test_nobody_overwrites_what_another_stated_and_everything_comes_back(service: Service) -> None:
    machine = type("Machine", (Accounts,), {"service": service})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(5, settings().max_examples // 12),
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
