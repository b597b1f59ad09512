"""What counts of what somebody is granted: an override comes before every denial, and a denial before every grant.

A grant whose value begins with `!` denies what follows, whatever gives it: a role, data scope or seat by its name, a
permission by its pattern. What is denied is kept as a fact beside what counts, so that it is there again when the denial
ends. An override gives for a time what a denial takes away; it has an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from syncd.core.access import DENIAL
from syncd.core.state import Grant

OVERRIDE = "override"  # the origin of a grant by hand that comes before every denial


@dataclass(frozen=True, slots=True)
class Counted:
    """`grants` count, denials among them; `denied` do not while a denial does."""

    grants: tuple[Grant, ...]
    denied: tuple[Grant, ...] = ()


_NOTHING = Counted(())


def counted(grants: Iterable[Grant]) -> Counted:
    """Permissions count as they are: a pattern may deny a part of another, so that is judged where one is asked for."""
    given = tuple(grants)
    if not given:
        return _NOTHING
    given = tuple(sorted(given, key=lambda each: each.id))
    by_denial = denials(given)
    denied = tuple(each for each in given if (each.kind, each.value) in by_denial)
    return Counted(tuple(each for each in given if each not in denied), denied) if denied else Counted(given)


def denials(grants: Iterable[Grant]) -> Mapping[tuple[str, str], Grant]:
    """(kind, value) of what is denied and not overridden -> by which grant, the first of its id."""
    given = tuple(grants)
    named = {
        (each.kind, each.value.removeprefix(DENIAL)): each
        for each in reversed(given)
        if each.value.startswith(DENIAL) and each.kind != "permission"
    }
    for each in given:
        if each.origin == OVERRIDE:
            named.pop((each.kind, each.value), None)
    return named
