"""Requests that are done in one transaction come to what they come to one after the other: answers, rows, record and events."""

from __future__ import annotations

import asyncio
import re
import tempfile
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from syncd.store import tables as t
from syncd.store import writer
from syncd.store.writer import Writer
from web_service import BASE, PATCH_URN, USER_URN, Service

WHO = ("ann", "bob", "cid", "dee", "eli")
MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"
NUMBER: ContextVar[int] = ContextVar("number")
SALTED = ("payload_hash", "salt")
Asked = tuple[str, str, dict[str, Any] | None, dict[str, str]]  # method, path, body, headers; users by name in braces

who = st.sampled_from(WHO)
word = st.sampled_from(("a", "B", "ü", "x y"))


def replaced(name: str, path: str, value: Any, **headers: str) -> Asked:
    operation = {"op": "replace", "path": path, "value": value}
    return "PATCH", f"Users/{{{name}}}", {"schemas": [PATCH_URN], "Operations": [operation]}, headers


def removed(name: str, path: str) -> Asked:
    return (
        *("PATCH", f"Users/{{{name}}}"),
        {"schemas": [PATCH_URN], "Operations": [{"op": "remove", "path": path}]},
        {},
    )


def user(name: str, **more: Any) -> dict[str, Any]:
    return {"schemas": [USER_URN], "userName": name, **more}


asked = st.one_of(
    st.builds(replaced, who, st.sampled_from(("name.familyName", "title", "externalId", "displayName")), word),
    st.builds(replaced, who, st.just("active"), st.booleans()),
    st.builds(replaced, who, st.just("userType"), st.sampled_from(("Employee", "Guest"))),
    st.builds(replaced, who, st.just("userName"), st.sampled_from((*WHO, "eve"))),
    st.builds(replaced, who, st.just(MANAGER), st.sampled_from([f"{{{name}}}" for name in WHO])),
    st.builds(lambda name, value: replaced(name, "emails", [{"value": f"{value}@x.org"}]), who, word),
    st.builds(removed, who, st.sampled_from((MANAGER, "title", "emails", "active", "userName"))),
    st.builds(lambda name: replaced(name, "nothing", 1), who),
    st.builds(
        lambda name, tag: replaced(name, "title", "t", **{"If-Match": tag}), who, st.sampled_from(('W/"1"', 'W/"2"'))
    ),
    st.builds(lambda name, value: replaced(name, "title", value, **{"X-Dry-Run": "true"}), who, word),
    st.builds(lambda name, value: replaced(name, "title", value, token="entra"), who, word),
    st.builds(lambda name, title: ("PUT", f"Users/{{{name}}}", user(name, title=title), {}), who, word),
    st.builds(lambda name: ("DELETE", f"Users/{{{name}}}", None, {}), who),
    st.builds(
        lambda name, more, headers: ("POST", "Users", user(name, active=True, userType="Guest", **more), headers),
        st.sampled_from((*WHO, "fay", "gus", "hal")),
        st.sampled_from(({}, {"externalId": "a"}, {"externalId": "x y"}, {"emails": [{"value": "a@x.org"}]})),
        st.sampled_from(({}, {"token": "entra"})),
    ),
    st.builds(
        lambda name: (
            *("PATCH", "Groups/{crew}"),
            {
                "schemas": [PATCH_URN],
                "Operations": [{"op": "add", "path": "members", "value": [{"value": f"{{{name}}}"}]}],
            },
            {},
        ),
        who,
    ),
)


class Office:
    """Five people, of whom one waits for a seat and another may be adopted, and a group, of one service."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.service = Service(f"sqlite:///{self.folder.name}/syncd.db")
        self.entra = self.service.make_token("entra")
        self.ids = {"ann": self.service.user("ann", userType="Employee", title="head")["id"]}
        for name in WHO[1:]:
            self.ids[name] = self.service.user(name, userType="Guest" if name == "cid" else "Employee")["id"]
        self.ids["crew"] = self.service.group("crew", self.ids["bob"])["id"]
        manager = {"op": "add", "path": MANAGER, "value": self.ids["ann"]}
        assert self.service.patch(f"Users/{self.ids['cid']}", manager).is_success

    def close(self) -> None:
        self.service.close()
        self.folder.cleanup()

    def named(self, text: str) -> str:
        """With ids as one service has them and another does not: by name, or as some id."""
        for name, id in self.ids.items():
            text = text.replace(id, f"<{name}>")
        return re.sub(r"id-\d{6}|\b[0-9a-f]{16}\b", "<id>", text)  # of a row, of a token

    def request(self, each: Asked) -> tuple[str, str, dict[str, Any] | None, dict[str, str]]:
        def filled(value: Any) -> Any:
            if isinstance(value, str):
                return re.sub(r"\{(\w+)\}", lambda found: self.ids[found[1]], value)
            if isinstance(value, dict):
                return {key: filled(part) for key, part in value.items()}
            return [filled(part) for part in value] if isinstance(value, list) else value

        method, path, body, headers = each
        token = self.entra if headers.get("token") == "entra" else self.service.token
        sent = {key: value for key, value in headers.items() if key != "token"}
        url = f"{BASE}/scim/v2/{filled(path)}"
        return method, url, filled(body), {**sent, "Authorization": f"Bearer {token}"}

    async def answer(self, client: httpx.AsyncClient, number: int, each: Asked) -> tuple[int, str]:
        NUMBER.set(number)
        method, url, body, headers = self.request(each)
        headers |= {} if body is None else {"Content-Type": "application/scim+json"}
        found = await client.request(method, url, json=body, headers=headers)
        return found.status_code, self.named(found.text)

    def answers(self, requests: list[tuple[int, Asked]], at_once: bool) -> dict[int, tuple[int, str]]:
        async def asking() -> list[tuple[int, str]]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.service.web)) as client:
                if at_once:
                    return list(await asyncio.gather(*(self.answer(client, *each) for each in requests)))
                return [await self.answer(client, *each) for each in requests]

        found = self.service.run(asking())
        return {number: each for (number, _), each in zip(requests, found, strict=True)}

    def rows(self) -> dict[str, list[str]]:
        """Everything that is stored, but what is drawn by lot."""
        kept = (t.users, t.links, t.emails, t.memberships, t.effective_memberships, t.grants, t.seats, t.held, t.losses)
        kept = (*kept, t.totals, t.seat_pools, t.activity, t.activity_payloads, t.outbox, t.deliveries)
        found = {}
        with self.service.database.reading() as conn:
            for table in kept:
                rows = conn.execute(select(*(each for each in table.c if each.name not in SALTED))).all()
                found[table.name] = sorted(self.named(repr(row)) for row in rows)
        return found


def made(name: str, **more: Any) -> Asked:
    return "POST", "Users", user(name, **more), {}


ADOPTED: Asked = ("POST", "Users", user("cid", active=True, userType="Guest"), {"token": "entra"})


@given(st.lists(asked, min_size=2, max_size=9))
@example([replaced("cid", "title", "a"), ADOPTED, replaced("cid", "title", "B")])
@example([replaced("eli", "title", "a"), replaced("ann", "active", False), replaced("eli", "title", "B")])
@example(
    [replaced("ann", "title", "a"), replaced("ann", "title", "B"), removed("ann", "userName"), removed("ann", "title")]
)
@example(
    [made("fay"), made("FAY"), made("gus", externalId="a"), made("hal", externalId="a"), replaced("ann", "title", "a")]
)
@example(
    [made("fay"), replaced("ann", "userName", "fay"), made("gus", externalId="a"), replaced("ann", "externalId", "a")]
)
@example(
    [made("fay", userType="Employee"), replaced("bob", "active", False), made("gus"), replaced("cid", MANAGER, "{bob}")]
)
@example([("POST", "Users", user("ｆａｙ", active=True), {}), ("POST", "Users", user("fay", active=True), {})])
@settings(max_examples=max(10, settings().max_examples // 5), deadline=None)
def test_together_as_one_after_the_other(requests: list[Asked]) -> None:
    together, apart = Office(), Office()
    numbered = list(enumerate(requests))
    order: list[int] = []
    turn = Writer._turn

    def noted(self: Writer, conn: Any, each: Any, *more: Any) -> None:
        number = each.context.get(NUMBER)
        order[:] = [*(seen for seen in order if seen != number), number]  # the last time, if all were done again
        turn(self, conn, each, *more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "HERE_S", 10.0)
        patched.setattr(Writer, "_turn", noted)
        answers = together.answers(numbered, at_once=True)
    numbered.sort(key=lambda each: order.index(each[0]) if each[0] in order else -1)
    assert apart.answers(numbered, at_once=False) == answers
    assert together.rows() == apart.rows()
    for each in (together, apart):
        each.close()
