"""What is shown holds: it is found by a filter, sorted as it reads, cut as it was asked for, and put back without a change.

And SQLite and PostgreSQL answer the same requests with the same bytes, a dry run as the request itself, pages as one list.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import prepared
from odd_people import MESSAGES, ODD, Document, People
from syncd.core.resource import comparable
from syncd.core.schema import SYNCD_USER, Attribute, Resolved, ResourceType, Returned, Type
from syncd.core.types import Extension, extended
from web_service import Service

SEED = int(os.environ.get("FUZZ_SEED", "0"))
TIMES = max(1, int(os.environ.get("FUZZ_REQUESTS", "0")) // 20_000)


def made(url: str) -> Service:
    service = Service(url)
    whole = replace(service.workspaces["default"], types=extended([Extension(ODD)]), rules=(), pools={})
    service.workspaces["default"] = whole
    return service


def people(service: Service, seed: int) -> People:
    types = service.workspaces["default"].types
    return People(seed, types.user, types.group)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    prepared.write(tmp_path / "syncd.db")
    found = made(f"sqlite:///{tmp_path}/syncd.db")
    yield found
    found.close()


# -- one engine --------------------------------------------------------------------------------------------------------------


def filled(service: Service, seed: int) -> People:
    found = people(service, seed)
    for number in range(7):
        kind, ids, body = (
            ("Groups", found.groups, found.group()) if number % 3 == 2 else ("Users", found.users, found.user())
        )
        answer = service.ask("POST", kind, body)
        if answer.status_code == 201:
            ids.append(answer.json()["id"])
        else:
            assert answer.status_code in (400, 409), answer.text
    return found


def everyone(found: People) -> list[tuple[str, str]]:
    return [(kind, id) for kind, ids in (("Users", found.users), ("Groups", found.groups)) for id in ids]


@pytest.mark.parametrize("time", range(TIMES))
def test_it_is_put_back_without_a_change(service: Service, time: int) -> None:
    found = filled(service, SEED + time)
    for kind, id in everyone(found):
        query = {
            "schemas": [f"{MESSAGES}SearchRequest"],
            "filter": f'id eq "{id}"',
            "attributes": [*found.types[kind].paths],
        }
        before = service.ask("GET", f"{kind}/{id}").json()
        whole = service.ask("POST", f"{kind}/.search", query).json()["Resources"][0]
        assert service.ask("PUT", f"{kind}/{id}", whole).status_code == 200
        assert service.ask("GET", f"{kind}/{id}").json() == before, "PUT of all that is shown"
        for name, value in before.items():
            for operation in (
                {"op": "replace", "path": name, "value": value},
                {"op": "replace", "value": {name: value}},
                {"op": "add", "path": name, "value": value},
            ):
                assert service.patch(f"{kind}/{id}", operation).status_code in (200, 204), operation
        assert service.ask("GET", f"{kind}/{id}").json() == before


@pytest.mark.parametrize("time", range(TIMES))
def test_each_value_is_found_and_sorted_as_it_is_shown(service: Service, time: int) -> None:
    found = filled(service, SEED + time)
    for kind, ids in (("Users", found.users), ("Groups", found.groups)):
        for path in leaves(found.types[kind]):
            listed = service.ask("GET", kind, attributes=path.path, sortBy=path.path, count=1000)
            assert listed.status_code == 200, listed.text
            values = {each["id"]: shown(each, path) for each in listed.json()["Resources"]}
            assert values.keys() == {*ids}
            if not (path.attribute.multi_valued or (path.parent and path.parent.multi_valued)):
                order = [comparable(path.attribute, each[0]) for each in values.values() if each]
                assert order == sorted(order), path.path
            for value in {json.dumps(each) for several in values.values() for each in several}:
                same = comparable(path.attribute, json.loads(value))
                wanted = {
                    id for id, each in values.items() if same in (comparable(path.attribute, one) for one in each)
                }
                query = {
                    "schemas": [f"{MESSAGES}SearchRequest"],
                    "filter": f"{path.path} eq {value}",
                    "attributes": ["id"],
                }
                answer = service.ask("POST", f"{kind}/.search", query)
                assert {each["id"] for each in answer.json().get("Resources", ())} == wanted, (query, answer.text)


@pytest.mark.parametrize("time", range(TIMES))
def test_a_part_is_cut_from_the_whole(service: Service, time: int) -> None:
    found = filled(service, SEED + time)
    for kind, id in everyone(found):
        type = found.types[kind]
        whole = service.ask(
            "POST",
            f"{kind}/.search",
            {"schemas": [f"{MESSAGES}SearchRequest"], "filter": f'id eq "{id}"', "attributes": [*type.paths]},
        ).json()["Resources"][0]
        for names in [{path} for path in type.paths] + [{*found.random.sample(type.paths, 3)} for _ in range(10)]:
            asked = ",".join(names)
            only = service.ask("GET", f"{kind}/{id}", attributes=asked).json()
            assert comparable_schemas(only) == comparable_schemas(cut(whole, type, names)), names
            rest = service.ask("GET", f"{kind}/{id}", excludedAttributes=asked).json()
            assert comparable_schemas(rest) == comparable_schemas(cut(whole, type, None, names)), names
        written = service.ask("PUT", f"{kind}/{id}?attributes=name,displayName", whole).json()
        assert comparable_schemas(written) == comparable_schemas(cut(whole, type, {"name", "displayName"}))


def leaves(type: ResourceType) -> list[Resolved]:
    """What is simple and can be shown; status and seats are not of these documents."""
    found = [each for path in type.paths if (each := type.resolve(path)) is not None and path != "schemas"]
    derived = {f"{SYNCD_USER}:{name}" for name in ("status", "seats", "waiting")}
    return [
        each
        for each in found
        if each.attribute.type is not Type.COMPLEX
        and each.attribute.returned is not Returned.NEVER
        and each.path not in derived
    ]


def shown(document: Document, path: Resolved) -> list[Any]:
    """Each value of a path."""
    home = document if path.extension is None else document.get(path.extension, {})
    names = path.path[len(path.extension or "") :].lstrip(":").split(".") if path.parent else [path.attribute.name]
    level = [home]
    for name in names:
        inner = [each.get(name) for each in level]
        level = [one for each in inner if each is not None for one in (each if isinstance(each, list) else [each])]
    return level


def cut(document: Document, type: ResourceType, names: Set[str] | None, without: Set[str] = frozenset()) -> Document:
    """RFC 7644 section 3.9 on a whole document. `names` None: all that is shown by default, but `without`."""
    result: Document = {}
    for key, value in document.items():
        extension = type.extension(key)
        if extension is None:
            found = type.resolve(key)
            assert found is not None
            part = _cut(found.attribute, found.path, value, names, without, inside=False)
        else:
            inside = names is not None and extension.id in names
            parts = {
                name: _cut(attribute, f"{extension.id}:{name}", each, names, without, inside, extension.id in without)
                for name, each in value.items()
                if (attribute := extension.attribute(name)) is not None
            }
            part = {name: each for name, each in parts.items() if each is not None} or None
        if part is not None:
            result[key] = part
    return result


def _cut(
    attribute: Attribute,
    path: str,
    value: Any,
    names: set[str] | None,
    without: set[str],
    inside: bool,
    out: bool = False,
) -> Any:
    always = attribute.returned is Returned.ALWAYS
    named = names is not None and path in names
    if attribute.returned is Returned.NEVER or (attribute.returned is Returned.REQUEST and not named):
        return None
    whole = inside or named or always or names is None
    leads = names is not None and any(each.startswith((f"{path}.", f"{path}:")) for each in names)
    if not always and (out or path in without or not (whole or leads)):
        return None
    if attribute.type is not Type.COMPLEX:
        return value
    elements = [
        {
            name: part
            for name, each in element.items()
            if (sub := attribute.sub(name)) is not None
            and (part := _cut(sub, f"{path}.{sub.name}", each, names, without, whole)) is not None
        }
        for element in (value if isinstance(value, list) else [value])
    ]
    kept = [each for each in elements if each]
    return (kept or None) if isinstance(value, list) else (kept[0] if kept else None)


def comparable_schemas(document: Document) -> Document:
    """syncd's own is named by who asks for status or seats, too."""
    return document | {"schemas": [urn for urn in document["schemas"] if urn != SYNCD_USER]}


# -- both engines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", range(TIMES))
def test_both_engines_answer_alike_and_a_dry_run_as_the_request(service: Service, postgres_url: str, time: int) -> None:
    other = made(postgres_url)
    found = people(service, SEED + time)
    try:
        for _ in range(90):
            method, path, body, headers = found.request()
            one, two = (asked(each, method, path, body, headers) for each in (service, other))
            assert one == two, (method, path, body)
            status, content = one
            if status == 201:
                (found.users if path == "Users" else found.groups).append(json.loads(content)["id"])
            if method == "DELETE" and status == 204:
                (found.users if path.startswith("Users") else found.groups).remove(path.rpartition("/")[2])
            if path.endswith("/.search") and status == 200 and found.random.random() < 0.3:
                assert pages(service, path, body) == pages(other, path, body)
    finally:
        other.close()


def asked(service: Service, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes]:
    writes = method != "GET" and not path.endswith(".search")
    dry = service.ask(method, path, body, headers=headers | {"X-Dry-Run": "true"}) if writes else None
    answer = service.ask(method, path, body, headers=headers)
    assert answer.status_code < 500, (method, path, body)
    if dry is not None:
        assert dry.status_code == answer.status_code, (method, path, body, dry.text, answer.text)
        if answer.content:
            foreseen, done = ({**each.json(), "id": "", "meta": {}} for each in (dry, answer))
            assert foreseen == done
    return answer.status_code, answer.content


def pages(service: Service, path: str, body: Document) -> list[str]:
    """Ids, page by page: by cursor as by number."""
    query = {**body, "count": max(1, body.get("count", 2)), "attributes": ["id"]}
    by_cursor, cursor = list[str](), ""
    while cursor is not None:
        page = service.ask("POST", path, query | {"cursor": cursor}).json()
        by_cursor += [each["id"] for each in page["Resources"]]
        cursor = page.get("nextCursor")
    by_number = list[str]()
    while fresh := service.ask("POST", path, query | {"startIndex": len(by_number) + 1}).json()["Resources"]:
        by_number += [each["id"] for each in fresh]
    assert by_cursor == by_number == [*dict.fromkeys(by_number)]
    assert len(by_number) == page["totalResults"]
    return by_number


# -- at once, later and in bulk ----------------------------------------------------------------------------------------------

Request = tuple[str, str, Any, dict[str, str]]
ID = re.compile(r"id-\d{6}")


class Way:
    """The same requests, asked in one way; `ids`: what the first way calls them -> what they are here."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ids: dict[str, str] = {}

    def here(self, value: Any) -> Any:
        return json.loads(ID.sub(lambda found: self.ids.get(found[0], found[0]), json.dumps(value)))

    def view(self) -> list[Document]:
        """Everything, under the ids of the first way."""
        there = {here: first for first, here in self.ids.items()}
        found = [
            each
            for kind in ("Users", "Groups")
            for each in self.service.ask("GET", kind, count=1000).json()["Resources"]
        ]
        named = [json.loads(ID.sub(lambda each: there.get(each[0], each[0]), json.dumps(one))) for one in found]
        for one in named:
            for lists in {"members", "groups"} & one.keys():
                one[lists].sort(key=lambda each: str(each["value"]))
        return named

    def came_to(
        self, status: str, version: str | None, error: Document | None, location: str | None
    ) -> tuple[Any, ...]:
        detail = ID.sub("ID", re.sub(r"^Operations\[\d+\]: (?=\w|Operations)", "", error["detail"])) if error else None
        made = (location or "").rpartition("/")[2] if status == "201" else ""
        return status, version, error and error.get("scimType"), detail, made

    def at_once(self, requests: list[Request]) -> list[tuple[Any, ...]]:
        found = []
        for method, path, body, headers in requests:
            answer = self.service.ask(method, path, body, headers=headers)
            error = answer.json() if answer.status_code >= 400 else None
            found.append(
                self.came_to(str(answer.status_code), answer.headers.get("etag"), error, answer.headers.get("location"))
            )
        return found

    def later(self, requests: list[Request]) -> list[tuple[Any, ...]]:
        service = self.service
        accepted = []
        for method, path, body, headers in requests:
            answer = service.ask(
                method, self.here(path), self.here(body), headers=headers | {"Prefer": "respond-async"}
            )
            assert answer.status_code == 202, answer.text
            accepted.append(answer.headers["set-txn"])
        while service.run(service.web.state.later.round()):
            pass
        events = [service.ask("GET", f"Events/{each}").json()["events"] for each in accepted]
        return [self.result(next(iter(each.values()))) for each in events]

    def in_bulk(self, requests: list[Request]) -> list[tuple[Any, ...]]:
        operations = []
        for number, (method, path, body, headers) in enumerate(requests):
            version = {"version": headers["If-Match"]} if headers and method != "POST" else {}
            content = {} if body is None else {"data": self.here(body)}
            operations.append(
                {"method": method, "path": f"/{self.here(path)}", "bulkId": f"q{number}", **version, **content}
            )
        message = {"schemas": [f"{MESSAGES}BulkRequest"], "Operations": operations}
        return [self.result(each) for each in self.service.ask("POST", "Bulk", message).json()["Operations"]]

    def result(self, said: Document) -> tuple[Any, ...]:
        return self.came_to(said["status"], said.get("version"), said.get("response"), said.get("location"))


@pytest.mark.parametrize("time", range(TIMES))
def test_at_once_later_and_in_bulk_it_comes_to_the_same(service: Service, tmp_path: Path, time: int) -> None:
    (tmp_path / "later").mkdir()
    (tmp_path / "bulk").mkdir()
    ways = [Way(service)]
    for name in ("later", "bulk"):
        prepared.write(tmp_path / name / "syncd.db")
        ways.append(Way(made(f"sqlite:///{tmp_path}/{name}/syncd.db")))
    found = people(service, SEED + time)
    once, later, bulk = ways
    for _ in range(25):
        writes = (each for each in iter(found.request, None) if each[0] != "GET" and not each[1].endswith(".search"))
        requests = [*itertools.islice(writes, found.random.choice((1, 2, 4)))]
        results = once.at_once(requests), later.later(requests), bulk.in_bulk(requests)
        assert results[0] == [(*a[:-1], b[-1]) for a, b in zip(results[1], results[0], strict=True)], requests
        assert results[0] == [(*a[:-1], b[-1]) for a, b in zip(results[2], results[0], strict=True)], requests
        for (method, path, *_), *came in zip(requests, *results, strict=True):
            kept, first = found.users if path.startswith("Users") else found.groups, came[0][-1]
            if first:
                kept.append(first)
                later.ids[first], bulk.ids[first] = came[1][-1], came[2][-1]
            elif method == "DELETE" and came[0][0] == "204":
                kept.remove(path.rpartition("/")[2])
    assert once.view() == later.view() == bulk.view()
    for each in ways[1:]:
        each.service.close()
