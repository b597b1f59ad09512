"""SCIM as plain dictionaries: what a server that holds users and groups must answer, and what it shows after that.

Documents are flat here (`name.givenName` is a key), `members` a set of ids. `Model.after` gives the status of one operation
and the state it leaves; an operation that is refused leaves the state as it was (RFC 7644 section 3.5.2).
"""

from __future__ import annotations

import unicodedata
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

DEPARTMENT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
SIMPLE = ("displayName", "title", "name.givenName", DEPARTMENT)
Document = dict[str, Any]


def fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


@dataclass(frozen=True)
class Operation:
    """`document`: of POST and PUT, flat; `patch`: (op, path, value) each, value a flat document where path is None.

    `stale`: with a precondition that does not hold. `id` may stand for what an earlier operation of a bulk request makes.
    """

    method: str
    kind: str  # Users or Groups
    id: str = ""
    document: Document = field(default_factory=dict)
    patch: tuple[tuple[str, str | None, Any], ...] = ()
    stale: bool = False


class Refused(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


@dataclass
class Model:
    """id -> document, in the order of creation. `linked`: id -> externalId, while the resource is there."""

    Users: dict[str, Document] = field(default_factory=dict)
    Groups: dict[str, Document] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, Document]:
        return self.Users if kind == "Users" else self.Groups

    def after(self, operation: Operation) -> tuple[int, Model]:
        made = deepcopy(self)
        try:
            return made._do(operation), made
        except Refused as refused:
            return refused.status, self

    # -- one operation, on a copy -----------------------------------------------------------------------------------------

    def _do(self, op: Operation) -> int:
        there = self.of(op.kind)
        if op.method == "POST":
            there[op.id] = self._stated(op, {})
            self._unique(op.kind, op.id)
            return 201
        if op.id not in there:
            raise Refused(404)
        if op.stale:
            raise Refused(412)
        if op.method == "DELETE":
            del there[op.id]
            for group in self.Groups.values():
                group["members"].discard(op.id)
            return 204
        before = there[op.id]
        there[op.id] = self._stated(op, before) if op.method == "PUT" else self._patched(op, before)
        self._unique(op.kind, op.id)
        return 204 if (op.method, op.kind) == ("PATCH", "Groups") else 200

    def _stated(self, op: Operation, before: Document) -> Document:
        """externalId, active and members that a PUT leaves out stay as they were."""
        kept = {name: before[name] for name in ("externalId", "active", "members") if name in before}
        document = {
            **({"members": set()} if op.kind == "Groups" else {"active": True}),
            **kept,
            **deepcopy(op.document),
        }
        if op.kind == "Groups":
            self._known(op.id, document["members"])
            document["members"] = set(document["members"])
        return document

    def _patched(self, op: Operation, before: Document) -> Document:
        document = deepcopy(before)
        for verb, path, value in op.patch:
            if path is None:
                document |= deepcopy(value)
            elif path.startswith("members"):
                self._members(op.id, document, verb, path, value)
            elif path.startswith("emails"):
                _emails(document, verb, path, value)
            elif verb != "remove" and value is not None:
                document[path] = value
            elif path in ("userName", "displayName") and (path == "userName" or op.kind == "Groups"):
                raise Refused(400)
            else:
                document.pop(path, None)
        return document

    def _members(self, group: str, document: Document, verb: str, path: str, value: Any) -> None:
        if verb == "remove":
            document["members"] -= document["members"] if path == "members" else {path.split('"')[1]}
            return
        if path != "members":
            selected = path.split('"')[1]
            if selected not in document["members"]:
                raise Refused(400)
            if (path.endswith(".value") or verb == "add") and value != selected:
                raise Refused(400)  # a member is exchanged whole, by replace
            self._known(group, [value])
            document["members"] = document["members"] - {selected} | {value}
            return
        self._known(group, value)
        document["members"] = set(value) | (document["members"] if verb == "add" else set())

    def _known(self, group: str, ids: Any) -> None:
        if any(id == group or not (id in self.Users or id in self.Groups) for id in ids):
            raise Refused(400)

    def _unique(self, kind: str, id: str) -> None:
        there = self.of(kind)
        for name, key in (("userName", fold), ("displayName", fold), ("externalId", str)):
            mine = there[id].get(name)
            if mine is None or (name == "displayName" and kind == "Users"):
                continue
            if any(key(mine) == key(other[name]) for at, other in there.items() if at != id and name in other):
                raise Refused(409)

    # -- what is shown ----------------------------------------------------------------------------------------------------

    def groups_of(self, id: str) -> dict[str, str]:
        """Group id -> direct or indirect."""
        direct = {at for at, group in self.Groups.items() if id in group["members"]}
        found, fresh = set(direct), set(direct)
        while fresh:
            fresh = {at for at, group in self.Groups.items() if group["members"] & fresh} - found
            found |= fresh
        return {at: "direct" if at in direct else "indirect" for at in found}

    def name(self, id: str) -> str:
        return str(self.Users[id]["userName"] if id in self.Users else self.Groups[id]["displayName"])


def _emails(document: Document, verb: str, path: str, value: Any) -> None:
    emails: list[Document] = document.get("emails", [])
    wanted = path.split('"')[1] if "[" in path else None
    if verb == "remove":
        emails = [each for each in emails if wanted is not None and each.get("type") != wanted]
    elif wanted is not None:
        chosen = [each for each in emails if each.get("type") == wanted]
        if not chosen:
            raise Refused(400)
        after = [each | {"value": value} if each in chosen else each for each in emails]
        if len(chosen) > 1 and after != emails:  # what became the same is one (RFC 7643 section 2.4)
            after = [each for at, each in enumerate(after) if each not in after[:at]]
        emails = after
    elif verb == "replace":
        emails = deepcopy(value)
    else:
        emails = _added(emails, value)
    document.pop("emails", None)
    if emails:
        document["emails"] = emails


def _added(emails: list[Document], given: list[Document]) -> list[Document]:
    found = deepcopy(emails)
    for each in given:
        same = [at for at, known in enumerate(found) if _which(known) == _which(each)]
        if same:
            found[same[0]] |= each
        else:
            found.append(dict(each))
        if each.get("primary"):
            keep = same[0] if same else len(found) - 1
            found = [
                other | {"primary": False} if at != keep and other.get("primary") else other
                for at, other in enumerate(found)
            ]
    return found


def _which(email: Document) -> tuple[str, str | None]:
    return email["value"], email.get("type")
