"""A whole web application over an empty database of each engine, with a small workspace and tokens to ask it with."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any, TypeVar

import httpx
from argon2 import PasswordHasher
from starlette.applications import Starlette

import prepared
from syncd.core.access import Role
from syncd.core.actor import Actor
from syncd.core.change import Edit, UserEdit
from syncd.core.filter import compile, parse_filter
from syncd.core.rules import Rule
from syncd.core.schema import RULE_USER, SYNCD_USER
from syncd.core.seats import Pool
from syncd.core.state import Grant, Link
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.passwords import Passwords
from syncd.store import describe, tokens
from syncd.store.commit import Outcome, commit
from syncd.web import create_web

T = TypeVar("T")
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
BASE = "http://syncd.test"
USER_URN = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_URN = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH_URN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def rule(name: str, when: str, **grants: Any) -> Rule:
    found = parse_filter(when, RULE_USER)
    return Rule(name, when, compile(found), reads_groups="groups" in when, **grants)


def condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    return compile(parse_filter(text, RULE_USER))


@cache
def workspace(name: str = "default") -> Workspace:
    """Employees hold an `internal` seat (3 of them); whoever is pushed into `crm` is a clerk and holds one of one."""
    return Workspace(
        name=name,
        sources={
            "okta": SourcePolicy("okta"),
            "entra": SourcePolicy("entra", adopt='userType eq "Guest"', may_adopt=condition('userType eq "Guest"')),
            "corp": SourcePolicy("corp", kind="ldap"),
        },
        rules=(
            rule("crm", 'groups[display eq "crm"]', roles=("clerk",), seats=("crm",)),
            rule("staff", 'userType eq "Employee"', roles=("member",), seats=("internal",)),
        ),
        pools={"internal": Pool("internal", 3), "crm": Pool("crm", 1, requires=("internal",))},
        roles={**Workspace().roles, "clerk": Role("clerk", frozenset({"invoices.view"}))},
        protected=(('userName eq "root@example.org"', condition('userName eq "root@example.org"')),),
    )


class Service:
    """The application, its clock and its tokens. `ask` is one request; the answer's body is in `.json()`."""

    def __init__(self, url: str, first_id: int = 1) -> None:
        """`first_id`: where ids begin; not at 1 in a database that another service made."""
        self.database = prepared.database(url)
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        self._count = itertools.count(first_id)
        self.workspaces = {"default": workspace(), "other": workspace("other")}
        self.loop = asyncio.new_event_loop()
        self.token = self.make_token()

    @cached_property
    def web(self) -> Starlette:
        """The application of the workspaces as they are when it is first asked."""
        return self.application()

    def application(self, token_cache_s: float = 0, **options: Any) -> Starlette:
        """Tokens are looked up anew for each request, unless a test says otherwise."""
        return create_web(
            self.database,
            self.workspaces,
            lambda: self.now,
            self.ids,
            BASE,
            token_cache_s=token_cache_s,
            passwords=Passwords(CHEAP),
            **options,
        )

    def ids(self) -> str:
        return f"id-{next(self._count):06d}"

    def close(self) -> None:
        self.run(self.database.aclose())
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def make_token(self, source: str = "okta", workspace: str = "default", **more: Any) -> str:
        with self.database.writing() as conn:
            actor = Actor("cli", "root", workspace)
            _, text = tokens.create(conn, actor, f"{source} test", self.now, self.ids, source=source, **more)
        return text

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        **query: Any,
    ) -> httpx.Response:
        """`token` "": the default one, None: none. A path that begins with a slash is absolute."""
        url = BASE + path if path.startswith("/") else f"{BASE}/scim/v2/{path}"
        sent = {"Content-Type": "application/scim+json"} if body is not None or content is not None else {}
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.token}"

        async def asking() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.web)) as client:
                given = {"content": content} if content is not None else ({"json": body} if body is not None else {})
                return await client.request(
                    method, url, params=query or None, headers={**sent, **(headers or {})}, **given
                )

        return self.run(asking())

    def user(self, name: str, token: str = "", **more: Any) -> dict[str, Any]:
        found = self.ask("POST", "Users", {"schemas": [USER_URN], "userName": name, **more}, token)
        assert found.status_code == 201, found.text
        return dict(found.json())

    def group(self, name: str, *members: str, token: str = "", **more: Any) -> dict[str, Any]:
        body = {"schemas": [GROUP_URN], "displayName": name, "members": [{"value": id} for id in members], **more}
        found = self.ask("POST", "Groups", body, token)
        assert found.status_code == 201, found.text
        return dict(found.json())

    def patch(self, path: str, *operations: Any, token: str = "", **more: Any) -> httpx.Response:
        return self.ask("PATCH", path, {"schemas": [PATCH_URN], "Operations": list(operations)}, token, **more)

    def names(self, filter: str | None = None, path: str = "Users", token: str = "", **more: Any) -> list[str]:
        """Of the users or groups that match."""
        query = {**more, **({"filter": filter} if filter is not None else {})}
        found = self.ask("GET", path, token=token, **query)
        assert found.status_code == 200, found.text
        return [each.get("userName") or each["displayName"] for each in found.json()["Resources"]]

    def commit(self, *edits: Edit, source: str = "local", workspace: str = "default") -> Outcome:
        actor = Actor("cli" if source == "local" else "run", "test", workspace, source=source)
        with self.database.writing() as conn:
            return commit(conn, self.workspaces[workspace], actor, edits, self.now, self.ids)

    def made_by(self, source: str, name: str, *grants: Grant, **values: Any) -> str:
        """A user that another source states."""
        id = self.ids()
        link = Link(source, f"{source}-{id}", values={"userName": name, **values})
        self.commit(UserEdit(id, source, create=True, link=link, grant=grants), source=source).check()
        return id

    def access(self, id: str, workspace: str = "default") -> dict[str, Any]:
        """What the user may do, as `syncd explain` says."""
        with self.database.reading() as conn:
            return describe.explain(conn, self.workspaces[workspace], id, self.now)

    def roles(self, id: str) -> set[str]:
        return {each["value"] for each in self.access(id)["roles"]}

    def derived(self, id: str) -> dict[str, Any]:
        """Status and seats, as a client gets them: on request."""
        return dict(
            self.ask(
                "GET", f"Users/{id}?attributes={SYNCD_USER}:status,{SYNCD_USER}:seats,{SYNCD_USER}:waiting"
            ).json()[SYNCD_USER]
        )

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)
