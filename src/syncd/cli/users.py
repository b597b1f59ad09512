"""`syncd user ...` and `syncd explain`: people, and why each has what she has.

deactivate is not suspend is not delete: a suspension is an admin's hold and lifts none of what sources say; deactivate
states `disabled` for the source `local`; a deletion can be restored for some days.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import typer

from syncd.app import no_such
from syncd.cli import explaining
from syncd.cli.giving import grant
from syncd.cli.session import (
    Session,
    act,
    confirmed,
    duration,
    json_line,
    print_json,
    report,
    say,
    session,
    show,
    show_rows,
    when,
)
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import Edit, UserEdit
from syncd.core.deletion import restoration
from syncd.core.filter import parse_filter
from syncd.core.offboarding import enabled_again
from syncd.core.password import barred, faults, names_of
from syncd.core.resource import canonical_value
from syncd.core.schema import Resolved, ResourceType, of_kind
from syncd.core.secret import Secret
from syncd.core.state import Link, User
from syncd.errors import Conflict, InvalidValue, Refused, UsageError
from syncd.scim.dialects.values import bare_value, boolean_as_text
from syncd.store import addresses, deliveries, describe, listing, passwords, resets
from syncd.store.commit import Outcome
from syncd.store.picked import Picked

STATES = ("active", "pending", "locked", "suspended", "inactive", "deleted")
Who = Annotated[str, typer.Argument(metavar="USER", help="An id, a userName or an e-mail address.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[str, typer.Option("--reason", help="Stands in the activity record.")]

user = typer.Typer(help="People: create, show, suspend, deactivate, delete and the ways back.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    from syncd.cli import by_hand, importing, offboarding, profile  # noqa: PLC0415 - they use what is defined here

    if not any(each.callback is offboarding.offboard for each in user.registered_commands):
        for command in (offboarding.offboard, offboarding.handover, offboarding.leaving, importing.export):
            user.command()(command)
        user.command("grant")(by_hand.give)
        user.command("revoke")(by_hand.take)
        user.command("set")(profile.set_)
    cli.add_typer(user, name="user")
    cli.command()(explain)


def explain(ctx: typer.Context, who: Who, as_json: AsJson = False) -> None:
    """Every role, permission, data scope and seat of a user, each with its reason; and what is scheduled next."""
    found = _read(session(ctx), who)
    if as_json:
        print_json(found)
    else:
        show(explaining.whole(found))


@user.command("show")
def show_(ctx: typer.Context, who: Who, as_json: AsJson = False) -> None:
    """Who this is, with status, access, groups and links."""
    found = _read(session(ctx), who)
    if as_json:
        print_json(found)
    else:
        show(explaining.brief(found))


@user.command("list")
def list_(
    ctx: typer.Context,
    where: Annotated[str | None, typer.Option("--filter", help='SCIM filter, such as title co "lead".')] = None,
    status: Annotated[str | None, typer.Option(help=f"One of {', '.join(STATES)}.")] = None,
    role: Annotated[str | None, typer.Option(metavar="ROLE", help="Who has it, however she came by it.")] = None,
    scope: Annotated[str | None, typer.Option(metavar="KIND=VALUE", help="Who has this data scope.")] = None,
    seat: Annotated[str | None, typer.Option(metavar="POOL", help="Who holds a seat here or waits for one.")] = None,
    group: Annotated[str | None, typer.Option(metavar="GROUP", help="Who is in it, also through others.")] = None,
    source: Annotated[str | None, typer.Option(metavar="SOURCE", help="Whom it states.")] = None,
    idle: Annotated[str | None, typer.Option(help="Who has not signed in for so long, such as 90d.")] = None,
    kind: Annotated[str | None, typer.Option(help="Such as internal or portal; whoever has none is internal.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """Users by name; all that is asked for must hold."""
    if status is not None and status not in STATES:
        raise UsageError(no_such("status", status, STATES, f"one of {', '.join(STATES)}"))
    if kind is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", kind):
        raise UsageError(f"--kind {kind!r} is not one word, such as internal or portal")
    current = session(ctx)
    condition = parse_filter(where, current.workspace.types.user) if where else None
    if kind is not None:
        both = " and ".join([*([f"({where})"] if where else []), of_kind(kind)])
        condition = parse_filter(both, current.workspace.types.user)
    with current.database.reading() as conn:
        picked = Picked(
            role,
            scope,
            seat,
            None if group is None else describe.find_group(conn, current.workspace.name, group),
            source,
            None if idle is None else current.now() - _span(idle),
        )
        found = listing.list_users(conn, current.workspace.name, condition, status, limit, picked, current.now())
        if as_json:
            for each in found:
                sys.stdout.write(json_line(each) + "\n")
        else:
            seen = ("last_sign_in",) if idle is not None else ()
            columns = ("userName", "status", *seen, "changed_at", "id")
            heads = ("user", "status", *("last sign-in" for _ in seen), "changed", "id")
            show_rows(heads, ([each[column] for column in columns] for each in found), "no users")


def _span(text: str) -> timedelta:
    found = duration(text)
    if found is None:
        raise UsageError(f"--idle {text}: write a duration such as 90d")
    return found


@user.command()
def create(
    ctx: typer.Context,
    user_name: Annotated[str, typer.Argument(metavar="USERNAME")],
    role: Annotated[list[str] | None, typer.Option(help="A role to grant; may be repeated.")] = None,
    seat: Annotated[list[str] | None, typer.Option(help="A seat to grant; may be repeated.")] = None,
    email: Annotated[str | None, typer.Option()] = None,
    display_name: Annotated[str | None, typer.Option()] = None,
    given_name: Annotated[str | None, typer.Option()] = None,
    family_name: Annotated[str | None, typer.Option()] = None,
    attribute: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Any attribute.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make a user by hand. It belongs to the source `local`; no directory takes it away."""
    current = session(ctx)
    named = {
        **{"userName": user_name, "displayName": display_name, "name.givenName": given_name},
        "name.familyName": family_name,
        "emails": [{"value": email, "type": "work", "primary": True}] if email else None,
        **dict(_assignment(each) for each in attribute or ()),
    }
    values = dict(
        _value(path, value, current.workspace.types.user) for path, value in named.items() if value is not None
    )
    id = current.app.ids()
    why = reason or "created at the command line"
    grants = [grant(current, "role", each, reason) for each in role or ()]
    grants += [grant(current, "seat", each, reason) for each in seat or ()]
    link = Link(ADMIN_SOURCE, id, values=values)
    edit = UserEdit(id, ADMIN_SOURCE, create=True, link=link, grant=tuple(grants), why=why)
    finish(current, act(current, lambda _: [edit]), id, as_json)


@user.command()
def suspend(ctx: typer.Context, who: Who, reason: Reason = "", yes: Yes = False, as_json: AsJson = False) -> None:
    """An admin's hold: she keeps everything but access and seats, until `unsuspend`."""
    why = reason or "suspended at the command line"
    _change(ctx, who, lambda id, _: UserEdit(id, ADMIN_SOURCE, facts={"suspended": why}, why=why), as_json, yes)


@user.command()
def unsuspend(ctx: typer.Context, who: Who, reason: Reason = "", as_json: AsJson = False) -> None:
    """Lift an admin's hold."""
    why = reason or "hold lifted at the command line"
    _change(ctx, who, lambda id, _: UserEdit(id, ADMIN_SOURCE, facts={"suspended": None}, why=why), as_json)


@user.command("change-email")
def change_email(
    ctx: typer.Context,
    who: Who,
    address: Annotated[str | None, typer.Argument(metavar="[ADDRESS]", help="The new one.")] = None,
    confirm: Annotated[
        bool | None, typer.Option("--confirm/--at-once", help="Whether it has to be confirmed. Default: as configured.")
    ] = None,
    resend: Annotated[bool, typer.Option("--resend", help="Send the link again.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="The old address stays.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Another address, at once or when the link of a mail to it is followed; until then she signs in with the old one."""
    if (address is not None) + resend + cancel != 1:
        raise UsageError("give the new ADDRESS, or --resend, or --cancel")
    current = session(ctx)
    confirmed = current.workspace.confirms_emails if confirm is None else confirm
    why, now, ids = reason or "at the command line", current.now(), current.app.ids

    def work(conn: describe.Conn) -> tuple[User, Outcome | None]:
        known = _present(current, conn, who)
        told = (conn, current.workspace, current.actor, known)
        if address is not None:
            return known, addresses.change(*told, address, why, now, ids, confirmed)
        (addresses.resend if resend else addresses.cancel)(*told, why, now, ids)
        return known, None

    known, outcome = current.database.write_now(work)
    if outcome is not None:
        outcome.check()
    if as_json:
        print_json(_described(current, known.id))
    elif cancel:
        say(f"the address of {known.name} stays as it is")
    elif outcome is not None:
        report(outcome)
    else:
        say(f"a link goes to the new address of {known.name}; until it is followed, the old one counts")


@user.command("set-password")
def set_password(
    ctx: typer.Context,
    who: Who,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read it from standard input, for scripts.")] = False,
    must_change: Annotated[bool, typer.Option("--must-change", help="She has to choose another.")] = False,
    reason: Reason = "",
) -> None:
    """Set the password of a user who has no identity provider. It is asked for twice and never shown."""
    from syncd.passwords import Passwords  # noqa: PLC0415 - loads argon2

    current = session(ctx)
    with current.database.reading() as conn:
        known = _may_have_password(current, conn, who)
    typed = Secret(sys.stdin.readline().rstrip("\r\n") if stdin else _asked_twice())
    wrong = faults(typed, current.workspace.passwords, names_of(known))
    if wrong:
        raise UsageError(f"the password is not good enough: {'; '.join(wrong)}")
    hash, why = Passwords().hash_now(typed), reason or "set at the command line"

    def put(conn: describe.Conn) -> None:
        again = _may_have_password(current, conn, known.id)
        resets.forget(conn, current.workspace.name, again.id)
        passwords.put(
            conn,
            current.actor,
            again.id,
            again.name,
            hash,
            current.now(),
            current.app.ids,
            why=why,
            must_change=must_change,
        )

    current.database.write_now(put)
    say(f"password of {known.name} set")


@user.command("reset-password")
def reset_password(
    ctx: typer.Context,
    who: Who,
    mail: Annotated[bool, typer.Option("--mail", help="Send her the link instead of printing a token.")] = False,
    reason: Reason = "",
) -> None:
    """Print a token, once, with which the user chooses a new password (POST /api/v1/password-resets), or send her a link."""
    current = session(ctx)
    until = current.now() + current.workspace.passwords.reset_for
    why = reason or "asked for at the command line"

    def make(conn: describe.Conn) -> str:
        known = _may_have_password(current, conn, who)
        ids, now = current.app.ids, current.now()
        if mail:
            return resets.mail(conn, current.workspace, current.actor, known, why, now, ids)
        return resets.make(conn, current.actor, known.id, known.name, now, until, ids, why)

    text = current.database.write_now(make)
    if mail:
        say(f"a link goes to {who} by mail {text}; `syncd mail list` shows what became of it")
        return
    say(f"good until {when(until)} (UTC), for one use; what was made before has ended")
    print(text)


def _present(current: Session, conn: describe.Conn, who: str) -> User:
    """Raises NotFound, Conflict for a deleted user."""
    known = describe.user_facts(conn, current.workspace, describe.find_user(conn, current.workspace.name, who))
    if not known.present:
        raise Conflict(f"{known.name} is deleted: `syncd user restore` brings her back")
    return known


def _may_have_password(current: Session, conn: describe.Conn, who: str) -> User:
    """Raises Refused for whoever signs in elsewhere, Conflict for a deleted user."""
    known = _present(current, conn, who)
    why = barred(known, current.workspace.passwords, lambda name: current.workspace.source(name).passwords)
    if why is not None:
        raise Refused(why)
    return known


def _asked_twice() -> str:
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return typed


@user.command()
def unlock(ctx: typer.Context, who: Who, reason: Reason = "", as_json: AsJson = False) -> None:
    """End a lock that failed sign-ins at the application caused, before its time. A directory's lock is lifted there."""
    why = reason or "unlocked at the command line"

    def edit(id: str, known: User) -> UserEdit:
        elsewhere = sorted(link.source for link in known.links if link.locked_until)
        if known.status == "locked" and known.locked_until is None:
            raise Conflict(f"{known.name} is locked out in source {', '.join(elsewhere)}: unlock her there")
        return UserEdit(id, ADMIN_SOURCE, facts={"locked_until": None}, why=why)

    _change(ctx, who, edit, as_json)


@user.command()
def deactivate(ctx: typer.Context, who: Who, reason: Reason = "", yes: Yes = False, as_json: AsJson = False) -> None:
    """State that she is disabled, whatever other sources say, until `reactivate`."""
    why = reason or "deactivated at the command line"

    def edit(id: str, known: User) -> UserEdit:
        link = known.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, id)
        return UserEdit(id, ADMIN_SOURCE, link=replace(link, enabled=False), why=why)

    _change(ctx, who, edit, as_json, yes)


@user.command()
def reactivate(ctx: typer.Context, who: Who, reason: Reason = "", as_json: AsJson = False) -> None:
    """Take back `deactivate`, and a date of `offboard` that has come. What other sources say of her stays."""
    now, why = session(ctx).now(), reason or "reactivated at the command line"
    outcome = _change(ctx, who, lambda _, known: enabled_again(known, now, why), as_json)
    for each in outcome.users.values():
        disabling = [link.source for link in each.links if link.enabled is False]
        if each.status == "inactive" and disabling:
            say(f"{each.name} is still inactive: source {', '.join(disabling)} says disabled; enable her there")


@user.command()
def delete(ctx: typer.Context, who: Who, reason: Reason = "", yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a user. It can be undone with `restore` for some days, then it is final."""
    now = session(ctx).now()
    why = reason or "deleted at the command line"
    _change(ctx, who, lambda id, _: UserEdit(id, ADMIN_SOURCE, facts={"deleted_at": now}, why=why), as_json, yes)


@user.command()
def restore(ctx: typer.Context, who: Who, reason: Reason = "", as_json: AsJson = False) -> None:
    """Undo a deletion, if her userName is still free. The last deleted of that name is restored."""
    current = session(ctx)
    now, workspace = current.now(), current.workspace
    why = reason or "restored at the command line"
    _change(ctx, who, lambda _, known: restoration(known, workspace, now, why), as_json, deleted=True)


@user.command("revoke-sessions")
def revoke_sessions(ctx: typer.Context, who: Who, reason: Reason = "", yes: Yes = False) -> None:
    """Tell the application to end all her sessions. What she may do stays: she can sign in again."""
    current = session(ctx)
    workspace, now = current.workspace, current.now()
    if not workspace.webhooks:
        raise UsageError("nobody would hear of it: no webhook is configured (`webhooks:`, docs/offboarding.md)")
    confirmed(f"End all sessions of {who}?", yes)
    why = reason or "revoked at the command line"

    def revoke(conn: describe.Conn) -> str:
        id = describe.find_user(conn, workspace.name, who)
        deliveries.revoke_sessions(conn, workspace, current.actor, id, why, now, current.app.ids)
        return id

    id = current.database.write_now(revoke)
    say(f"{', '.join(workspace.webhooks)} will be told; `syncd deliveries list --user {id}` says until when not")


# -- shared --------------------------------------------------------------------------------------------------------------


def _change(
    ctx: typer.Context,
    who: str,
    edit: Callable[[str, User], Edit | Sequence[Edit] | None],
    as_json: bool = False,
    yes: bool | None = None,
    deleted: bool = False,
) -> Outcome:
    """One edit of one existing user. `yes` None: nothing is taken away, so nothing is asked."""
    current = session(ctx)
    found: list[str] = []

    def build(conn: describe.Conn) -> Sequence[Edit]:
        id = describe.find_user(conn, current.workspace.name, who, deleted)
        known = describe.user_facts(conn, current.workspace, id)
        if known.status == "deleted" and not deleted:
            raise Conflict(f"{known.name} is deleted: `syncd user restore` brings her back")
        found[:] = [id]
        made = edit(id, known)
        if made is None:
            return []
        return made if isinstance(made, Sequence) else [made]

    outcome = act(current, build, None if yes is None else "Do this?", bool(yes))
    finish(current, outcome, found[0], as_json)
    return outcome


def finish(current: Session, outcome: Outcome, id: str, as_json: bool) -> None:
    if as_json:
        print_json(_described(current, id))
    else:
        report(outcome)


def _read(current: Session, who: str) -> dict[str, Any]:
    with current.database.reading() as conn:
        id = describe.find_user(conn, current.workspace.name, who)
        return describe.explain(conn, current.workspace, id, current.now())


def _described(current: Session, id: str) -> dict[str, Any]:
    with current.database.reading() as conn:
        return describe.explain(conn, current.workspace, id, current.now())


def _assignment(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise UsageError(f"--set {text!r} is not PATH=VALUE, such as --set title=Analyst")
    return path.strip(), value


def _value(path: str, value: Any, type: ResourceType) -> tuple[str, Any]:
    resolved = type.resolve(path)
    if resolved is None or (resolved.parent is not None and resolved.parent.multi_valued):
        raise UsageError(no_such("attribute", path, type.paths, "names are those of SCIM, such as name.givenName"))
    try:
        return resolved.path, canonical_value(resolved, _meant(resolved, value))
    except InvalidValue as exc:
        raise UsageError(str(exc)) from exc


def _meant(resolved: Resolved, value: Any) -> Any:
    """Whatever is typed is text: `true`, and the value of an attribute that is an object."""
    for form in (bare_value, boolean_as_text):
        found = form(resolved, value)
        value = value if found is None else found
    return value
