"""Whether a message has the shape that the description gives an attribute: an array, an object, a text.

SCIM reads more than that, such as one value in place of an array of one; here nothing is converted silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from syncd.api.problem import Fault
from syncd.core.schema import Attribute, ResourceType, Type

_NO_TEXT: Final = (Type.BOOLEAN, Type.INTEGER, Type.DECIMAL)


def misshapen(document: Mapping[str, Any], type: ResourceType) -> tuple[Fault, ...]:
    """Every attribute of another shape, with where it stands. null takes away and has no shape."""
    found = ((name, type.resolve(name)) for name in document)
    return tuple(
        fault
        for name, resolved in found
        if resolved is not None
        for fault in _faults(resolved.attribute, document[name], "/" + name.replace("~", "~0").replace("/", "~1"))
    )


def _faults(attribute: Attribute, value: Any, pointer: str) -> Iterator[Fault]:
    if value is None:
        return
    if not attribute.multi_valued:
        yield from _one(attribute, value, pointer)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _one(attribute, each, f"{pointer}/{index}")
    else:
        yield Fault(pointer=pointer, detail=f"{attribute.name} is an array")


def _one(attribute: Attribute, value: Any, pointer: str) -> Iterator[Fault]:
    if attribute.type is Type.COMPLEX:
        if not isinstance(value, Mapping):
            yield Fault(pointer=pointer, detail=f"a value of {attribute.name} is an object")
            return
        for name, part in value.items():
            sub = attribute.sub(name)
            if sub is not None:
                yield from _faults(sub, part, f"{pointer}/{name}")
    elif value is None or (value == "" and attribute.type in _NO_TEXT):
        yield Fault(pointer=pointer, detail=f"a value of {attribute.name} is missing: leave it out")
