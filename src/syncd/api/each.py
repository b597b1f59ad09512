"""Operations on many, each answered by itself: what could not be done says why, and stops nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from syncd.api.model import Model
from syncd.api.operation import Call
from syncd.api.problem import Fault, Invalid, Problem, problem
from syncd.core.change import ChangeGroup
from syncd.errors import SyncdError
from syncd.store.read import Connection
from syncd.store.several import commit_each

MOST: Final = 1000
Id = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=200)]
Ids = Annotated[tuple[Id, ...], Field(max_length=MOST)]


class Done(Model):
    """What became of one."""

    id: str
    result: Literal["done", "unchanged", "refused", "held"] = Field(
        description="`unchanged`: it was so already. `held`: over a limit of loss, until an admin approves it."
    )
    problem: Problem | None = None


class Each(Model):
    items: tuple[Done, ...] = Field(description="In the order they were named.")
    done: int
    unchanged: int
    refused: int
    held: int


def unique(ids: Sequence[str], pointer: str) -> None:
    """Raises Invalid if one is named twice, or more are than can be done at once."""
    if len(ids) > MOST:
        told = f"{len(ids)} are named: up to {MOST:,} at once"
        raise Invalid(told, (Fault(pointer=pointer, detail=told),))
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            told = f"{id[:64]!r} is named twice"
            raise Invalid(told, (Fault(pointer=pointer, detail=told),))
        seen.add(id)


def answers(call: Call, conn: Connection, ids: Sequence[str], edits: Callable[[str], ChangeGroup]) -> Each:
    """`edits` makes the change group of one: () if there is nothing to do; what it raises is the answer to that one."""
    made: dict[str, Done] = {}
    groups: dict[str, ChangeGroup] = {}
    for id in ids:
        try:
            group = edits(id)
        except SyncdError as exc:
            made[id] = _refused(id, exc)
            continue
        if group:
            groups[id] = group
        else:
            made[id] = Done(id=id, result="unchanged")
    outcomes = commit_each(conn, call.workspace, call.actor, list(groups.values()), call.now, call.ids)
    for id, outcome in zip(groups, outcomes, strict=True):
        made[id] = Done(id=id, result="done") if outcome.error is None else _refused(id, outcome.error)
    items = tuple(made[id] for id in ids)
    numbers = {name: sum(each.result == name for each in items) for name in ("done", "unchanged", "refused", "held")}
    return Each(items=items, **numbers)


def _refused(id: str, error: SyncdError) -> Done:
    return Done(id=id, result="held" if error.status == 429 else "refused", problem=problem(error))
