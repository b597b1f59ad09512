"""Users and groups with every attribute there is, of odd letters, dates and numbers, and requests about them: by a seed."""

from __future__ import annotations

import json
import random
from typing import Any

from syncd.core.schema import (
    CORE_GROUP,
    CORE_USER,
    USER,
    Attribute,
    Mutability,
    ResourceType,
    Returned,
    Schema,
    Type,
)

Document = dict[str, Any]
MESSAGES = "urn:ietf:params:scim:api:messages:2.0:"
ODD = Schema(
    "urn:x:odd:2.0:User",
    "Odd",
    "Every type and every word",
    (
        *(Attribute("plain"), Attribute("exact", case_exact=True), Attribute("several", multi_valued=True)),
        *(Attribute("codes", multi_valued=True, case_exact=True), Attribute("whole", Type.INTEGER)),
        *(Attribute("part", Type.DECIMAL), Attribute("when", Type.DATETIME), Attribute("whether", Type.BOOLEAN)),
        *(Attribute("bytes", Type.BINARY, case_exact=True), Attribute("once", mutability=Mutability.IMMUTABLE)),
        Attribute("link", Type.REFERENCE, case_exact=True, reference_types=("external",)),
        Attribute("secret", mutability=Mutability.WRITE_ONLY, returned=Returned.NEVER),
        *(Attribute("asked", returned=Returned.REQUEST), Attribute("kept", returned=Returned.ALWAYS)),
        *(Attribute("days", Type.DATETIME, multi_valued=True), Attribute("numbers", Type.INTEGER, multi_valued=True)),
        Attribute(
            "desk",
            Type.COMPLEX,
            sub_attributes=(
                *(Attribute("floor"), Attribute("room", Type.INTEGER), Attribute("keys", multi_valued=True)),
                *(Attribute("asked", returned=Returned.REQUEST), Attribute("kept", returned=Returned.ALWAYS)),
            ),
        ),
        Attribute(
            "cars",
            Type.COMPLEX,
            multi_valued=True,
            sub_attributes=(
                *(Attribute("plate"), Attribute("seats", multi_valued=True), Attribute("primary", Type.BOOLEAN)),
            ),
        ),
    ),
)
TEXTS = (
    *(
        "a",
        "A",
        "a b",
        " a",
        "a ",
        "%",
        "_",
        "\\",
        '"',
        "'",
        "a_b",
        "a\\b",
        "l\nm",
        "z",
        "\uffff",
        "\U0010ffff",
        "\x7f",
    ),
    *(
        "\u00e4",
        "\u00c4",
        "\u00df",
        "SS",
        "\u1e9e",
        "\u0130",
        "i\u0307",
        "\u0131",
        "\ufb01",
        "\u212b",
        "e\u0301",
        "\u00e9",
    ),
    *(
        "x\u200b",
        "\u202eabc",
        "\uff41",
        "\U0001f600",
        "\u01c5",
        "\u03a3",
        "\u03c2",
        "\u212a",
        "\u017f",
        "\u2028",
        "\ufeff",
    ),
    *("true", "null", "1", "2026-01-01T00:00:00Z", "{}", "[]", "a,b", "a&b", "a+b", "a%20b", "?", "#", "/", "A" * 300),
)
VALUES: dict[Type, tuple[Any, ...]] = {
    Type.REFERENCE: ("https://x.test/a", "https://X.test/a", "urn:x:\u00e4", "no uri", "HTTP://\u00e9/"),
    Type.BOOLEAN: (True, False),
    Type.INTEGER: (0, -1, 1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1),
    Type.DECIMAL: (0, -0.0, 1.5, 1e300, -1e-300, 3, 2**53 + 1, 0.1, 1e22, 2**63 - 1),
    Type.DATETIME: (
        *("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z"),
        *("9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00.5Z", "2026-02-28T23:59:59.123456789-11:30"),
    ),
    Type.BINARY: ("QUI=", "QUJD", "QQ==", "Q U I =", "QUI", "-_-_"),
}
OPS = ("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr")


class People:
    """`users` and `groups`: ids of who is there."""

    def __init__(self, seed: int, user: ResourceType, group: ResourceType) -> None:
        self.random = random.Random(seed)
        self.types = {"Users": user, "Groups": group}
        self.users: list[str] = []
        self.groups: list[str] = []
        self.count = 0

    # -- values ---------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        return "".join(self.random.choices(TEXTS, k=self.random.choice((1, 1, 1, 2))))

    def simple(self, attribute: Attribute) -> Any:
        return self.text() if attribute.type is Type.STRING else self.random.choice(VALUES[attribute.type])

    def one(self, attribute: Attribute) -> Any:
        if attribute.type is not Type.COMPLEX:
            return self.simple(attribute)
        subs = (each for each in attribute.sub_attributes if each.mutability is not Mutability.READ_ONLY)
        return {sub.name: self.value(sub) for sub in subs if sub.name != "primary" and self.random.random() < 0.5}

    def value(self, attribute: Attribute) -> Any:
        if not attribute.multi_valued:
            return self.one(attribute)
        found = [self.one(attribute) for _ in range(self.random.choice((1, 1, 2, 3)))]
        if attribute.sub("primary") is not None and self.random.random() < 0.4:
            found[0]["primary"] = True
        return found

    # -- resources ------------------------------------------------------------------------------------------------------

    def user(self, most: int | None = None) -> Document:
        """`most`: of how many names one is taken; None: a new one."""
        self.count += 1
        number = self.count if most is None else self.random.randrange(most)
        body: Document = {"schemas": [CORE_USER], "userName": f"{self.text()}{number}"}
        derived = {"schemas", "id", "meta", "groups", "userName", "externalId"}
        body |= {a.name: self.value(a) for a in USER.attributes if a.name not in derived and self.random.random() < 0.3}
        if self.random.random() < 0.5:
            body["externalId"] = f"{self.text()}{number}"
        for schema, _ in self.types["Users"].extensions:
            body[schema.id] = self.extension(schema)
        return body

    def extension(self, schema: Schema) -> Document:
        found = {a.name: self.value(a) for a in schema.attributes if self.random.random() < 0.35}
        if "manager" in found:
            found["manager"] = {"value": self.random.choice([*self.users, "nobody"])}
        return {name: value for name, value in found.items() if name not in ("status", "seats", "waiting")}

    def group(self, most: int | None = None) -> Document:
        self.count += 1
        name = f"{self.text()}{self.count if most is None else self.random.randrange(most)}"
        members = self.random.sample([*self.users, *self.groups], min(3, len(self.users)))
        return {"schemas": [CORE_GROUP], "displayName": name, "members": [{"value": each} for each in members]}

    # -- requests -------------------------------------------------------------------------------------------------------

    def request(self) -> tuple[str, str, Any, dict[str, str]]:
        """Method, path, body, headers."""
        kind = self.random.choice(("Users", "Users", "Groups"))
        id = self.random.choice([*(self.users if kind == "Users" else self.groups), "nobody"])
        body = self.user(30) if kind == "Users" else self.group(9)
        tags = ('W/"1"', 'W/"2"', "*", 'W/"1", W/"3"')
        headers = {"If-Match": self.random.choice(tags)} if self.random.random() < 0.1 else {}
        operations = [self.operation(kind) for _ in range(self.random.choice((1, 1, 2, 3)))]
        patch = {"schemas": [f"{MESSAGES}PatchOp"], "Operations": operations}
        forms: tuple[tuple[str, str, Any], ...] = (
            *(("POST", kind, body), ("PUT", f"{kind}/{id}", body), ("DELETE", f"{kind}/{id}", None)),
            *(("PATCH", f"{kind}/{id}", patch), ("GET", f"{kind}/{id}", None)),
            *(("POST", f"{kind}/.search", self.search(kind)), ("POST", ".search", self.search(kind))),
        )
        return *self.random.choices(forms, (20, 10, 3, 30, 5, 25, 7))[0], headers

    def search(self, kind: str) -> Document:
        names, found = self.types[kind].paths, {"schemas": [f"{MESSAGES}SearchRequest"]}
        more: Document = {
            "filter": self.filter(self.types[kind]),
            "sortBy": self.random.choice(names),
            "sortOrder": self.random.choice(("ascending", "descending")),
            "count": self.random.randrange(5),
            "attributes": self.random.sample(names, 2),
        }
        return found | {name: value for name, value in more.items() if self.random.random() < 0.5}

    def filter(self, type: ResourceType, depth: int = 0) -> str:
        form = self.random.random() if depth < 3 else 1
        if form < 0.3:
            one, other = self.filter(type, depth + 1), self.filter(type, depth + 1)
            return self.random.choice((f"({one}) and ({other})", f"({one}) or {other}", f"not ({one})"))
        path = self.random.choice(type.paths)
        found = type.resolve(path)
        assert found is not None
        if found.attribute.type is not Type.COMPLEX:
            return self.condition(path, found.attribute)
        if path == found.extension or self.random.random() < 0.2:
            return f"{path}:{found.attribute.sub_attributes[0].name} pr" if path == found.extension else f"{path} pr"
        subs = self.random.choices(found.attribute.sub_attributes, k=self.random.choice((1, 2)))
        return f"{path}[{self.random.choice((' and ', ' or ')).join(self.condition(s.name, s) for s in subs)}]"

    def condition(self, name: str, attribute: Attribute) -> str:
        op = self.random.choice(OPS)
        odd = self.random.choice(("null", '""', "1", "true", '"x"', "1e400"))
        literal = odd if self.random.random() < 0.05 else json.dumps(self.simple(attribute))
        return f"{name} pr" if op == "pr" else f"{name} {op} {literal}"

    def operation(self, kind: str) -> Document:
        path = self.random.choice(self.types[kind].paths)
        found = self.types[kind].resolve(path)
        assert found is not None
        attribute, verb = found.attribute, self.random.choice(("add", "replace", "remove"))
        if kind == "Groups" and self.random.random() < 0.5:
            who = self.random.choice([*self.users, *self.groups, "nobody"])
            part = self.random.choice(("display", "type", "$ref", "value"))
            told = json.dumps(self.random.choice((who, "User", self.text())))
            where = f"members[{part} {self.random.choice(OPS[:-1])} {told}]"
            forms: tuple[Document, ...] = (
                {"op": verb, "path": "members", "value": [{"value": who}]},
                *({"op": "remove", "path": f'members[value eq "{who}"]'}, {"op": "remove", "path": where}),
            )
            return self.random.choice(forms)
        if attribute.multi_valued and attribute.sub_attributes and self.random.random() < 0.5:
            one, other = self.random.choices(attribute.sub_attributes, k=2)
            where = f"{path}[{self.condition(one.name, one)}]"
            if self.random.random() < 0.5:
                return {"op": verb, "path": f"{where}.{other.name}", "value": self.value(other)}
            return {"op": verb, "path": where, "value": self.one(attribute)}
        if verb == "remove":
            return {"op": verb, "path": path}
        odd = self.random.choice((None, "", [], {}, 1, "x", [None]))
        value = odd if self.random.random() < 0.1 else self.value(attribute)
        return (
            {"op": verb, "path": path, "value": value}
            if self.random.random() < 0.7
            else {"op": verb, "value": {path: value}}
        )
