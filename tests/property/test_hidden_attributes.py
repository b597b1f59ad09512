"""Whoever sees some attributes only: two stores that differ in the others answer every request alike."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import httpx

from syncd.core.schema import ENTERPRISE_USER
from web_service import GROUP_URN, PATCH_URN, USER_URN, Service

BULK_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ALLOW = ["users:read:userName", "users:update:active", "groups:read:displayName", "groups:update:displayName"]
MAIL = {"value": "a@x.org", "type": "work"}
NAMES = [
    *(
        "title",
        "emails",
        "emails.value",
        "name",
        "name.familyName",
        "externalId",
        "active",
        "userName",
        "groups",
        "meta",
    ),
    *("roles", "locale", "members", "displayName", "id", "schemas", "password", "nope", "manager", f"{USER_URN}:title"),
    *(ENTERPRISE_USER, f"{ENTERPRISE_USER}:department", f"{ENTERPRISE_USER}:manager.value"),
]
VALUES: list[Any] = [
    *("clerk", "boss", "a@x.org", "Sales", "e1", True, False, None, "", [], {}, [MAIL], {"familyName": "Lee"}),
    *({"value": "id-001000"}, {ENTERPRISE_USER: {"department": "Sales"}}, {"title": "clerk"}, {"emails": [MAIL]}),
    *({"active": True, "title": "boss"}, {"name.familyName": "Lee"}, [{"value": "id-003000"}], [{"value": "nobody"}]),
]
FULL = {"title": "clerk", "displayName": "Ann", "emails": [MAIL], "name": {"familyName": "Lee"}, "externalId": "e1"}
FULL |= {"roles": [{"value": "r"}], ENTERPRISE_USER: {"department": "Sales", "manager": {"value": "id-001000"}}}
OTHER = {"title": "boss", "emails": [{"value": "z@x.org"}], "locale": "de", ENTERPRISE_USER: {"costCenter": "9"}}


class Side:
    """One of the two stores: the same people, groups and ids, and different things that the token may not see."""

    def __init__(self, url: str, hidden: dict[str, Any], *, in_crew: bool) -> None:
        self.service = Service(url)
        self._made("Users", 1000, {"schemas": [USER_URN], "userName": "boss"})
        ann = {"schemas": [USER_URN, ENTERPRISE_USER], "userName": "ann", "active": True, **hidden}
        self._made("Users", 3000, ann)
        members = [{"value": "id-003000"}] if in_crew else []
        self._made("Groups", 4000, {"schemas": [GROUP_URN], "displayName": "crew", "members": members})
        self.token = self.service.make_token(allow=ALLOW)

    def _made(self, path: str, id: int, body: dict[str, Any]) -> None:
        self.service._count = itertools.count(id - 1)  # the request has one of its own
        assert self.service.ask("POST", path, body).json()["id"] == f"id-{id:06d}"

    def ask(self, method: str, path: str, body: Any, query: dict[str, str]) -> tuple[int, str]:
        answer: httpx.Response = self.service.ask(method, path, body, token=self.token, **query)
        return answer.status_code, re.sub(r'W/\\?"\d+\\?"|"\d{4}-[^"]*Z"', "*", answer.text)


class Asking:
    def __init__(self, seed: int) -> None:
        self.any = random.Random(seed)

    def operation(self) -> dict[str, Any]:
        name, value = self.any.choice(NAMES), json.dumps(self.any.choice(("work", "a@x.org", "r", "id-003000", True)))
        list_ = self.any.choice(("emails", "roles", "members", "groups"))
        where = (
            f"{list_}[{self.any.choice(('type', 'value', 'display'))} {self.any.choice(('eq', 'ne', 'sw'))} {value}]"
        )
        path = self.any.choice((name, name, where, f"{where}.value", None))
        made = {"op": self.any.choice(("add", "replace", "remove", "Replace")), "value": self.any.choice(VALUES)}
        return {k: v for k, v in {**made, "path": path}.items() if k != "path" or v is not None}

    def patch(self, n: int = 1) -> dict[str, Any]:
        return {"schemas": [PATCH_URN], "Operations": [self.operation() for _ in range(n)]}

    def request(self) -> tuple[str, str, Any, dict[str, str]]:
        path = self.any.choice(("Users/id-003000", "Users/id-003000", "Groups/id-004000"))
        query = {}
        if self.any.random() < 0.3:
            query = {self.any.choice(("attributes", "excludedAttributes")): ",".join(self.any.sample(NAMES, 2))}
        match self.any.choice(("patch", "patch", "patch", "put", "get", "list", "list", "bulk")):
            case "patch":
                return "PATCH", path, self.patch(self.any.choice((1, 2))), query
            case "put":
                said = {"schemas": [USER_URN, GROUP_URN], "userName": "ann", "displayName": "crew", "title": "clerk"}
                return "PUT", path, said | {"schemas": [USER_URN if "Users" in path else GROUP_URN]}, query
            case "get":
                return "GET", path, None, query
            case "bulk":
                each = {"method": "PATCH", "path": f"/{path}", "data": self.patch()}
                return "POST", "Bulk", {"schemas": [BULK_URN], "Operations": [each]}, {}
        asked = f'{self.any.choice(NAMES)} {self.any.choice(("eq", "co", "ne"))} "{self.any.choice(("clerk", "ann", "Lee"))}"'
        more = {"filter": asked} if self.any.random() < 0.7 else {"sortBy": self.any.choice(NAMES)}
        return "GET", path.partition("/")[0], None, query | more


def test_what_a_token_may_not_see_makes_no_difference(tmp_path: Any) -> None:
    sides = [
        Side(f"sqlite:///{tmp_path}/full.db", FULL, in_crew=True),
        Side(f"sqlite:///{tmp_path}/other.db", OTHER, in_crew=False),
    ]
    asking, statuses = Asking(20261129), set()
    try:
        for _ in range(160):
            request = asking.request()
            full, other = (side.ask(*request) for side in sides)
            assert full == other, request
            statuses.add(full[0])
    finally:
        for side in sides:
            side.service.close()
    assert statuses >= {200, 400, 403}
