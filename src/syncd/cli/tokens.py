"""`syncd token ...`: what a connection or program authenticates with. Its text is shown once, alone on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from syncd.app import SCIM, no_such
from syncd.cli.session import Session, confirmed, moment, print_json, say, session, show_rows, when
from syncd.cli.users import AsJson, Yes
from syncd.core.permission import PLAIN
from syncd.errors import UsageError
from syncd.scim.dialects import TOLERANCES
from syncd.store import tokens as store
from syncd.store.describe import find_user
from syncd.store.read import Connection
from syncd.store.tokens import Token, Tolerated

token = typer.Typer(help="Tokens: create, list, show, rotate, revoke.", no_args_is_help=True)
Which = Annotated[str, typer.Argument(metavar="TOKEN", help="A name or an id.")]


def register(cli: typer.Typer) -> None:
    cli.add_typer(token, name="token")


@token.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="Stands in the activity record.")],
    source: Annotated[str, typer.Option(help="The connection whose facts it states.")] = SCIM,
    allow: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(PLAIN)}, users:update:active; one or several. Default: all.")
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="PERMISSION", hidden=True)] = None,
    expires: Annotated[str | None, typer.Option(help="90d, or a date. Default: never.")] = None,
    client: Annotated[
        bool, typer.Option("--client", help="An OAuth client: what is printed is the client_secret for /oauth/token.")
    ] = False,
    public_keys: Annotated[
        Path | None,
        typer.Option(help="An OAuth client without a secret, which signs: a JWK Set (JSON). Prints the client_id."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="The person who bears it, by userName or id: SCIM's /Me.")] = None,
) -> None:
    """Make a token and print it, this once."""
    current = session(ctx)
    pushing = current.workspace.connections
    if source not in pushing:
        raise UsageError(no_such("connection", source, pushing, f"one of {', '.join(pushing)}, or configure it"))
    now = current.now()
    until = moment(expires, now, ahead=True) if expires else None
    signing = None if public_keys is None else _keys(public_keys)
    if more and not allow:
        raise UsageError(f"{more[0]!r} belongs to no option: permissions follow --allow")
    said = [*(allow or ["*"]), *(more or ())]  # `--allow users:read users:update` is how people write a list
    wanted = [each for text in said for each in text.replace(",", " ").split()]

    def make(conn: Connection) -> tuple[Token, str]:
        whose = None if user is None else find_user(conn, current.workspace.name, user)
        return store.create(
            conn, current.actor, name, now, current.app.ids, source, wanted, until, client, signing, whose
        )

    made, text = current.database.write_now(make)
    if made.use is None:
        say(f"token {made.name} ({made.id}) of source {made.source}; it is shown this once")
    else:
        proof = "it signs with its own key" if made.signs else "its secret is shown this once"
        say(f"client {made.name} of source {made.source}: client_id {made.id}, POST to /oauth/token; {proof}")
    print(text or made.id)


def _keys(path: Path) -> dict[str, object]:
    from syncd.jwks import Untrusted, keys_of_file  # noqa: PLC0415 - loads cryptography, for this option alone

    try:
        return keys_of_file(json.loads(path.read_bytes()))
    except (OSError, ValueError, Untrusted) as exc:
        raise UsageError(f"--public-keys {path}: {exc}") from None


@token.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Every token with what it may do; never its text."""
    current = session(ctx)
    with current.database.reading() as conn:
        found = store.listed(conn, current.workspace.name)
    if as_json:
        print_json([_described(each, _state(each, current)) for each in found])
        return
    _show_tokens(found, current)


def _show_tokens(found: Iterable[Token], current: Session) -> None:
    rows = ((t.name, t.id, t.source, t.allow, _shown(t, current), t.expires_at, t.last_used_at) for t in found)
    show_rows(("name", "id", "source", "may", "state", "expires", "last used"), rows, "no tokens")


@token.command()
def show(ctx: typer.Context, which: Which, as_json: AsJson = False) -> None:
    """A token, or all of that name: the policy of its connection, and which tolerances the connection's requests took."""
    current = session(ctx)
    with current.database.reading() as conn:
        found = store.named(conn, current.workspace.name, which)
        sources = dict.fromkeys(each.source for each in found)
        taken = store.tolerated(conn, current.workspace.name, sources)
    connections = [_connection(source, current, taken) for source in sources]
    if as_json:
        described = [_described(each, _state(each, current)) for each in found]
        print_json({"tokens": described, "connections": connections})
        return
    _show_tokens(found, current)
    for connection in connections:
        print(f"\nconnection {connection['source']}, policy {connection['policy']}")
        mine = [each for each in taken if each.source == connection["source"]]
        rows = [(each.name, each.uses, each.last_used_at, _meaning(each.name), each.lacked) for each in mine]
        used = (row[:4] for row in rows if not row[4])
        show_rows(("tolerance", "requests", "last", "understood"), used, "none of its requests needed a tolerance")
        if lacked := [row[:4] for row in rows if row[4]]:
            print("\nRefused: its policy does not have these, `allow` of the policy takes them")
            show_rows(("tolerance", "requests", "last", "what was sent"), lacked, "")


def _connection(source: str, current: Session, taken: Iterable[Tolerated]) -> dict[str, object]:
    mine = [each for each in taken if each.source == source]
    return {
        "source": source,
        "policy": current.workspace.source(source).dialect,
        "tolerances": [_counted(each) for each in mine if not each.lacked],
        "refused": [_counted(each) for each in mine if each.lacked],
    }


def _counted(each: Tolerated) -> dict[str, object]:
    return {"name": each.name, "requests": each.uses, "last_used_at": each.last_used_at, "what": _meaning(each.name)}


def _meaning(name: str) -> str:
    known = TOLERANCES.get(name)
    return known.what if known else "known to another release only"


def _state(each: Token, current: Session) -> str:
    if each.revoked_at is not None:
        return "revoked"
    return "live" if each.live(current.now()) else "expired"


def _shown(each: Token, current: Session) -> str:
    """The state; how long it lasts, once its end was warned of; and that it is an OAuth client."""
    state = _state(each, current)
    state = f"{state} client" if each.use else state
    if state.split()[0] == "live" and each.source not in current.workspace.connections:
        return f"{state}, but its source is not configured"
    if state.split()[0] != "live" or each.expires_at is None or each.expiry_warned_at is None:
        return state
    hours = int((each.expires_at - current.now()).total_seconds() // 3600)
    return f"{state}, ends in {hours // 24} d" if hours >= 48 else f"{state}, ends in {hours} h"


def _described(each: Token, state: str) -> dict[str, object]:
    return {
        **{"id": each.id, "name": each.name, "source": each.source, "allow": list(each.allow), "state": state},
        **{"created_at": each.created_at, "expires_at": each.expires_at, "revoked_at": each.revoked_at},
        **{"last_used_at": each.last_used_at, "use": each.use or "bearer", "user": each.user},
    }


@token.command()
def revoke(ctx: typer.Context, which: Which, yes: Yes = False) -> None:
    """End a token, or all of that name, at once."""
    current = session(ctx)
    confirmed(f"Whoever uses token {which} is refused from now on. Revoke it?", yes)
    database = current.database
    gone = database.write_now(lambda conn: store.revoke(conn, current.actor, which, current.now(), current.app.ids))
    for each in gone:
        say(f"token {each.name} ({each.id}) is revoked")


@token.command()
def rotate(
    ctx: typer.Context,
    which: Which,
    grace: Annotated[str, typer.Option(help="How long the old one still works.")] = "7d",
) -> None:
    """A new token like the old one, printed this once; the old one ends after `--grace`."""
    current = session(ctx)
    now = current.now()
    span = moment(grace, now, ahead=True) - now
    if span < timedelta(0):
        raise UsageError(f"--grace {grace}: that is in the past")
    made, text = current.database.write_now(
        lambda conn: store.rotate(conn, current.actor, which, now, current.app.ids, span)
    )
    say(f"token {made.name} ({made.id}); the one before works until {when(now + span)} UTC")
    print(text)
