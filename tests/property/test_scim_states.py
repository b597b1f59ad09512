"""Any valid sequence of requests leaves what plain dictionaries say (scim_model.py): every answer's status, every document,
every list, and versions that move exactly when something changed.

After each step all users and groups are read again. One database for all examples, a workspace for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from contract.scim.conftest import BASE, GROUP_URN, PATCH_URN, USER_URN, Service
from scim_model import DEPARTMENT, SIMPLE, Document, Model, Operation, fold
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.scim import dialects
from syncd.store.invariants import check

BULK_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ENTERPRISE = DEPARTMENT.rpartition(":")[0]
NAMES = ["ann", "Ann", "bob", "cy", "straße", "STRASSE", "Ähm", "o'x"]
WORDS = ["a", "B", "ab", "Äb", "7"]
STALE = 'W/"0"'
numbers = itertools.count(1)

names, words = st.sampled_from(NAMES), st.sampled_from(WORDS)
external_ids = st.sampled_from(["x1", "x2", "X1"])
emails = st.lists(
    st.fixed_dictionaries({"value": st.sampled_from(["a@x", "b@x", "c@y"]), "type": st.sampled_from(["work", "home"])}),
    min_size=1,
    max_size=3,
    unique_by=lambda each: (each["value"], each["type"]),
).flatmap(lambda found: st.sampled_from([found, [found[0] | {"primary": True}, *found[1:]]]))
optional: dict[str, Any] = {
    **dict.fromkeys(SIMPLE, words),
    "externalId": external_ids,
    "active": st.booleans(),
    "emails": emails,
}
people = st.fixed_dictionaries({"userName": names}, optional=optional)
on_people = st.one_of(
    st.tuples(st.sampled_from(["add", "replace"]), st.sampled_from(SIMPLE), words),
    st.tuples(st.just("remove"), st.sampled_from([*SIMPLE, "externalId", "active", "emails", "userName"]), st.none()),
    st.tuples(st.just("replace"), st.sampled_from(SIMPLE), st.none()),
    st.tuples(st.just("replace"), st.just("userName"), names),
    st.tuples(st.just("replace"), st.just("active"), st.booleans()),
    st.tuples(st.just("replace"), st.just("externalId"), external_ids),
    st.tuples(st.sampled_from(["add", "replace"]), st.just("emails"), emails),
    st.tuples(st.just("remove"), st.sampled_from(['emails[type eq "work"]', 'emails[type eq "home"]']), st.none()),
    st.tuples(st.just("replace"), st.just('emails[type eq "work"].value'), st.sampled_from(["a@x", "d@z"])),
    st.tuples(
        st.sampled_from(["add", "replace"]),
        st.none(),
        st.fixed_dictionaries({}, optional=dict.fromkeys(["title", "displayName"], words)),
    ),
)


# -- drawing what to do ---------------------------------------------------------------------------------------------------


def operations(model: Model, new: str) -> st.SearchStrategy[Operation]:
    """One on this state. `new`: how the model calls what a POST makes."""
    ids = {kind: [*model.of(kind), "gone"] for kind in ("Users", "Groups")}
    known = [*model.Users, *model.Groups]
    # Rarely somebody who is not there.
    members = st.lists(st.sampled_from(known * 3 + ["nobody"]) if known else st.just("nobody"), max_size=3, unique=True)
    groups = st.fixed_dictionaries({"displayName": names}, optional={"members": members, "externalId": external_ids})
    on_groups = st.one_of(
        st.tuples(st.sampled_from(["add", "replace"]), st.just("members"), members),
        st.tuples(
            st.just("remove"), st.sampled_from(["members", *(f'members[value eq "{id}"]' for id in known)]), st.none()
        ),
        st.tuples(
            st.sampled_from(["replace", "replace", "add"]),
            st.sampled_from(
                [f'members[value eq "{id}"]{part}' for id in known or ["nobody"] for part in ("", ".value")]
            ),
            st.sampled_from(known * 3 + ["nobody"]),
        ),
        st.tuples(st.just("replace"), st.just("displayName"), names),
        st.tuples(st.just("remove"), st.sampled_from(["externalId", "displayName"]), st.none()),
    )
    stale = st.sampled_from([False] * 5 + [True])

    def of(kind: str, documents: Any, patches: Any) -> st.SearchStrategy[Operation]:
        target = st.sampled_from(ids[kind][::-1] if len(ids[kind]) == 1 else ids[kind])
        several = st.lists(patches, min_size=1, max_size=3).map(tuple)
        return st.one_of(
            st.builds(Operation, st.just("POST"), st.just(kind), st.just(new), documents),
            st.builds(Operation, st.just("PUT"), st.just(kind), target, documents, stale=stale),
            st.builds(Operation, st.just("PATCH"), st.just(kind), target, patch=several, stale=stale),
            st.builds(Operation, st.just("PATCH"), st.just(kind), target, patch=several, stale=stale),
            st.builds(Operation, st.just("DELETE"), st.just(kind), target, stale=stale),
        )

    return of("Users", people, on_people) | of("Groups", groups, on_groups)


# -- what is sent ---------------------------------------------------------------------------------------------------------


def nested(document: Document) -> Document:
    found: Document = {}
    for path, value in document.items():
        if path == DEPARTMENT:
            found[ENTERPRISE] = {"department": value}
        elif path == "members":
            found["members"] = [{"value": id} for id in value]
        else:
            top, _, part = path.partition(".")
            found[top] = {part: value} if part else value
    return found


def body(op: Operation) -> Document | None:
    if op.method == "DELETE":
        return None
    if op.method == "PATCH":
        listed = []
        for verb, path, value in op.patch:
            sent = [{"value": id} for id in value] if path == "members" and value is not None else value
            if path is not None and path.startswith("members[") and path.endswith("]"):
                sent = {"value": value}
            named = {} if path is None else {"path": path}
            listed.append({"op": verb, **named, **({} if verb == "remove" else {"value": sent})})
        return {"schemas": [PATCH_URN], "Operations": listed}
    urns = [USER_URN if op.kind == "Users" else GROUP_URN, *([ENTERPRISE] if DEPARTMENT in op.document else [])]
    return {"schemas": urns, **nested(op.document)}


# -- what is shown --------------------------------------------------------------------------------------------------------


def shown(model: Model, id: str) -> Document:
    """The resource as every answer has it, but `meta`; lists in an order of their own."""
    at = f"{BASE}/scim/v2"
    if id in model.Users:
        document = model.Users[id]
        groups = [
            {"value": group, "$ref": f"{at}/Groups/{group}", "display": model.name(group), "type": how}
            for group, how in sorted(model.groups_of(id).items())
        ]
        extended = [ENTERPRISE] if DEPARTMENT in document else []
        return {
            "schemas": [USER_URN, *extended],
            "id": id,
            **nested(document),
            **({"groups": groups} if groups else {}),
        }
    members = [
        {
            "value": member,
            "$ref": f"{at}/{'Users' if member in model.Users else 'Groups'}/{member}",
            "type": "User" if member in model.Users else "Group",
            "display": model.name(member),
        }
        for member in sorted(model.Groups[id]["members"])
    ]
    own = nested({name: value for name, value in model.Groups[id].items() if name != "members"})
    return {"schemas": [GROUP_URN], "id": id, **own, **({"members": members} if members else {})}


def comparable(resource: Document) -> Document:
    found = {name: value for name, value in resource.items() if name != "meta"}
    for name in ("groups", "members"):
        if name in found:
            found[name] = sorted(found[name], key=lambda each: str(each["value"]))
    return found


def without_names(document: Document) -> Document:
    """Another's new name moves nobody's version."""
    listed = {name: document[name] for name in ("groups", "members") if name in document}
    return document | {
        name: [{part: each[part] for part in each if part != "display"} for each in found]
        for name, found in listed.items()
    }


# -- conditions -----------------------------------------------------------------------------------------------------------

Condition = tuple[str, Callable[[Model, str], bool]]


def _text(path: str, exact: bool = False) -> st.SearchStrategy[Condition]:
    key = str if exact else fold
    tests: dict[str, Callable[[str, str], bool]] = {
        "eq": str.__eq__,
        "co": lambda has, text: text in has,
        "sw": str.startswith,
        "ew": str.endswith,
        "gt": str.__gt__,
        "le": str.__le__,
    }

    def condition(op: str, text: str) -> Condition:
        def holds(model: Model, id: str) -> bool:
            value = (model.Users.get(id) or model.Groups.get(id) or {}).get(path)
            if op == "ne":
                return value is None or key(value) != key(text)
            return value is not None and tests[op](key(value), key(text))

        return f'{path} {op} "{text}"', holds

    return st.builds(condition, st.sampled_from([*tests, "ne"]), st.sampled_from([*NAMES, *WORDS, "x1"]))


def _has(path: str) -> Condition:
    return f"{path} pr", lambda model, id: bool((model.Users.get(id) or model.Groups.get(id) or {}).get(path))


def _email(type: str, text: str, path: bool) -> Condition:
    def holds(model: Model, id: str) -> bool:
        found = model.Users[id].get("emails", [])
        return any(text in each["value"] and (not path or each["type"] == type) for each in found)

    return f'emails[type eq "{type}" and value co "{text}"]' if path else f'emails co "{text}"', holds


def _active(value: bool) -> Condition:
    return f"active eq {str(value).lower()}", lambda model, id: model.Users[id]["active"] is value


def conditions(model: Model, kind: str) -> st.SearchStrategy[Condition]:
    someone = st.sampled_from([*model.Users, *model.Groups, "nobody"])
    if kind == "Users":
        leaves = st.one_of(
            *(_text(path) for path in ("userName", *SIMPLE)),
            _text("externalId", exact=True),
            st.sampled_from([_has(path) for path in ("title", DEPARTMENT, "emails", "externalId")]),
            st.builds(_email, st.sampled_from(["work", "home"]), st.sampled_from(["a@", "x", "@"]), st.booleans()),
            st.builds(_active, st.booleans()),
            someone.map(lambda group: (f'groups.value eq "{group}"', lambda model, id: group in model.groups_of(id))),
            someone.map(lambda other: (f'id eq "{other}"', lambda model, id: id == other)),
        )
    else:
        leaves = st.one_of(
            _text("displayName"),
            st.just(_has("members")),
            someone.map(lambda one: (f'members eq "{one}"', lambda model, id: one in model.Groups[id]["members"])),
        )

    def several(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        return st.one_of(
            st.builds(lambda a, b: (f"({a[0]}) and {b[0]}", lambda m, i: a[1](m, i) and b[1](m, i)), inner, leaves),
            st.builds(lambda a, b: (f"({a[0]}) or {b[0]}", lambda m, i: a[1](m, i) or b[1](m, i)), inner, leaves),
            inner.map(lambda a: (f"not ({a[0]})", lambda m, i: not a[1](m, i))),
        )

    return st.recursive(leaves, several, max_leaves=3)


# -- the machine ----------------------------------------------------------------------------------------------------------


class Requests(RuleBasedStateMachine):
    service: Service

    def __init__(self) -> None:
        super().__init__()
        name = f"w{next(numbers)}"
        policy = SourcePolicy("okta", tolerances=dialects.POLICIES["rfc"])
        self.service.workspaces[name] = self.workspace = Workspace(name, sources={"okta": policy})
        self.token = self.service.make_token(workspace=name)
        self.model = Model()
        self.metas: dict[str, Document] = {}
        self.calls = itertools.count(1)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return self.service.ask(method, path, body, self.token, **more)

    def teardown(self) -> None:
        del self.service.workspaces[self.workspace.name]
        with self.service.database.reading() as conn:
            assert check(conn, self.workspace, self.service.now) == []

    # -- rules ------------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), dry=st.sampled_from([False] * 6 + [True]), again=st.booleans())
    def one(self, data: st.DataObject, dry: bool, again: bool) -> None:
        op = data.draw(operations(self.model, "new"))
        status, after = self.model.after(op)
        headers = {"If-Match": STALE} if op.stale else {}
        if not op.stale and op.id in self.metas and again:
            headers["If-Match"] = self.metas[op.id]["version"]
        path = op.kind if op.method == "POST" else f"{op.kind}/{op.id}"
        answer = self.ask(op.method, path, body(op), headers=headers | ({"X-Dry-Run": "true"} if dry else {}))
        assert answer.status_code == status, (op, answer.text)
        if dry:
            self.agree(self.model)
            return
        made = answer.json()["id"] if status == 201 else ""
        after = renamed(after, {"new": made}) if made else after
        self.agree(after)
        if status in (200, 201):
            id = made or op.id
            assert comparable(answer.json()) == shown(after, id) and answer.json()["meta"] == self.metas[id]

    @rule(
        data=st.data(), most=st.sampled_from([None, None, 1, 2]), rehearsed=st.sampled_from([False, False, False, True])
    )
    def bulk(self, data: st.DataObject, most: int | None, rehearsed: bool) -> None:
        model, sent, expected, errors = self.model, [], [], 0
        steps = []
        for number in range(data.draw(st.integers(1, 5))):
            op = data.draw(operations(model, f"bulkId:{number}"))
            own = {"bulkId": str(number)} if op.method == "POST" else {}
            path = f"/{op.kind}" if own else f"/{op.kind}/{op.id}"
            conditional = {"version": STALE} if op.stale else {}
            content = {} if op.method == "DELETE" else {"data": body(op)}
            sent.append({"method": op.method, "path": path, **own, **conditional, **content})
            if most is None or errors < most:
                status, model = model.after(op)
                expected.append(status)
                steps.append(model)
                errors += status >= 400
        request = {"schemas": [BULK_URN], "Operations": sent, **({"failOnErrors": most} if most else {})}
        if rehearsed:
            foreseen = self.ask("POST", "Bulk", request, headers={"X-Dry-Run": "true"})
            assert [int(each["status"]) for each in foreseen.json()["Operations"]] == expected, (request, foreseen.text)
            self.agree(self.model)
        answer = self.ask("POST", "Bulk", request)
        assert answer.status_code == 200, answer.text
        results = answer.json()["Operations"]
        assert [int(each["status"]) for each in results] == expected, (request, results)
        made = {
            f"bulkId:{each['bulkId']}": each["location"].rpartition("/")[2]
            for each in results
            if each["status"] == "201"
        }
        self.agree(renamed(model, made), *(renamed(step, made) for step in steps))

    @rule(data=st.data(), kind=st.sampled_from(["Users", "Groups"]), count=st.integers(1, 3), cursor=st.booleans())
    def list_(self, data: st.DataObject, kind: str, count: int, cursor: bool) -> None:
        filter, holds = data.draw(conditions(self.model, kind))
        name = "userName" if kind == "Users" else "displayName"
        by = data.draw(st.sampled_from([None, name, *(["title"] if kind == "Users" else [])]))
        descending = by is not None and data.draw(st.booleans())
        there = self.model.of(kind)
        wanted = [id for id in there if holds(self.model, id)]
        if by is not None:
            valued = sorted(
                (id for id in wanted if by in there[id]), key=lambda id: fold(there[id][by]), reverse=descending
            )
            without = [id for id in wanted if by not in there[id]]
            wanted = [*without, *valued] if descending else [*valued, *without]
        query: dict[str, Any] = {"filter": filter, "count": count}
        query |= {} if by is None else {"sortBy": by, "sortOrder": "descending" if descending else "ascending"}
        found = [*self.pages(kind, query, len(wanted), cursor)]
        assert found == wanted, (query, found, wanted)

    def pages(self, kind: str, query: Document, total: int, cursor: bool) -> Iterator[str]:
        place: Document = {"cursor": ""} if cursor else {"startIndex": 1}
        while place:
            answer = self.ask("GET", kind, **query, **place)
            assert answer.status_code == 200, (query, answer.text)
            page = answer.json()
            assert page["totalResults"] == total, (query, page)
            ids = [each["id"] for each in page["Resources"]]
            yield from ids
            if cursor:
                place = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}
            else:
                place = {"startIndex": place["startIndex"] + len(ids)} if ids else {}

    @rule(data=st.data())
    def read_again(self, data: st.DataObject) -> None:
        """One by one as in lists; and nothing to whom has it."""
        if not self.metas:
            return
        id = data.draw(st.sampled_from([*self.metas]))
        path = f"{'Users' if id in self.model.Users else 'Groups'}/{id}"
        answer = self.ask("GET", path)
        assert comparable(answer.json()) == shown(self.model, id) and answer.json()["meta"] == self.metas[id]
        version = self.metas[id]["version"]
        assert answer.headers["etag"] == version
        assert self.ask("GET", path, headers={"If-None-Match": version}).status_code == 304
        assert self.ask("GET", path, headers={"If-None-Match": STALE}).status_code == 200

    # -- everything, after each step --------------------------------------------------------------------------------------

    def agree(self, after: Model, *steps: Model) -> None:
        """`steps`: the states on the way, each with the ids that the server gave."""
        listed = [self.ask("GET", kind, count=1000).json() for kind in ("Users", "Groups")]
        found = {each["id"]: each for page in listed for each in page["Resources"]}
        wanted = {id: shown(after, id) for id in [*after.Users, *after.Groups]}
        assert [*found] == [*wanted]
        for id, document in wanted.items():
            assert comparable(found[id]) == document
        metas = {id: each["meta"] for id, each in found.items()}
        way = [self.model, *steps, after]
        for id, meta in metas.items():
            seen = [without_names(shown(model, id)) for model in way if id in model.Users or id in model.Groups]
            moves = sum(before != now for before, now in itertools.pairwise(seen))
            last = self.metas.get(id)
            assert _number(meta) == (_number(last) if last else 1) + moves, (seen, last, meta)
            assert last is None or (meta["lastModified"] != last["lastModified"]) is (moves > 0)
        self.model, self.metas = after, metas
        self.service.later(seconds=1)


def _number(meta: Document) -> int:
    return int(meta["version"].removeprefix('W/"').removesuffix('"'))


def renamed(model: Model, ids: dict[str, str]) -> Model:
    """With the ids that the server gave."""
    users = {ids.get(id, id): document for id, document in model.Users.items()}
    groups = {
        ids.get(id, id): document | {"members": {ids.get(each, each) for each in document["members"]}}
        for id, document in model.Groups.items()
    }
    return replace(model, Users=users, Groups=groups)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(f"sqlite:///{tmp_path}/syncd.db")
    yield made
    made.close()


def test_any_requests_leave_what_the_model_says(service: Service) -> None:
    machine = type("Machine", (Requests,), {"service": service})
    most = max(5, settings().max_examples // 4)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=most, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
