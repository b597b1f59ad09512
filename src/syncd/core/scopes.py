"""Kinds of data scopes: what records are told apart by. A scope is `kind=value`; `*` is every value of the kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

KINDS: Final[Mapping[str, str]] = MappingProxyType(  # research/products.md lines 31 and 32
    {
        "unit": "organisational unit",
        "issue-type": "type of issue",
        "customer": "customer",
        "distributor": "distributor",
        "service": "service entity",
    }
)
EVERY: Final = "*"


def kinds(declared: Mapping[str, str], ruled: Iterable[str]) -> Mapping[str, str]:
    """The kinds of a workspace. Where none is declared, those that rules name count too."""
    own = declared or {kind: "named by a rule" for kind in sorted(set(ruled) - KINDS.keys())}
    return MappingProxyType({**KINDS, **own})
