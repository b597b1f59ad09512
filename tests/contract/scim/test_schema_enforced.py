"""What /Schemas says of an attribute is what happens to it: each characteristic of each one is tried over HTTP.

`canonicalValues` are recommendations (RFC 7643 section 7) and restrict nothing; `referenceTypes` say what a URL points to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from syncd.core.schema import Attribute, Mutability, Returned, Schema, Type, Uniqueness
from syncd.core.types import Extension, extended

from .conftest import GROUP_URN, USER_URN, Service

Json = dict[str, Any]
RIGHT: Json = {"string": "Ab", "reference": "https://x.test/Users/Ab", "binary": "QWI=", "boolean": True}
RIGHT |= {"integer": 7, "decimal": 1.5, "dateTime": "2026-11-21T12:00:00Z"}
WRONG: Json = {"string": 7, "reference": 7, "binary": "?", "boolean": "perhaps", "complex": 7}
WRONG |= {"integer": 1.5, "decimal": "much", "dateTime": "tomorrow"}

_QUIET = Attribute("quiet", returned=Returned.REQUEST)

# An extension that has every type and every word.
ODD = Schema(
    "urn:example:params:scim:schemas:extension:odd:2.0",
    "Odd",
    "Everything that a file may say",
    (
        Attribute("plain"),
        Attribute("exact", case_exact=True),
        Attribute("several", multi_valued=True),
        Attribute("whole", Type.INTEGER),
        Attribute("part", Type.DECIMAL),
        Attribute("when", Type.DATETIME),
        Attribute("bytes", Type.BINARY, case_exact=True),
        Attribute("whether", Type.BOOLEAN),
        Attribute("mentor", Type.REFERENCE, case_exact=True, reference_types=("User",)),
        Attribute("once", mutability=Mutability.IMMUTABLE),
        Attribute("secret", mutability=Mutability.WRITE_ONLY, returned=Returned.NEVER),
        Attribute("asked", returned=Returned.REQUEST),
        Attribute("kept", returned=Returned.ALWAYS),
        Attribute("theirs", mutability=Mutability.READ_ONLY),
        Attribute("desk", Type.COMPLEX, sub_attributes=(Attribute("floor"), Attribute("room"), _QUIET)),
        Attribute(
            "keys", Type.COMPLEX, multi_valued=True, sub_attributes=(Attribute("value"), Attribute("door"), _QUIET)
        ),
    ),
)

# A group's attributes are not kept unique.
OF_USERS = Schema(
    "urn:example:params:scim:schemas:extension:number:2.0:User",
    "Number",
    "What nobody else has",
    (Attribute("number", uniqueness=Uniqueness.SERVER),),
)


@dataclass(frozen=True)
class Place:
    """An attribute as discovery tells it, and where it is."""

    endpoint: str
    core: str
    schema: str
    attribute: Json
    parent: Json | None = None

    @property
    def name(self) -> str:
        name = self.attribute["name"]
        return name if self.parent is None else f"{self.parent['name']}.{name}"

    @property
    def path(self) -> str:
        return self.name if self.schema == self.core else f"{self.schema}:{self.name}"

    @property
    def read_only(self) -> bool:
        return "readOnly" in (self.attribute["mutability"], (self.parent or {}).get("mutability"))

    @property
    def listed(self) -> bool:
        return bool(self.attribute["multiValued"] or (self.parent or {}).get("multiValued"))

    def document(self, value: Any) -> Json:
        """A part of a resource that has this value here."""
        found = {self.attribute["name"]: value}
        if self.parent is not None:
            found = {self.parent["name"]: [found] if self.parent["multiValued"] else found}
        return found if self.schema == self.core else {self.schema: found}

    def of(self, document: Json) -> Any:
        """What a resource has here; of a list's parts the first."""
        found: Any = document if self.schema == self.core else document.get(self.schema, {})
        if self.parent is not None:
            found = found.get(self.parent["name"], {})
            found = found[0] if isinstance(found, list) else found
        return found.get(self.attribute["name"])


def places(service: Service) -> Iterator[Place]:
    schemas = {each["id"]: each for each in service.ask("GET", "Schemas").json()["Resources"]}
    for type in service.ask("GET", "ResourceTypes").json()["Resources"]:
        urns = [type["schema"], *(each["schema"] for each in type.get("schemaExtensions", ()))]
        for urn, attribute in ((each, a) for each in urns for a in schemas[each]["attributes"]):
            yield Place(type["endpoint"][1:], type["schema"], urn, attribute)
            for sub in attribute.get("subAttributes", ()):
                yield Place(type["endpoint"][1:], type["schema"], urn, sub, attribute)


class Trial:
    """One attribute of one service; every method is a characteristic."""

    def __init__(self, service: Service, place: Place, n: int) -> None:
        self.service, self.place, self.n = service, place, n
        self.made = 0

    def post(self, **more: Any) -> Any:
        self.made += 1
        key = "userName" if self.place.core == USER_URN else "displayName"
        body = {"schemas": [self.place.core], key: f"Ab{self.n}x{self.made}", **more}
        return self.service.ask("POST", self.place.endpoint, body)

    def right(self, at: Place | None = None) -> Any:
        """A value that fits."""
        place = at or self.place
        if place.parent is None and place.name == "members":
            return [{"value": self.service.user(f"member{self.n}x{self.made}")["id"]}]
        if place.attribute["type"] != "complex":
            value = RIGHT[place.attribute["type"]]
            return [value] if place.attribute["multiValued"] else value
        shown = (sub for sub in place.attribute["subAttributes"] if sub["returned"] != "request")
        subs = {sub["name"]: RIGHT[sub["type"]] for sub in shown}
        return [subs] if place.attribute["multiValued"] else subs

    def fails(self, answer: Any, status: int, scim_type: str | None) -> None:
        assert (answer.status_code, answer.json().get("scimType")) == (status, scim_type), answer.text

    def type(self) -> None:
        """A wrong value is refused; a right one is what is answered, in the letter case it was sent in."""
        place = self.place
        if place.read_only or place.name.startswith("members."):
            return
        wrong = WRONG[place.attribute["type"]]
        self.fails(
            self.post(**place.document([wrong] if place.attribute["multiValued"] else wrong)), 400, "invalidValue"
        )
        answer = self.post(**place.document(self.right()))
        assert answer.status_code == 201, answer.text
        found = place.of(answer.json())
        if place.attribute["returned"] == "never":
            assert found is None
        elif place.attribute["type"] != "complex":
            assert found == self.right()
        else:
            assert isinstance(found, list) is place.attribute["multiValued"]

    def multi_valued(self) -> None:
        place = self.place
        if place.read_only or place.parent is not None or place.name == "members":
            return
        one = self.right()[0] if place.attribute["multiValued"] else self.right()
        other = (
            {**one, "value": RIGHT_AGAIN[type(one["value"])], "primary": False}
            if isinstance(one, dict) and "value" in one
            else one
        )
        answer = self.post(**place.document([one, other]))
        if place.attribute["multiValued"]:
            assert answer.status_code == 201 and len(place.of(answer.json())) == (1 if one == other else 2), answer.text
        else:
            self.fails(answer, 400, "invalidValue")

    def required(self) -> None:
        place = self.place
        if place.parent is not None or not place.attribute["required"]:
            return
        self.fails(self.service.ask("POST", place.endpoint, {"schemas": [place.core]}), 400, "invalidValue")
        made = self.post().json()
        gone = self.service.patch(f"{place.endpoint}/{made['id']}", {"op": "remove", "path": place.path})
        self.fails(gone, 400, "mutability")

    def mutability(self) -> None:
        place = self.place
        if place.name.startswith("members.") or place.attribute["type"] == "complex":
            return
        value = self.right()
        if place.read_only:
            made = self.post(**place.document(value))
            assert made.status_code == 201 and place.of(made.json()) is None, "ignored (RFC 7644 section 3.3)"
            for kind in ("add", "replace"):
                changed = {"op": kind, "path": place.path, "value": value}
                self.fails(self.service.patch(f"{place.endpoint}/{made.json()['id']}", changed), 400, "mutability")
            return
        beside: Json = {}  # a value that has nothing but a type is none
        if place.parent is not None:
            others = [sub for sub in place.parent["subAttributes"] if sub["name"] != place.attribute["name"]]
            whole = Place(place.endpoint, place.core, place.schema, {**place.parent, "subAttributes": others})
            beside = whole.document(self.right(whole))
        made = self.post(**beside).json()
        changed = {"op": "add", "path": place.path, "value": value}
        answer = self.service.patch(f"{place.endpoint}/{made['id']}", changed)
        assert answer.status_code in (200, 204), answer.text
        path = f"{place.endpoint}/{made['id']}"
        found = place.of(self.service.ask("GET", path, attributes=place.path).json())
        assert found == (None if place.attribute["returned"] == "never" else value)
        if place.attribute["mutability"] == "immutable":
            other = {"op": "replace", "path": place.path, "value": "Other"}
            self.fails(self.service.patch(path, other), 400, "mutability")
            assert self.service.patch(path, changed).status_code in (200, 204), "the same again"

    def returned(self) -> None:
        place = self.place
        if place.read_only or place.name.startswith("members"):
            return
        made = self.post(**place.document(self.right())).json()
        path = f"{place.endpoint}/{made['id']}"
        asked, without = (
            place.of(self.service.ask("GET", path, **{parameter: place.path}).json())
            for parameter in ("attributes", "excludedAttributes")
        )
        match place.attribute["returned"]:
            case "never":
                assert (asked, without, place.of(made)) == (None, None, None)
                text = f'{place.path} eq "Ab"'
                self.fails(self.service.ask("GET", place.endpoint, filter=text), 400, "invalidFilter")
            case "always":
                other = place.of(self.service.ask("GET", path, attributes="userName").json())
                whole = place.of(self.service.ask("GET", path, excludedAttributes=place.schema).json())
                assert asked == without == other == whole == place.of(made) == self.right()
            case "request":
                assert (asked, without) == (self.right(), None)
                self.answered_to_who_writes_it(path, made)
            case "default":
                assert asked == place.of(made) and without is None, "it was to be left out"

    def answered_to_who_writes_it(self, path: str, made: Json) -> None:
        """RFC 7643 section 7: in response to a POST, PUT or PATCH in which the client specified it, and to no other."""
        place, value = self.place, self.right()
        text = "userName" if place.core == USER_URN else "displayName"
        assert place.of(made) == value and place.of(self.service.ask("GET", path).json()) is None
        whole = {key: made[key] for key in ("schemas", text)}
        put = self.service.ask("PUT", path, whole | place.document(value)).json()
        patched = self.patched(path, {"op": "replace", "path": place.path, "value": value})
        nested = self.patched(path, {"op": "add", "value": place.document(value)})
        assert [place.of(each) for each in (put, patched, nested)] == [value] * 3
        other = {"op": "replace", "path": text, "value": made[text]}
        assert place.of(self.patched(path, other)) is None
        restricted = self.service.ask("PUT", path, whole | place.document(value), attributes=text).json()
        assert place.of(restricted) is None

    def patched(self, path: str, *operations: Json) -> Json:
        """The answer to a PATCH; of a group, which has none by default, one that leaves nothing out."""
        found: Json = self.service.patch(path, *operations, excludedAttributes="nosuch").json()
        return found

    def case_exact(self) -> None:
        place = self.place
        if (
            place.read_only
            or place.name.startswith("members")
            or place.attribute["type"] not in ("string", "reference")
            or place.attribute["returned"] == "never"
        ):
            return
        made = self.post(**place.document(self.right())).json()
        value = place.of(self.service.ask("GET", f"{place.endpoint}/{made['id']}", attributes=place.path).json())
        value = value[0] if isinstance(value, list) else value
        for swapped, expected in ((value, True), (value.swapcase(), not place.attribute["caseExact"])):
            text = f'id eq "{made["id"]}" and {place.path} eq "{swapped}"'
            assert bool(self.service.names(text, place.endpoint)) is expected, text

    def uniqueness(self) -> None:
        place = self.place
        if place.parent is not None or place.read_only or place.attribute["type"] != "string":
            return
        value = "Unique" if place.attribute["uniqueness"] == "server" else self.right()
        first, second = (self.post(**place.document(each)) for each in (value, value))
        assert first.status_code == 201, first.text
        if place.attribute["uniqueness"] == "none":
            assert second.status_code == 201
        else:
            self.fails(second, 409, "uniqueness")
            self.fails(self.post(**place.document("uNIQUE")), 409, "uniqueness")


RIGHT_AGAIN: dict[type, Any] = {str: "QWIB"}
CHARACTERISTICS = ["type", "multi_valued", "required", "mutability", "returned", "case_exact", "uniqueness"]


@pytest.mark.parametrize("characteristic", CHARACTERISTICS)
def test_discovery_tells_what_is_enforced(service: Service, characteristic: str) -> None:
    """One characteristic of every attribute of every schema."""
    service.workspaces["default"] = unlimited(service)
    counted = itertools.count()
    wrong = []
    for place in places(service):
        trial = Trial(service, place, next(counted))
        try:
            getattr(trial, characteristic)()
        except AssertionError as exc:
            wrong.append(f"{place.path}: {str(exc).splitlines()[0][:300]}")
    assert not wrong, "\n".join(wrong)
    assert next(counted) > 80


def unlimited(service: Service) -> Any:
    types = extended([Extension(ODD), Extension(ODD, "Group"), Extension(OF_USERS)])
    return replace(service.workspaces["default"], rules=(), pools={}, types=types)


def test_common_attributes(service: Service) -> None:
    """Those of RFC 7643 section 3.1 are in no schema; these are theirs."""
    made = service.user("ann", externalId="Xy")
    path = f"Users/{made['id']}"
    for excluded in ("id", "schemas"):
        assert excluded in service.ask("GET", path, excludedAttributes=excluded).json(), "always returned"
        assert set(service.ask("GET", path, attributes="userName").json()) == {"schemas", "id", "userName"}
    assert service.names('externalId eq "Xy"') == ["ann"] and service.names('externalId eq "xy"') == []
    assert service.names(f'id eq "{made["id"].upper()}"') == []
    for attribute in ("id", "meta", "meta.version"):
        value = {"version": "x"} if attribute == "meta" else "x"
        answer = service.patch(path, {"op": "replace", "path": attribute, "value": value})
        assert (answer.status_code, answer.json()["scimType"]) == (400, "mutability")
    assert service.ask("GET", f"Groups/{service.group('g')['id']}").json()["schemas"] == [GROUP_URN]
