"""The table of operations as docs/api.md has it: `python -m syncd.api.table` prints it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from syncd.api.model import Nothing
from syncd.api.operation import Operation
from syncd.api.routes import OPERATIONS


def markdown(operations: Iterable[Operation] = OPERATIONS) -> str:
    lines = ["| request | permission | what it does | takes |", "|---|---|---|---|"]
    for each in sorted(operations, key=lambda one: (one.path.split("/")[1], one.path, one.method)):
        permission = f"`{each.permission}`" if each.permission else "any token"
        lines.append(f"| `{each.method} {each.path}` | {permission} | {each.summary} | {_taken(each)} |")
    return "\n".join(lines) + "\n"


def _taken(each: Operation) -> str:
    """Fields of the query or body; a field that must be there is set in bold."""
    model = each.query if each.query is not Nothing else each.body
    if model is Nothing:
        return ""
    named = [f"**{name}**" if field.is_required() else name for name, field in model.model_fields.items()]
    return ", ".join([*named, *(["attributes of SCIM"] if _open(model) else [])])


def _open(model: type[BaseModel]) -> bool:
    return model.model_config.get("extra") == "allow"


if __name__ == "__main__":
    print(markdown(), end="")
