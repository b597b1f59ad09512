"""SCIM requests at a fixed rate, in a process of its own: `python -m soak.load PLAN RESULT`.

Open loop: each request has its moment, whether the one before was answered or not, and its latency counts from that moment,
so that a server that stalls is charged for all who would have waited. What was acknowledged is remembered and compared
with what the server says in the end.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MIX = {
    "get": 35, "filter": 20, "list": 10, "post": 8, "patch_active": 10, "patch_members": 8, "put": 5, "delete": 4,
}  # fmt: skip
WRITES = ("post", "patch_active", "patch_members", "put", "delete")
USERS, GROUPS = 25, 4  # of a connection at the start


@dataclass
class Space:
    """A workspace as its identity provider knows it: what was acknowledged, and what is under way."""

    name: str
    token: str
    users: dict[str, dict[str, Any]] = field(default_factory=dict)  # id -> userName, active, title
    groups: dict[str, set[str]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    made: int = 0

    def free(self, ids: Any) -> list[str]:
        return [id for id in ids if id not in self.busy]


@dataclass
class Asked:
    method: str
    path: str
    body: Any = None
    busy: tuple[str, ...] = ()
    expected: tuple[int, ...] = (200,)
    done: Callable[[Any], str | None] = lambda _: None  # with the answer's body; says what is wrong with it


def user_body(name: str, active: bool, title: str) -> dict[str, Any]:
    given, _, family = name.partition(".")
    return {
        "schemas": [_USER], "userName": name, "externalId": f"ext-{name}", "active": active, "title": title,
        "name": {"givenName": given, "familyName": family}, "displayName": f"{given} {family}",
        "emails": [{"value": f"{name}@okta.example", "type": "work", "primary": True}],
    }  # fmt: skip


def ask(space: Space, operation: str, chance: random.Random) -> Asked | None:
    """The next request of a kind, or None if everything it could be about is under way."""
    free = space.free(space.users)
    match operation:
        case "list":
            return Asked("GET", "Users?startIndex=1&count=100", done=lambda b: None if b["Resources"] else "empty")
        case "post":
            return _post(space)
        case _ if not free:
            return None
    id = chance.choice(free)
    known = space.users[id]
    match operation:
        case "get":
            return Asked("GET", f"Users/{id}", done=lambda b: None if b["id"] == id else "another user")
        case "filter":
            query = str(httpx.QueryParams({"filter": f'userName eq "{known["userName"]}"'}))
            return Asked("GET", f"Users?{query}", done=lambda b: None if b["totalResults"] == 1 else "not found")
        case "patch_active":
            new = not known["active"]

            def switched(_: Any) -> None:
                known["active"] = new

            operations = [{"op": "Replace", "path": "active", "value": new}]
            return _patch(f"Users/{id}", operations, (id,), switched)
        case "put":
            title = f"Title {chance.randrange(10**6)}"

            def replaced(_: Any) -> None:
                known["title"] = title

            body = user_body(known["userName"], known["active"], title)
            return Asked("PUT", f"Users/{id}", body, (id,), done=replaced)
        case "delete" if len(free) > USERS // 2:

            def gone(_: Any) -> None:
                del space.users[id]
                for members in space.groups.values():
                    members.discard(id)

            return Asked("DELETE", f"Users/{id}", None, (id,), (204,), gone)
        case "patch_members":
            return _members(space, id, chance)
    return None


def _post(space: Space) -> Asked:
    space.made += 1
    name = f"person{space.made}.{space.name}"

    def made(body: Any) -> None:
        space.users[body["id"]] = {"userName": name, "active": True, "title": "New"}

    return Asked("POST", "Users", user_body(name, True, "New"), (), (201,), made)


def _patch(path: str, operations: Any, busy: tuple[str, ...], done: Callable[[Any], None]) -> Asked:
    return Asked("PATCH", path, {"schemas": [_PATCH], "Operations": operations}, busy, (200, 204), done)


def _members(space: Space, id: str, chance: random.Random) -> Asked | None:
    groups = space.free(space.groups)
    if not groups:
        return None
    group = chance.choice(groups)
    members = space.groups[group]
    if id in members:
        return _patch(
            f"Groups/{group}",
            [{"op": "remove", "path": f'members[value eq "{id}"]'}],
            (id, group),
            lambda _: members.discard(id),
        )
    operations = [{"op": "add", "path": "members", "value": [{"value": id}]}]
    return _patch(f"Groups/{group}", operations, (id, group), lambda _: members.add(id))


@dataclass
class Load:
    base: str
    spaces: list[Space]
    rate: float
    seconds: float
    chance: random.Random
    latencies: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))  # when, ms
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)  # how late this program itself was

    async def run(self) -> dict[str, Any]:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=3)
        async with httpx.AsyncClient(base_url=f"{self.base}/scim/v2/", timeout=30, limits=limits) as client:
            self._client = client
            await asyncio.gather(*(self._found(space) for space in self.spaces))
            print("loaded", flush=True)
            seconds = await self._fire()
            differences = [line for space in self.spaces for line in await self._compare(space)]
        return {
            "seconds": seconds,
            "latencies": self.latencies,
            "statuses": self.statuses,
            "wrong": self.wrong[:100],
            "wrong_count": len(self.wrong),
            "late_ms": self.late_ms,
            "differences": differences[:100],
            "differences_count": len(differences),
        }

    async def _fire(self) -> float:
        under_way: set[asyncio.Task[None]] = set()
        began = time.perf_counter()
        names, weights = list(MIX), list(MIX.values())
        for number in range(int(self.rate * self.seconds)):
            moment = began + number / self.rate
            if (pause := moment - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            self.late_ms.append((time.perf_counter() - moment) * 1000)
            space, operation = self.chance.choice(self.spaces), self.chance.choices(names, weights)[0]
            asked = ask(space, operation, self.chance)
            if asked is None:
                operation = "list"
                asked = ask(space, operation, self.chance)
                assert asked is not None
            space.busy |= {*asked.busy}
            task = asyncio.create_task(self._one(space, operation, asked, moment))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        return time.perf_counter() - began

    async def _one(self, space: Space, operation: str, asked: Asked, moment: float | None) -> None:
        said: str | None
        try:
            answer = await self._send(space, asked)
            status = answer.status_code
            if status in asked.expected:
                said = asked.done(orjson.loads(answer.content) if answer.content else None)
            else:
                said = answer.text[:300]
        except httpx.HTTPError as exc:
            status, said = 0, f"{type(exc).__name__} {exc}"
        if moment is not None:
            self.latencies[operation].append((moment, (time.perf_counter() - moment) * 1000))
            self.statuses[f"{operation} {status}"] += 1
        if said is not None:
            self.wrong.append(f"{space.name} {operation} {asked.method} {asked.path[:80]} -> {status}: {said}")
        space.busy -= {*asked.busy}

    async def _send(self, space: Space, asked: Asked) -> httpx.Response:
        headers = {"Authorization": f"Bearer {space.token}", "Content-Type": "application/scim+json"}
        content = None if asked.body is None else orjson.dumps(asked.body)
        return await self._client.request(asked.method, asked.path, headers=headers, content=content)

    async def _found(self, space: Space) -> None:
        """The users and groups a connection brings when it is switched on."""
        for _ in range(USERS):
            await self._one(space, "post", _post(space), None)
        for number in range(GROUPS):
            members = self.chance.sample(sorted(space.users), min(8, len(space.users)))
            body = {"schemas": [_GROUP], "displayName": f"team-{number}", "members": [{"value": id} for id in members]}

            def made(answer: Any, members: list[str] = members) -> None:
                space.groups[answer["id"]] = set(members)

            await self._one(space, "post", Asked("POST", "Groups", body, (), (201,), made), None)

    async def _compare(self, space: Space) -> list[str]:
        """What was acknowledged and is not so, or is there without having been asked for."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(1, 100_000, 100):
            query = f"Users?startIndex={start}&count=100"
            answer = await self._send(space, Asked("GET", query))
            if answer.status_code != 200:
                return [f"{space.name}: cannot be compared, {query} is answered {answer.status_code}"]
            page = answer.json()["Resources"]
            found |= {each["id"]: each for each in page if each["userName"].endswith(f".{space.name}")}
            if len(page) < 100:
                break
        out = [f"{space.name}: user {space.users[id]['userName']} is lost" for id in space.users.keys() - found.keys()]
        out += [f"{space.name}: user {found[id]['userName']} came back" for id in found.keys() - space.users.keys()]
        for id in found.keys() & space.users.keys():
            out += [
                f"{space.name}: {name} of user {known['userName']} is {found[id].get(name)!r}, acknowledged was {value!r}"
                for known in (space.users[id],)
                for name, value in known.items()
                if found[id].get(name) != value
            ]
        for id, members in space.groups.items():
            group = (await self._send(space, Asked("GET", f"Groups/{id}"))).json()
            if {each["value"] for each in group.get("members", ())} != members:
                out.append(f"{space.name}: group {group.get('displayName')} has other members than acknowledged")
        return out


def main() -> None:
    plan, result = (Path(argument) for argument in sys.argv[1:3])
    given = orjson.loads(plan.read_bytes())
    spaces = [Space(name, token) for name, token in given["tokens"].items()]
    load = Load(given["base"], spaces, given["rate"], given["seconds"], random.Random(given["seed"]))
    result.write_bytes(orjson.dumps(asyncio.run(load.run())))


if __name__ == "__main__":
    main()
