"""What Okta and Entra ID send when an admin does what a guide says: the requests of their transcripts, with other names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from deploy.files import ROOT

Json = dict[str, Any]


class Provider:
    """`token`: what the admin pasted, looked at for each request, since it may be changed."""

    name = ""

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self.url, self.token = f"{url}/scim/v2", token

    def does(self, what: str, *words: str) -> None:
        getattr(self, what)(*words)

    def ask(self, method: str, path: str, body: Json | None = None, *expected: int) -> Json:
        answer = httpx.request(
            method, self.url + path, json=body, headers={"Authorization": f"Bearer {self.token()}"}, timeout=30
        )
        assert answer.status_code in (expected or (200, 201, 204)), (method, path, body, answer.text)
        return dict(answer.json()) if answer.content else {}

    def sent(self, transcript: str, **changed: Any) -> Json:
        """The first body of a transcript, with these attributes."""
        path = ROOT / "tests/contract/idp" / self.name / f"{transcript}.json"
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        body: Json = next(each["request"]["body"] for each in steps if "body" in each["request"])
        return body | changed

    def patched(self, transcript: str, value: Any) -> Json:
        """The last operation of a transcript's first request, with this value."""
        body = self.sent(transcript)
        return body | {"Operations": [body["Operations"][-1] | {"value": value}]}

    def found(self, kind: str, attribute: str, value: str) -> list[Json]:
        return list(self.ask("GET", f'/{kind}?filter={attribute} eq "{value}"&startIndex=1&count=100')["Resources"])

    def assign(self, given: str, family: str) -> None:
        """A person is assigned to the application."""
        name = f"{given.lower()}@example.org"
        if self.found("Users", "userName", name):
            return
        email = [{"primary": True, "type": "work", "value": name}]
        body = self.sent(
            "create_user",
            userName=name,
            externalId=f"00u-{given.lower()}",
            displayName=f"{given} {family}",
            name={"givenName": given, "familyName": family},
            emails=email,
        )
        self.ask("POST", "/Users", body)

    def assign_many(self, number: str) -> None:
        for each in range(1, int(number) + 1):
            self.assign(f"Person{each}", "Example")

    def push(self, group: str, *members: str) -> None:
        """A group with these members, by their first names."""
        made = self.found("Groups", "displayName", group) or [
            self.ask("POST", "/Groups", self.sent(self.make, displayName=group, externalId=f"00g-{group}"))
        ]
        ids = [self.found("Users", "userName", f"{each}@example.org")[0]["id"] for each in members]
        for id in ids:
            self.ask("PATCH", f"/Groups/{made[0]['id']}", self.patched(self.add, [{"value": id}]))

    make, add = "", ""

    def unassign(self, *names: str) -> None:
        for each in names:
            self.deactivate(self.found("Users", "userName", f"{each}@example.org")[0])

    def unassign_many(self, number: str) -> None:
        for each in range(1, int(number) + 1):
            self.deactivate(self.found("Users", "userName", f"person{each}@example.org")[0], 200, 429)

    def deactivate(self, user: Json, *expected: int) -> None:
        raise NotImplementedError


class Okta(Provider):
    name, make, add = "okta", "push_group", "change_members"

    def deactivate(self, user: Json, *expected: int) -> None:
        """An application that the wizard made gets the whole user back."""
        self.ask("PUT", f"/Users/{user['id']}", user | {"active": False}, *expected)


class Entra(Provider):
    name, make, add = "entra", "create_group", "add_member"

    def test_connection(self) -> None:
        assert self.found("Users", "userName", "4ee7fe54-6b9f-4a91-b3f2-1b0e2f8f7a10") == []

    def deactivate(self, user: Json, *expected: int) -> None:
        self.ask("PATCH", f"/Users/{user['id']}", self.sent("deactivate_user"), *expected)
