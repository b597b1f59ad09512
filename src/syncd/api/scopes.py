"""Data scopes: which kinds there are. Which of them somebody has is part of her access and of her grants."""

from __future__ import annotations

from pydantic import Field

from syncd.api.model import Model
from syncd.api.operation import Call, Operation
from syncd.core.scopes import KINDS
from syncd.store.read import Connection


class ScopeKind(Model):
    kind: str = Field(
        description="Before the `=` of a data scope, such as `unit` of `unit=north`; `unit=*` is every unit."
    )
    description: str
    built_in: bool


class ScopeKinds(Model):
    items: tuple[ScopeKind, ...]


def list_(call: Call, _: Connection) -> ScopeKinds:
    there = call.workspace.scope_kinds.items()
    return ScopeKinds(items=tuple(ScopeKind(kind=k, description=d, built_in=k in KINDS) for k, d in there))


OPERATIONS = (Operation("GET", "/scope-kinds", "roles:read", list_, "What data scopes are of", answer=ScopeKinds),)
