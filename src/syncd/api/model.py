"""What all models share: nothing unknown is taken, nothing is converted silently, and no text holds a NUL.

A model is both the judge of a message and its description (JSON Schema 2020-12), so constraints stand in types only.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MAX_PAGE = 1000
_STORABLE = r"^[^\x00]*$"
Text = Annotated[str, StringConstraints(pattern=_STORABLE, max_length=1000)]
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00]*[^\x00\s][^\x00]*$", max_length=200)]


def _as_written(value: Any) -> Any:
    """A text as RFC 3339 has it. pydantic alone would take `0.5` for a second half of 1970, and a day for its midnight."""
    if not isinstance(value, str):
        return value
    try:
        if re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", value):
            return datetime.fromisoformat(value.upper())
    except ValueError:
        pass
    raise ValueError("this is no instant such as 2026-11-29T08:00:00Z")


def _as_counted(value: Any) -> Any:
    """3.0 is an integer too (JSON Schema 2020-12 section 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Instant = Annotated[AwareDatetime, BeforeValidator(_as_written)]  # what is sent names its zone; answers are UTC
Whole = Annotated[int, BeforeValidator(_as_counted)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Nothing(Model):
    """No query parameters, or no body."""


class Reason(Model):
    reason: Text = Field(default="", description="Stands in the activity record.")


class Paging(Model):
    """Which part of a list. Everything else must be asked as it was for the page before."""

    limit: int = Field(default=100, ge=1, le=MAX_PAGE, description="At most so many in one page.")
    cursor: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]*$", max_length=8192)] | None = Field(
        default=None, description="`next` of the page before; left out for the first page."
    )


Item = TypeVar("Item", bound=BaseModel)


class Page(Model, Generic[Item]):
    items: tuple[Item, ...]
    next: str | None = Field(description="The cursor of the next page; null after the last one.")
