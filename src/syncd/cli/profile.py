"""`syncd user set`: what is said of one person, by people. What a directory or an identity provider states is changed there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from syncd.cli.session import act, session
from syncd.cli.users import AsJson, Reason, Who, finish
from syncd.core import userfile
from syncd.core.change import Edit
from syncd.core.resource import fold
from syncd.errors import Conflict, UsageError
from syncd.store import describe, imports


def set_(
    ctx: typer.Context,
    who: Who,
    attribute: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Such as title=Lead, phone=..., manager=boss.")
    ] = None,
    clear: Annotated[list[str] | None, typer.Option(help="What to take away; may be repeated.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Change what is said of a user, in the words of SCIM or of `syncd import`."""
    if not attribute and not clear:
        raise UsageError("give NAME=VALUE, such as title=Lead, or --clear NAME")
    current = session(ctx)
    type, why = current.workspace.types.user, reason or "changed at the command line"
    said, renamed = _said(attribute or ())
    found: list[str] = []

    def build(conn: describe.Conn) -> Sequence[Edit]:
        known = describe.user_facts(conn, current.workspace, describe.find_user(conn, current.workspace.name, who))
        if not known.present:
            raise Conflict(f"{known.name} is deleted: `syncd user restore` brings her back")
        found[:] = [known.id]
        people = userfile.asked(said, known.name, type)
        cleared = userfile.columns(clear or (), type, people.faults)
        made = imports.Import(conn, current.workspace, current.actor, people, current.now(), current.app.ids, why)
        edit = made.one(known, cleared, renamed) if people.rows else None
        if people.faults:
            raise UsageError("; ".join(f"{each.place.name}: {each.what}" for each in people.faults))
        return [] if edit is None else [edit]

    finish(current, act(current, build), found[0], as_json)


def _said(texts: Sequence[str]) -> tuple[dict[str, str], str | None]:
    """What is said by name, and another userName. Raises UsageError."""
    said: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"{text!r} is not NAME=VALUE, such as title=Lead (--clear NAME takes one away)")
        if name.strip() in said:
            raise UsageError(f"{name.strip()} is given twice")
        said[name.strip()] = value.strip()
    names = [name for name in said if fold(name) == "username"]
    return {name: value for name, value in said.items() if name not in names}, said[names[0]] if names else None
