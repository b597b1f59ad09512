"""Requests that no client should send: what providers really send, with something wrong in it.

A request begins as one that would be answered well, and then its JSON, its bytes, its path, its query, its headers or its
size go wrong, often several of them. A seed makes the same requests every time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from syncd.core.schema import CORE_GROUP, CORE_USER, ENTERPRISE_USER, GROUP, SYNCD_USER, USER

from .direct import Answered, Asked

MESSAGES = "urn:ietf:params:scim:api:messages:2.0:"
TEXTS = (
    *(
        "",
        " ",
        "a",
        "A" * 300,
        "\0",
        "a\0b",
        "\x1b[31m",
        "\r\nX-Odd: 1",
        "\U0001f600",
        "e\u0301",
        "\u202e",
        "\ufffe",
        "null",
    ),
    *(
        "'; DROP TABLE users; --",
        '" or 1 eq 1 or "',
        "%00",
        "../../etc/passwd",
        "<script>",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "%s%n",
    ),
    *(
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:00+99:99",
        "9999999-01-01",
        "True",
        "urn:",
        "bulkId:",
        "bulkId:x",
        'W/"1"',
        "*",
    ),
    *(
        "userName",
        "members",
        "emails.value",
        "id",
        "-1",
        "1e999",
        "\\",
        "\\u0000",
        '\\"',
        "groups",
        "meta.version",
        "[",
        "]",
    ),
)
# The same letter in several forms, letters that nobody sees, and those whose capitals are other letters.
LETTERS = (
    *("\u00e9", "e\u0301", "\u212b", "\u00c5", "\ufb01", "\u017f", "\u1e9e", "\u0130", "i\u0307", "\u0131"),
    *(
        "\u200b",
        "a\u200db",
        "\u2066x\u2069",
        "\ufeff",
        "\u2028",
        "\uff41",
        "\U0010ffff",
        "\ud800",
        "\udc00a",
        "\x7f",
        "\x85",
    ),
    *("a" + "\u0301" * 500, "\U0001f468\u200d\U0001f469", "\u0e01\u0e33", "\u03a3\u03c2", "\u01c5"),
)
DATES = (
    *("2016-12-31T23:59:60Z", "2026-01-01T24:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
    *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00." + "9" * 40 + "Z"),
    *(
        "2026-01-01t00:00:00z",
        "2026-01-01T00:00:00",
        "2026-W01-1",
        "2026-01-01T00:00:00+24:00",
        "-2026-01-01T00:00:00Z",
    ),
)
BINARIES = ("QUI", "QUI=", "QQ===", "Q U I =", "-_-_", "=", "QUI=QUI=", "\u00e9", " " * 50 + "!", "A" * 5000)
REFERENCES = (
    "javascript:alert(1)",
    "http://[::1",
    "//x",
    "http://x/\0",
    "Users/x",
    "../Groups/x",
    "urn:",
    "data:,x",
    "\\\\x\\y",
)
TEXTS = (*TEXTS, *LETTERS, *DATES, *BINARIES, *REFERENCES)
VALUES: tuple[Any, ...] = (
    *(float("inf"), float("nan"), -0.0, 1.0, 1e-400, 10**400, -(10**19), 2**53 + 1, 5e-324),
    *(json.loads("[" * 20 + "]" * 20), json.loads('{"a":' * 20 + "1" + "}" * 20), [*range(3000)], ["a"] * 3000),
    *([{"value": str(n)} for n in range(500)], {str(n): n for n in range(500)}),
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        2**63,
        -(2**70),
        1e308,
        [],
        {},
        [[]],
        [{}],
        [None],
        {"": ""},
        {"value": {}},
        [[[[]]]],
    ),
    *(
        {"value": None},
        {"value": []},
        [{"value": 1}],
        {"$ref": None},
        {"value": "a", "VALUE": "b"},
        {"a.b": 1},
        [1, "a", None],
    ),
    *({"op": "add"}, {"schemas": None}, {ENTERPRISE_USER: 1}, {"\0": "a"}, {"members": None}, {"active": "maybe"}),
)
NAMES = (
    *USER.paths,
    *GROUP.paths,
    ENTERPRISE_USER,
    SYNCD_USER,
    f"{ENTERPRISE_USER}:manager",
    "nothing",
    "$ref",
    "schemas",
)
OPERATORS = ("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr", "EQ", "Pr", "is", "==", "and", "")
PATHS_OF_PATCH = (
    *(
        'emails[type eq "work"]',
        'EMAILS[TYPE EQ "work"].VALUE',
        'emails[not (type eq "work")].value',
        "emails[value pr]",
    ),
    *(
        'emails[type eq "a]b"].value',
        'emails[type eq "a\\"]"].value',
        'emails[(type eq "work")]',
        'emails[type eq "\\u0041"]',
    ),
    *('emails[type eq "work"][value eq "x"]', 'emails[emails[type eq "x"]]', 'emails[addresses[type eq "x"].value]'),
    *(
        'emails[type eq "work"].value.x',
        "emails[].value",
        "emails.value[type pr]",
        ".emails",
        "emails.",
        "emails..value",
    ),
    *(
        'emails[type eq "work"] .value',
        ' emails [ type eq "work" ] . value',
        'emails[type eq "work"]value',
        "emails[0]",
    ),
    *(f'{CORE_USER}:emails[type eq "work"].value', f"{CORE_USER.replace('2.0', '3.0')}:title", f"{CORE_USER}", "urn:"),
    *(
        f"{ENTERPRISE_USER}:manager.value",
        f"{ENTERPRISE_USER}:manager[value pr]",
        f"{ENTERPRISE_USER.upper()}:DEPARTMENT",
    ),
    *(f"{ENTERPRISE_USER.replace('2.0', '1.0')}:department", f"{ENTERPRISE_USER}.department", f"{ENTERPRISE_USER}:"),
    *(
        "schemas",
        'schemas[value eq "x"]',
        "name.formatted.x",
        "$ref",
        "emails.$ref",
        "members[value eq",
        "members[type pr].display",
    ),
    *('members[value eq "bulkId:b0"]', 'members[$ref ew "x" or display co "a"]', "groups[value pr]", "meta.version"),
    *('emails[type eq "' + "w" * 9000 + '"]', "emails[" + "(" * 40 + "type pr" + ")" * 40 + "]", "a" * 70_000),
)
LITERALS = (
    '"\\ud800\\udc00"',
    '"e\\u0301"',
    "-0",
    "1.0",
    "1e-400",
    "9223372036854775808",
    '"2016-12-31T23:59:60Z"',
    '"a"',
    '""',
    "1",
    "-1.5e9",
    "true",
    "null",
    "nul",
    '"\\u12"',
    '"\\ud800"',
    '"a',
    "1e400",
    "0x1",
    "'a'",
    "9" * 400,
    '"%"',
    '"2026-01-01T00:00:00Z"',
)
PATHS = (
    "Users",
    "Groups",
    "Bulk",
    "Me",
    "Schemas",
    "ResourceTypes",
    "ServiceProviderConfig",
    ".search",
    "Users/.search",
    "Groups/.search",
    "",
    "Events/x",
    "Nothing",
    "Users/x/y",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "PROPFIND", "CONNECT")
HEADERS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (
        b"content-type",
        (
            b"",
            b"text/plain",
            b"application/json; charset=utf-16",
            b"application/scim+json;;;",
            b"\xff\xfe",
            b"a" * 5000,
            b"+json",
            b"multipart/form-data",
        ),
    ),
    (b"content-length", (b"-1", b"99999999999999999999", b"1e3", b"0x10", b"", b"\xb2")),
    (b"if-match", (b"*", b'W/"1"', b'"', b'W/"', b'"a", , "b', b"\xff", b'W/"99999999999999999999"', b"," * 3000)),
    (b"if-none-match", (b"*", b'W/"1"', b"\xe9", b'""')),
    (
        b"prefer",
        (
            b"respond-async",
            b"respond-async, wait=",
            b"wait=-1, respond-async",
            b"respond-async; wait=1e9",
            b"respond-async, wait=\xb2",
            b'a="',
            b",;=",
        ),
    ),
    (b"x-dry-run", (b"true", b"TRUE ", b"yes", b"", b"\xff", b"true, false")),
    (b"x-request-id", (b"a b", b"\r", b"a" * 5000, b"\xff\xfe", b"{}")),
    (b"content-length", (b"1", b"0", b"2097153")),
    (b"authorization", (b"Bearer x", b"", b"Basic YTpi")),
    (b"content-type", (b"text/plain", b"application/scim+json", b"application/scim+json; charset=\xff")),
    (
        b"if-match",
        (b'W/"1", W/"2", "3"', b'"1" "2"', b'"*"', b"W/*", b'w/"1"', b"W/1", b'"\xe9"', b" " * 500 + b'"', b'"1\\""'),
    ),
    (b"if-none-match", (b'"*"', b'W/"1", *', b'W/"2"')),
    (
        b"prefer",
        (
            b'respond-async; a="b,c"; wait',
            b"RESPOND-ASYNC, wait=0",
            b"wait=99999999999, respond-async",
            b"return=minimal",
        ),
    ),
    (b"accept", (b"text/html", b"*/*;q=a", b"\xff")),
    (b"accept-encoding", (b"gzip", b"identity;q=0")),
    (b"content-encoding", (b"gzip", b"br", b"deflate")),
    (b"host", (b"", b"a b", b"evil.test", b"[::1", b"\xff", b"a" * 3000, b"evil.test:99999999")),
    (b"x-forwarded-for", (b"a", b"::::", b"1.2.3.4, \xff", b"," * 1000)),
    (b"cookie", (b"a=b", b"\xff")),
    (b"expect", (b"100-continue", b"\xff")),
)
AUTHORIZATIONS = (
    b"",
    b"Bearer",
    b"Bearer ",
    b"Basic YTpi",
    b"Bearer \xff",
    b"bearer a b",
    b"Bearer syncd_",
    b"Bearer a.b.c",
    b"Bearer eyJhbGciOiJub25lIn0.e30.",
    b"Bearer \0",
    b"Negotiate " + b"A" * 9000,
)


class Odd:
    """Makes requests. `ids`: of users and groups that were there at some time, for it to ask for."""

    def __init__(self, seed: int, token: str) -> None:
        self.random = random.Random(seed)
        self.token = token
        self.users: list[str] = ["nobody"]
        self.groups: list[str] = ["nothing"]
        self.cursors: list[tuple[str, dict[str, str], str]] = []  # path, query and the cursor that was given for it

    def saw(self, asked: Asked, answer: Answered) -> None:
        """Keep the cursor of a list."""
        if answer.status == 200 and asked.method == "GET" and b'"nextCursor"' in answer.body:
            query = dict(parse_qsl(asked.query.decode("latin-1")))
            cursor, path = answer.json()["nextCursor"], asked.path.removeprefix("/scim/v2/")
            plain = query.keys() <= {"count", "sortBy", "cursor"} and path in ("Users", "Groups", "")
            if plain and query.pop("cursor", None) is not None:
                self.cursors = [*self.cursors[-20:], (path, query, cursor)]

    # -- what would be right ---------------------------------------------------------------------------------------------

    def next(self) -> Asked:
        asked = self.chance(
            (self.creating, 4),
            (self.patching, 8),
            (self.putting, 3),
            (self.listing, 6),
            (self.bulk, 3),
            (self.reading, 2),
            (self.searching, 2),
            (self.deleting, 1),
            (self.paging, 2),
            (self.entangled, 1.5),
        )()
        for _ in range(self.random.choice((0, 0, 1, 1, 2))):
            asked = self.chance(
                (self.wrong_bytes, 2),
                (self.wrong_path, 1.5),
                (self.wrong_header, 4),
                (self.wrong_query, 2),
                (self.wrong_method, 0.6),
                (self.wrong_size, 0.06),
                (self.wrong_token, 0.3),
                (self.combined, 1),
            )(asked)
            asked = replace(asked, statuses=())
        return asked

    def chance(self, *weighed: tuple[Callable[..., Any], float]) -> Callable[..., Any]:
        return self.random.choices([each for each, _ in weighed], [weight for _, weight in weighed])[0]

    def asked(self, method: str, path: str, body: Any = None, query: str = "") -> Asked:
        content = b"" if body is None else self.text(body)
        headers = [(b"authorization", f"Bearer {self.token}".encode())]
        if content:
            headers.append((b"content-type", self.random.choice((b"application/scim+json", b"application/json"))))
        return Asked(method, f"/scim/v2/{path}", query.encode("utf-8", "replace"), tuple(headers), content)

    def kind(self) -> tuple[str, list[str]]:
        return ("Users", self.users) if self.random.random() < 0.6 else ("Groups", self.groups)

    def document(self, kind: str) -> dict[str, Any]:
        number = self.random.randrange(60)
        if kind == "Groups":
            members = [{"value": self.random.choice(self.users + self.groups)} for _ in range(self.random.randrange(3))]
            return {
                "schemas": [CORE_GROUP],
                "displayName": f"g{number}",
                "members": members,
                "externalId": f"e{number}",
            }
        return {
            "schemas": [CORE_USER, ENTERPRISE_USER],
            "userName": f"u{number}",
            "externalId": f"e{number}",
            "active": self.random.choice((True, False, "True")),
            "name": {"givenName": "A", "familyName": "B"},
            "emails": [{"value": f"u{number}@x.test", "type": "work", "primary": True}],
            "userType": self.random.choice(("Employee", "Guest")),
            ENTERPRISE_USER: {"department": "d", "manager": {"value": self.random.choice(self.users)}},
        }

    def creating(self) -> Asked:
        kind, _ = self.kind()
        return self.asked("POST", kind, self.maybe_wrong(self.document(kind)))

    def putting(self) -> Asked:
        kind, ids = self.kind()
        return self.asked("PUT", f"{kind}/{self.random.choice(ids)}", self.maybe_wrong(self.document(kind)))

    def deleting(self) -> Asked:
        kind, ids = self.kind()
        return self.asked("DELETE", f"{kind}/{self.random.choice(ids)}")

    def patching(self) -> Asked:
        kind, ids = self.kind()
        message = {"schemas": [MESSAGES + "PatchOp"], "Operations": self.operations(kind)}
        return self.asked("PATCH", f"{kind}/{self.random.choice(ids)}", self.maybe_wrong(message))

    def operations(self, kind: str) -> list[dict[str, Any]]:
        return [self.operation(kind) for _ in range(self.random.choice((1, 1, 2, 5)))]

    def operation(self, kind: str) -> dict[str, Any]:
        made: dict[str, Any] = {"op": self.random.choice(("add", "replace", "remove", "Add", "Remove"))}
        name = "members" if kind == "Groups" and self.random.random() < 0.5 else self.random.choice(NAMES)
        made["path"] = self.random.choice(
            (
                self.random.choice(PATHS_OF_PATCH),
                name,
                name,
                f"{name}.value",
                f"{name}[{self.filter(1)}]",
                f'{name}[type eq "work"].value',
                None,
            )
        )
        made["value"] = self.random.choice(
            (self.value(), self.value(), [{"value": self.random.choice(self.users)}], {name: self.value()})
        )
        return {key: part for key, part in made.items() if self.random.random() < 0.95}

    def bulk(self) -> Asked:
        operations = []
        for number in range(self.random.choice((0, 1, 2, 4))):
            kind, ids = self.kind()
            method = self.random.choice(("POST", "POST", "PUT", "PATCH", "DELETE", "GET"))
            path = f"/{kind}" + ("" if method == "POST" else f"/{self.random.choice([*ids, 'bulkId:b0', 'bulkId:'])}")
            body: Any = self.document(kind)
            if method == "PATCH":
                body = {"schemas": [MESSAGES + "PatchOp"], "Operations": self.operations(kind)}
            elif kind == "Groups":
                body["members"] = [{"value": f"bulkId:b{self.random.randrange(4)}"}]
            operations.append({"method": method, "path": path, "bulkId": f"b{number}", "data": body})
        message: dict[str, Any] = {"schemas": [MESSAGES + "BulkRequest"], "Operations": operations}
        if self.random.random() < 0.3:
            message["failOnErrors"] = self.random.choice((0, 1, -1, "1", 2**40, None, 1.5))
        return self.asked("POST", "Bulk", self.maybe_wrong(message))

    def entangled(self) -> Asked:
        """Operations that need each other: in circles, themselves, what failed, what is gone, what is no operation."""
        n = self.random.choice((1, 2, 3, 5, 9))
        name = lambda: f"bulkId:b{self.random.randrange(n + 1)}"  # noqa: E731
        known = self.random.choice(self.users)
        operations: list[dict[str, Any]] = []
        for number in range(n):
            user, group = self.document("Users"), self.document("Groups")
            user[ENTERPRISE_USER] = {"manager": {"value": name(), "$ref": f"../Users/{name()}"}}
            group["members"] = [{"value": name()}, {"value": f"bulkId:b{(number + 1) % n}", "$ref": name()}]
            changes = [
                {"op": "add", "path": "members", "value": [{"value": name()}]},
                {"op": "remove", "path": f'members[value eq "{name()}"]'},
                {"op": "replace", "path": f"{ENTERPRISE_USER}:manager.value", "value": name()},
            ]
            patch = {"schemas": [MESSAGES + "PatchOp"], "Operations": [self.random.choice(changes)]}
            where = self.random.choice((f"/Users/{known}", f"/Users/{name()}", f"/Groups/{name()}"))
            form = self.random.choice(
                (
                    {"method": "POST", "path": "/Users", "data": user},
                    {"method": "POST", "path": "/Groups", "data": group},
                    {"method": "POST", "path": "/Groups", "data": group},
                    {
                        "method": "PATCH",
                        "path": where,
                        "data": patch,
                        "version": self.random.choice(('W/"1"', '"9"', "*")),
                    },
                    {"method": "PATCH", "path": where, "data": patch},
                    {"method": "PUT", "path": where, "data": user},
                    {"method": "DELETE", "path": where},
                    {
                        "method": "POST",
                        "path": "/Bulk",
                        "data": {"schemas": [MESSAGES + "BulkRequest"], "Operations": []},
                    },
                )
            )
            own = number if self.random.random() < 0.95 else 0
            operations.append(form | {"bulkId": f"b{own}"})
        message: dict[str, Any] = {"schemas": [MESSAGES + "BulkRequest"], "Operations": operations}
        if self.random.random() < 0.2:
            message["failOnErrors"] = 1
        return self.asked("POST", "Bulk", message)

    def paging(self) -> Asked:
        """By cursors: those that were given, and what is none of them."""
        path, query, cursor = self.random.choice(self.cursors or [("Users", {"count": "1"}, "")])
        form = self.random.randrange(7)
        if form == 0:
            cursor, said = "", {"count": "1", "sortBy": self.random.choice(("userName", "id", "displayName"))}
            return self.asked(
                "GET", self.random.choice(("Users", "Groups", "")), query=urlencode({**said, "cursor": cursor})
            )
        refused: tuple[int, ...] = (400,)
        if form == 1:
            refused = ()  # as it was given
        elif form == 2:
            cursor = cursor[: self.random.randrange(1, len(cursor))] if len(cursor) > 1 else "x"
        elif form == 3 and cursor:
            place = self.random.randrange(len(cursor))
            cursor = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        elif form == 4:
            query = query | {"filter": 'userName ne "nobody"'}
        elif form == 5:
            query = query | {"sortBy": "meta.created", "sortOrder": "descending"}
        else:
            query = query | self.random.choice(
                ({"startIndex": "2"}, {"count": "2"}, {"count": "x"}, {"attributes": "id"})
            )
        asked = self.asked("GET", path, query=urlencode(query | {"cursor": cursor}))
        return replace(asked, statuses=refused if cursor else ())

    def combined(self, asked: Asked) -> Asked:
        """Later, as a trial and only if: several of them together."""
        said = [
            (b"prefer", b"respond-async"),
            (b"x-dry-run", self.random.choice((b"true", b"false"))),
            (b"if-match", self.random.choice((b'W/"1"', b"*", b'W/"1", W/"2"'))),
            (b"if-none-match", self.random.choice((b"*", b'W/"1"'))),
        ]
        return replace(asked, headers=(*asked.headers, *self.random.sample(said, self.random.randrange(1, 4))))

    def reading(self) -> Asked:
        kind, ids = self.kind()
        return self.asked(
            "GET", f"{kind}/{self.random.choice(ids)}", query=self.query("attributes", "excludedAttributes")
        )

    def listing(self) -> Asked:
        names = ("filter", "filter", "count", "startIndex", "sortBy", "sortOrder", "cursor", "attributes")
        return self.asked(
            "GET", self.random.choice(("Users", "Groups", "")), query=self.query(*self.random.sample(names, 2))
        )

    def searching(self) -> Asked:
        asked = {
            name: self.value() for name in ("filter", "count", "sortBy", "attributes") if self.random.random() < 0.4
        }
        if self.random.random() < 0.6:
            asked["filter"] = self.filter()
        path = self.random.choice(("Users/.search", "Groups/.search", ".search"))
        return self.asked("POST", path, self.maybe_wrong({"schemas": [MESSAGES + "SearchRequest"], **asked}))

    def query(self, *names: str) -> str:
        said: dict[str, str] = {}
        for name in names:
            if name == "filter":
                said[name] = self.filter()
            elif name in ("count", "startIndex"):
                said[name] = self.random.choice(("0", "1", "-5", "1001", "9" * 50, "1.5", "٣", "", "+1", "1 1"))
            else:
                said[name] = self.random.choice((*NAMES, *TEXTS))
        return urlencode(said, errors="surrogatepass")

    def filter(self, depth: int = 0) -> str:
        form = self.random.random()
        if form < 0.12 and depth < 4:
            return (
                f"{self.filter(depth + 1)} {self.random.choice(('and', 'or', 'AND', 'xor'))} {self.filter(depth + 1)}"
            )
        if form < 0.2 and depth < 4:
            return self.random.choice(("not ({})", "({})", "(({})", "not {}", "{})")).format(self.filter(depth + 1))
        if form < 0.25:
            return self.random.choice(("(" * 500, "not " * 500 + "(a pr)", "a eq 1 and " * 900 + "a pr", *TEXTS))
        name = self.random.choice(NAMES)
        said = f"{name} {self.random.choice(OPERATORS)} {self.random.choice(LITERALS)}"
        return f"{name}[{said.replace(name, 'value', 1)}]" if form < 0.4 else said

    # -- and what is not ---------------------------------------------------------------------------------------------------

    def value(self) -> Any:
        return self.random.choice(VALUES) if self.random.random() < 0.5 else self.random.choice(TEXTS)

    def maybe_wrong(self, body: Any) -> Any:
        for _ in range(self.random.choice((0, 0, 1, 1, 2))):
            body = self.wrong(body)
        return body

    def wrong(self, node: Any) -> Any:
        """Something within it replaced, taken away, doubled or nested."""
        if isinstance(node, dict) and node:
            key = self.random.choice(list(node))
            if self.random.random() < 0.6:
                return {**node, key: self.wrong(node[key])}
            form = self.random.randrange(4)
            if form == 0:
                return {name: part for name, part in node.items() if name != key}
            added = key.swapcase() if form == 1 else self.random.choice((*TEXTS, *NAMES))
            return {**node, added: self.value() if form < 3 else node}
        if isinstance(node, list) and node and self.random.random() < 0.7:
            index = self.random.randrange(len(node))
            return [*node[:index], self.wrong(node[index]), *node[index + self.random.randrange(2) :]]
        return self.value()

    def text(self, body: Any) -> bytes:
        try:
            return json.dumps(body, ensure_ascii=self.random.random() < 0.5).encode("utf-8", "surrogatepass")
        except ValueError:
            return b"{}"

    def wrong_bytes(self, asked: Asked) -> Asked:
        body = asked.body or b"{}"
        place = self.random.randrange(len(body) + 1)
        return replace(
            asked,
            body=self.random.choice(
                (
                    body[:place],
                    body[:place]
                    + self.random.choice(
                        (b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"}", b"[", b",", b"\\u0000", b"1e999")
                    )
                    + body[place:],
                    b"\xef\xbb\xbf" + body,
                    body.decode("utf-8", "replace").encode("utf-16"),
                    body + body,
                    b"[" * 5000,
                    b'{"a":' * 400 + b"1" + b"}" * 400,
                    b"NaN",
                    b'{"schemas":["' + CORE_USER.encode() + b'"],"userName":"a","userName":"b"}',
                    b"userName=a&active=true",
                )
            ),
            chunks=self.random.choice((1, 3)),
            breaks_off=self.random.random() < 0.05,
        )

    def wrong_path(self, asked: Asked) -> Asked:
        path = self.random.choice(
            (
                f"/scim/v2/{self.random.choice(PATHS)}",
                f"/scim/v2/Users/{self.random.choice(TEXTS)}",
                f"/scim/v2/Groups/{self.random.choice(self.groups)}{self.random.choice(TEXTS)}",
                asked.path
                + self.random.choice(("/", "//", "/.", "/..", "/%2e%2e", ";a=b", "?", "#", "\0", "\udcff", "é")),
                asked.path.replace("/", "//"),
                asked.path.upper(),
                quote(asked.path, safe="", errors="replace"),
                asked.path + "/a" * 3000,
                "/scim/v2/../../healthz/../scim/v2/Users",
                f"/scim/v1/{asked.path}",
                "*",
                "",
            )
        )
        return replace(asked, path=path)

    def wrong_header(self, asked: Asked) -> Asked:
        name, values = self.random.choice(HEADERS)
        kept = tuple(each for each in asked.headers if each[0] != name or self.random.random() < 0.2)
        return replace(asked, headers=(*kept, (name, self.random.choice(values))))

    def wrong_token(self, asked: Asked) -> Asked:
        kept = tuple(each for each in asked.headers if each[0] != b"authorization" or self.random.random() < 0.2)
        wrong = (*AUTHORIZATIONS, f"Bearer {self.token[:-1]}!".encode(), f"Bearer {self.token.upper()}".encode())
        return replace(asked, headers=(*kept, (b"authorization", self.random.choice(wrong))))

    def wrong_query(self, asked: Asked) -> Asked:
        odd = (
            b"filter",
            b"filter=%",
            b"filter=%ff",
            b"&&&=",
            b"count=%00",
            b"attributes=" + b"a," * 3000,
            b"filter=a&filter=b",
            b"\xff=\xfe",
            b"sortBy=%F0%9F%98%80",
            b"attributes=id&excludedAttributes=id",
            b"cursor=" + b"A" * 4000,
            b"filter=userName%20eq%20%22" + b"a" * 9000,
        )
        return replace(asked, query=asked.query + b"&" + self.random.choice(odd))

    def wrong_method(self, asked: Asked) -> Asked:
        return replace(asked, method=self.random.choice(METHODS))

    def wrong_size(self, asked: Asked) -> Asked:
        size = self.random.choice((1_048_577, 4_194_305))
        filler = self.random.choice((b" " * size, b'{"a":"' + b"a" * size + b'"}', b"[" * size))
        return replace(asked, body=filler, chunks=self.random.choice((1, 20)))
