"""What is given and taken back by hand, to people and to groups: the same options everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from syncd.app import no_such
from syncd.cli.session import Session, moment
from syncd.core.access import DENIAL
from syncd.core.granting import checked
from syncd.core.state import Grant
from syncd.errors import InvalidValue, UsageError

Roles = Annotated[list[str] | None, typer.Option("--role", metavar="ROLE", help="May be repeated.")]
Permissions = Annotated[
    list[str] | None,
    typer.Option("--permission", metavar="MODULE.ACTION", help="Such as nav.reports; a ! in front denies. Repeatable."),
]
Scopes = Annotated[
    list[str] | None, typer.Option("--scope", metavar="KIND=VALUE", help="Which records are seen. Repeatable.")
]
Seats = Annotated[list[str] | None, typer.Option("--seat", metavar="POOL", help="May be repeated.")]
Expires = Annotated[str | None, typer.Option(help="When it ends by itself: 90d, or a date.")]


def named(
    roles: Sequence[str] | None,
    permissions: Sequence[str] | None,
    scopes: Sequence[str] | None,
    seats: Sequence[str] | None,
) -> list[tuple[str, str]]:
    """(kind, value) of what was typed. Raises UsageError if nothing was."""
    found = [
        *(("role", each) for each in roles or ()),
        *(("permission", each) for each in permissions or ()),
        *(("scope", each) for each in scopes or ()),
        *(("seat", each) for each in seats or ()),
    ]
    if not found:
        raise UsageError("say what: --role, --permission, --scope or --seat")
    return list(dict.fromkeys(found))


def grant(current: Session, kind: str, value: str, reason: str, expires: str | None = None) -> Grant:
    """A grant by whoever types. Raises UsageError for what cannot be granted."""
    known = {"role": current.roles, "seat": current.workspace.pools}.get(kind)
    what = "role" if kind == "role" else "seat pool"
    if known is not None and value.removeprefix(DENIAL) not in known:
        raise UsageError(no_such(what, value, known, f"see `syncd {kind} list`"))
    try:
        checked(kind, value, current.roles, current.workspace.pools, current.workspace.scope_kinds)
    except InvalidValue as exc:
        raise UsageError(str(exc)) from None
    until = moment(expires, current.now(), ahead=True) if expires else None
    if until is not None and until <= current.now():
        raise UsageError(f"--expires {expires}: that is in the past")
    return Grant(
        kind,
        value,
        "direct",
        current.actor.name,
        why=reason or "at the command line",
        created_at=current.now(),
        expires_at=until,
    )


def permitted(wanted: Sequence[str]) -> frozenset[str]:
    """Permissions of a role. Raises UsageError for what is none."""
    for each in wanted:
        try:
            checked("permission", each, (), ())
        except InvalidValue as exc:
            raise UsageError(str(exc)) from None
    return frozenset(wanted)
