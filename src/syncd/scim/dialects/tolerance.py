"""What a tolerance is: a form that providers send and RFC 7644 does not have, its meaning, and who may send it.

A form is a pure function that gives the RFC's form of what it recognises, and None for everything else. Only what has one
possible meaning is a tolerance. Nothing here judges the result: what stays wrong is refused by patch.py or
core/resource.py, as it is for a client that keeps to the standard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from syncd.core.schema import ResourceType
from syncd.errors import SyncdError
from syncd.scim.patch import Patch


@dataclass(frozen=True, slots=True)
class Context:
    """What a form may look at beside the form itself."""

    type: ResourceType
    patch: Patch  # what is stored, or what the operations before made of it


@dataclass(frozen=True, slots=True)
class Tolerance:
    """One form. `form.__name__` is its name in configuration, metrics and documents.

    `refused`: what a policy without it answers, with `instead` as the advice; None: the text then has its literal meaning,
    which patch.py judges, or the one that `meant` gives. `transcript` is a file below tests/contract/idp that needs it, `seen`
    where it is documented.
    """

    form: Callable[..., Any]
    what: str
    policies: tuple[str, ...]
    transcript: str
    seen: str
    refused: type[SyncdError] | None
    instead: str = ""
    meant: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        return self.form.__name__
