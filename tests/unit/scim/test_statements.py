"""What a whole document states where a schema has more than the built-in ones: RFC 7643 section 7, RFC 7644 3.5.1."""

import orjson
import pytest

from syncd.core.resource import canonical
from syncd.core.schema import CORE_USER, USER, Attribute, Mutability, ResourceType, Returned, Schema, Type
from syncd.core.state import Link
from syncd.errors import InvalidValue
from syncd.errors import Mutability as Immutable
from syncd.scim.projection import project
from syncd.scim.statements import stated

URN = "urn:example:2.0:Badge"
BADGE = Schema(
    URN,
    "Badge",
    "",
    (
        Attribute("serial", mutability=Mutability.IMMUTABLE),
        Attribute("colour", required=True),
        Attribute("pin", returned=Returned.NEVER),
        Attribute("history", returned=Returned.REQUEST),
        Attribute(
            "made", Type.COMPLEX, sub_attributes=(Attribute("by", mutability=Mutability.IMMUTABLE), Attribute("on"))
        ),
    ),
)
BADGED = ResourceType("User", "/Users", "", USER.schema, ((BADGE, False),))
NEEDED = ResourceType("User", "/Users", "", USER.schema, ((BADGE, True),))


def document(**badge):
    return {"schemas": [CORE_USER, URN], "userName": "ann"} | ({URN: badge} if badge else {})


def test_an_immutable_value_is_set_once_and_stays():
    first = stated(document(colour="red", serial="7", made={"by": "x", "on": "y"}), BADGED).link("okta", "u", None)
    assert first.values[f"{URN}:serial"] == "7"
    same = stated(document(colour="red", serial="7"), BADGED).link("okta", "u", first)
    assert same.values == {"userName": "ann", f"{URN}:colour": "red", f"{URN}:serial": "7", f"{URN}:made.by": "x"}
    assert stated(document(colour="blue"), BADGED).link("okta", "u", first).values[f"{URN}:serial"] == "7"
    for other in ({"serial": "8"}, {"made": {"by": "z"}}):
        with pytest.raises(Immutable, match=r"immutable: it is set once"):
            stated(document(colour="red", **other), BADGED).link("okta", "u", first)
    assert stated(document(colour="red", serial="8"), BADGED).link("okta", "u", Link("okta", "u")).values


@pytest.mark.parametrize(
    ("resource_type", "sent", "missing"),
    [
        (BADGED, document(serial="7"), f"{URN}:colour is required"),
        (BADGED, document(colour="", serial="7"), f"{URN}:colour is required"),
        (NEEDED, document(), f"{URN} is required"),
        (NEEDED, document(colour=None), f"{URN} is required"),
    ],
)
def test_an_extension_that_is_there_has_what_it_requires(resource_type, sent, missing):
    with pytest.raises(InvalidValue) as caught:
        canonical(sent, resource_type)
    assert caught.value.detail.startswith(missing)


def test_an_extension_that_is_not_there_requires_nothing():
    assert canonical(document(), BADGED) == {"userName": "ann"}
    assert canonical(document(colour="red"), NEEDED) == {"userName": "ann", f"{URN}:colour": "red"}


def test_what_is_not_shown_by_default_is_known_to_the_type():
    assert BADGED.hides and not USER.hides
    held = orjson.loads(orjson.dumps(document(colour="red", pin="1", history="old")))
    assert project(held, (), (), BADGED)[URN] == {"colour": "red"}
    assert project(held, (f"{URN}:history", f"{URN}:pin"), (), BADGED)[URN] == {"history": "old"}
