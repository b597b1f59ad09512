"""`sees: own`: two stores that differ in what other sources made answer every request of the connection alike."""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from syncd.core.schema import ENTERPRISE_USER
from syncd.core.workspace import SourcePolicy
from web_service import GROUP_URN, PATCH_URN, USER_URN, Service

BULK_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ANN, BOB, CREW, TEAM = "id-001001", "id-002001", "id-004001", "id-005001"
HIDDEN_USER, *HIDDEN_GROUPS = "id-010001", "id-011001", "id-012001", "id-013001"
MANAGER = f"{ENTERPRISE_USER}:manager"
NAMES = [
    *("userName", "groups", "groups.value", "groups.display", "groups.type", "members", "members.value"),
    *("members.display", "displayName", "id", "externalId", "active", MANAGER, f"{MANAGER}.value", "meta.location"),
]
VALUES = [*("hidden", "theirs", "over", "crew", "ann", "direct", "User"), HIDDEN_USER, *HIDDEN_GROUPS, ANN, CREW, TEAM]


class Side:
    """The same of okta in both; in one of them there are people and groups of entra, also around those of okta."""

    def __init__(self, path: Path, *, others: bool) -> None:
        self.service = Service(f"sqlite:///{path}")
        workspace = self.service.workspaces["default"]
        sources = {**workspace.sources, "okta": SourcePolicy("okta", sees="own"), "entra": SourcePolicy("entra")}
        self.service.workspaces["default"] = replace(workspace, sources=sources, rules=())
        self.service.web = self.service.application()
        entra = self.service.make_token(source="entra")
        self._user(ANN, "ann")
        self._user(BOB, "bob")
        self._group(CREW, "crew", ANN, BOB)
        self._group(TEAM, "team", CREW)
        if others:
            self._user(HIDDEN_USER, "hidden", entra)
            for id, name, member in zip(HIDDEN_GROUPS, ("theirs", "over", "crew"), (ANN, CREW, BOB), strict=True):
                self._group(id, name, member, token=entra)
        chief = {"op": "add", "path": MANAGER, "value": {"value": HIDDEN_USER}}
        assert self.service.patch(f"Users/{ANN}", chief).status_code == 200

    def ids_from(self, n: int) -> None:
        self.service._count = itertools.count(n)

    def _user(self, id: str, name: str, token: str = "") -> None:
        self.ids_from(int(id[3:]) - 1)  # the request has one of its own
        assert self.service.user(name, token)["id"] == id

    def _group(self, id: str, name: str, *members: str, token: str = "") -> None:
        self.ids_from(int(id[3:]) - 1)
        assert self.service.group(name, *members, token=token)["id"] == id

    def ask(self, method: str, path: str, body: Any, query: dict[str, str]) -> tuple[int, str]:
        answer = self.service.ask(method, path, body, **query)
        return answer.status_code, re.sub(r'W/\\?"\d+\\?"|"\d{4}-[^"]*Z"|"nextCursor":"[^"]*"', "*", answer.text)


class Asking:
    def __init__(self, seed: int) -> None:
        self.any = random.Random(seed)

    def condition(self) -> str:
        compared = f"{self.any.choice(('eq', 'ne', 'co', 'sw', 'gt'))} {json.dumps(self.any.choice(VALUES))}"
        one = f"{self.any.choice(NAMES)} {compared}"
        of_list = (
            f"{self.any.choice(('groups', 'members'))}[{self.any.choice(('value', 'display', 'type'))} {compared}]"
        )
        either = f"{one} {self.any.choice(('and', 'or'))} {self.any.choice(NAMES)} pr"
        return self.any.choice((one, either, f"not ({one})", of_list, f"not ({of_list})"))

    def operation(self, of_group: bool) -> dict[str, Any]:
        if not of_group:
            chief = {"op": "add", "path": MANAGER, "value": {"value": self.any.choice((HIDDEN_USER, "nobody"))}}
            active = {"op": "replace", "path": "active", "value": self.any.random() < 0.5}
            return self.any.choice((chief, active, {"op": "replace", "path": "title", "value": "x"}))
        whom = [{"value": self.any.choice((ANN, HIDDEN_USER, *HIDDEN_GROUPS))}]
        by = f'members[{self.any.choice(("value", "display"))} eq "{self.any.choice(VALUES)}"]'
        name = {"op": "replace", "path": "displayName", "value": self.any.choice(("theirs", "crew"))}
        remove = {"op": "remove", "path": by}
        return self.any.choice(
            ({"op": self.any.choice(("add", "replace")), "path": "members", "value": whom}, remove, name)
        )

    def request(self) -> tuple[str, str, Any, dict[str, str]]:
        of_group = self.any.random() < 0.5
        users, groups = (ANN, BOB, HIDDEN_USER), (CREW, TEAM, *HIDDEN_GROUPS)
        path = f"Groups/{self.any.choice(groups)}" if of_group else f"Users/{self.any.choice(users)}"
        patch = {"schemas": [PATCH_URN], "Operations": [self.operation(of_group)]}
        match self.any.choice(("list", "list", "list", "get", "patch", "patch", "put", "delete", "bulk")):
            case "get":
                return "GET", path, None, {}
            case "patch":
                return "PATCH", path, patch, {}
            case "put":
                return "PUT", path, {"schemas": [USER_URN], "userName": self.any.choice(("ann", "bob"))}, {}
            case "delete":
                return "DELETE", self.any.choice((f"Users/{HIDDEN_USER}", f"Groups/{HIDDEN_GROUPS[0]}")), None, {}
            case "bulk":
                members = [{"value": self.any.choice((HIDDEN_USER, *HIDDEN_GROUPS))}]
                new = {"schemas": [GROUP_URN], "displayName": "new", "members": members}
                operations = [
                    {"method": "PATCH", "path": f"/{path}", "data": patch},
                    {"method": "POST", "path": "/Groups", "bulkId": "x", "data": new},
                ]
                return "POST", "Bulk", {"schemas": [BULK_URN], "Operations": operations}, {}
        query = {"filter": self.condition()} if self.any.random() < 0.8 else {"sortBy": self.any.choice(NAMES)}
        more = self.any.choice(({}, {"count": "1", "cursor": ""}, {"startIndex": "2"}, {"count": "0"}))
        return "GET", self.any.choice(("Users", "Groups", "")), None, query | more


def test_what_others_made_makes_no_difference(tmp_path: Path) -> None:
    sides = [Side(tmp_path / "others.db", others=True), Side(tmp_path / "alone.db", others=False)]
    asking, statuses = Asking(20261129), set()
    try:
        for number in range(160):
            request = asking.request()
            for side in sides:
                side.ids_from(100_000 + 1000 * number)
            among_others, alone = (side.ask(*request) for side in sides)
            assert among_others == alone, request
            statuses.add(alone[0])
    finally:
        for side in sides:
            side.service.close()
    assert statuses >= {200, 204, 400, 404}
