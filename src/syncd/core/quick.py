"""Frozen values with many fields, made at a tenth of what a frozen dataclass costs. Pure.

A frozen dataclass sets each field by a call, since its class forbids assignments. Here a value is of a twin class while its
fields are set, which has the same slots and forbids nothing, and of its own from then on. A request makes dozens of these.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar

T = TypeVar("T")
_COPIED: Final = "__copied__"
MADE: Final = "__made__"  # of such a class: a function that takes every field, in their order


def quick(cls: type[T]) -> type[T]:
    """Put above `@dataclass(frozen=True, slots=True)`: the class as it is, with another `__init__`. No `__post_init__`."""
    names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    twin = type(cls.__name__, (), {"__slots__": tuple(names)})
    space: dict[str, Any] = {"_cls": cls, "_twin": twin, "_missing": MISSING, "_new": object.__new__}
    space["_set"] = object.__setattr__
    taken, made = [], []
    for each in fields(cls):  # type: ignore[arg-type]
        name, value = each.name, each.name
        if each.default is not MISSING:
            space[f"_{name}"] = each.default
            taken.append(f"{name}=_{name}")
        elif each.default_factory is not MISSING:
            space[f"_{name}"] = each.default_factory
            taken.append(f"{name}=_missing")
            value = f"_{name}() if {name} is _missing else {name}"
        else:
            taken.append(name)
        made.append(f"    self.{name} = {value}")
    lines = [
        f"def __init__(self, {', '.join(taken)}):",
        "    _set(self, '__class__', _twin)",
        *made,
        "    self.__class__ = _cls",
        "def _copied(old):",
        "    new = _new(_twin)",
        *(f"    new.{name} = old.{name}" for name in names),
        "    return new",
        f"def _made({', '.join(names)}):",
        "    new = _new(_twin)",
        *(f"    new.{name} = {name}" for name in names),
        "    new.__class__ = _cls",
        "    return new",
    ]
    exec("\n".join(lines), space)  # noqa: S102 - as dataclasses does; the names are those of the fields
    cls.__init__ = space["__init__"]  # type: ignore[method-assign]
    setattr(cls, _COPIED, staticmethod(space["_copied"]))
    space["_made"].__module__, space["_made"].__qualname__ = cls.__module__, f"{cls.__qualname__}.{MADE}"
    setattr(cls, MADE, staticmethod(space["_made"]))
    return cls


def same(before: T, after: T) -> T:
    """What is there already if they are equal, so that whoever compares them later need not look into them."""
    return before if before == after else after


def changed(value: T, **fields: Any) -> T:
    """`dataclasses.replace` for a class that is `quick`."""
    cls: Any = type(value)
    new: Any = cls.__copied__(value)
    for name, part in fields.items():
        setattr(new, name, part)
    new.__class__ = cls
    made: T = new
    return made
