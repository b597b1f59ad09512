"""docs/api.md names requests that there are, with the permission each needs."""

from __future__ import annotations

from pathlib import Path

from syncd.api.openapi import description
from syncd.api.routes import OPERATIONS
from syncd.api.table import markdown

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"


def rows(text: str) -> dict[str, str]:
    """Request -> permission."""
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {each[0].removeprefix("| "): each[1] for each in cells}


def test_what_the_document_names_is_in_the_table_of_operations() -> None:
    named, there = rows(DOCUMENT.read_text(encoding="utf-8")), rows(markdown())
    assert len(named) > 50
    wrong = {request: permission for request, permission in named.items() if there.get(request) != permission}
    assert wrong == {}, "write the table anew: `python -m syncd.api.table`"


def test_no_two_models_have_the_same_name() -> None:
    """pydantic would put the module into the name, and generators of clients would show it."""
    assert [name for name in description(OPERATIONS)["components"]["schemas"] if "__" in name] == []
