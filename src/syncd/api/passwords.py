"""Passwords that syncd keeps: set, verified and reset by the application, for users who have no identity provider.

A password is hashed or compared in `prepare`, before the transaction; nothing of it is answered, recorded or repeated for an
Idempotency-Key. Verifying counts as signing in: a wrong one is a failed attempt, and a row of them locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, SecretStr

from syncd.api.model import Instant, Model, Reason, Text
from syncd.api.operation import Answer, Call, Operation
from syncd.api.problem import Fault, Invalid
from syncd.api.signins import Address
from syncd.api.users import Status, found
from syncd.core import password as policies
from syncd.core.lifecycle import status
from syncd.core.resource import name_key
from syncd.core.secret import Secret
from syncd.core.signins import SignIn
from syncd.core.state import User
from syncd.errors import Conflict, Forbidden, NotFound, Refused, TooManyRequests
from syncd.serving import Context
from syncd.store import describe, escalation, passwords, resets, signins
from syncd.store.passwords import Kept
from syncd.store.read import Connection
from syncd.store.resets import Reset

Password = Annotated[SecretStr, Field(min_length=1, max_length=1000)]


class SetPassword(Model):
    password: Password
    current: Password | None = Field(
        default=None, description="The one she has: whoever knows it may change it without being more than she is."
    )
    must_change: bool = Field(default=False, description="Tell the application to have her choose another one.")
    reason: Text = Field(default="", description="Stands in the activity record.")


class VerifyPassword(Model):
    password: Password
    address: Address = Field(default=None, description="Where she comes from.")
    final: bool = Field(
        default=True,
        description="Whether the right password is all it takes. false: a second factor follows, and the application "
        "reports what came of it to /users/{id}/sign-ins.",
    )


class VerifyPasswordOf(VerifyPassword):
    userName: Text = Field(min_length=1)


class Verified(Model):
    """Let her in only if `may_sign_in`."""

    user_id: str | None = Field(description="null: there is no user of that name.")
    status: Status | None
    valid: bool = Field(description="Whether it is her password. While she is locked, it is not looked at.")
    may_sign_in: bool = Field(description="It is, and she is active.")
    must_change: bool
    locked_until: Instant | None
    failed_attempts: int


class MakeReset(Reason):
    mail: bool = Field(default=False, description="Send her the link, and show no token to whoever asks.")


class ResetMade(Model):
    """A way to choose a new password, once. The token is shown now and never again."""

    token: str | None
    expires_at: Instant | None = Field(description="null: it goes by mail, and its time begins when that is sent.")
    mail: str | None = Field(description="The id of the letter, if it goes by mail.")


class AskReset(Model):
    userName: Text = Field(min_length=1, description="What was typed at the sign-in page: a userName or an address.")
    address: Address = Field(default=None, description="Where whoever asks comes from.")


class AcceptReset(Model):
    token: Annotated[SecretStr, Field(min_length=1, max_length=200)]
    password: Password


class ResetDone(Model):
    user_id: str
    userName: str
    status: Status


# -- set -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hashed:
    """`current`: the hash that the password she has now matched; None: none was sent."""

    hash: str
    current: str | None = None


async def prepare_set(call: Call, context: Context) -> Hashed:
    said = call.said(SetPassword)

    def known(conn: Connection) -> tuple[User, Kept | None]:
        user = found(call, conn, call.id)
        return user, passwords.find(conn, call.workspace.name, user.id)

    user, kept = await context.database.read(known)
    chosen = _good(call, user, said.password)
    current = None
    if said.current is not None:
        _admit(call, context, ("user", user.id))
        if kept is None or not await context.passwords.matches(kept.hash, _secret(said.current)):
            raise Forbidden(f"that is not the password {user.name} has")
        current = kept.hash
    return Hashed(await context.passwords.hashed(chosen), current)


def set_(call: Call, conn: Connection) -> Answer:
    said, made = call.said(SetPassword), call.ready(Hashed)
    user = found(call, conn, call.id)
    _may_have(call, user)
    kept = passwords.find(conn, call.workspace.name, user.id)
    if made.current is not None and (kept is None or kept.hash != made.current):
        raise Conflict(f"the password of {user.name} was changed at this moment: look again")
    if made.current is None:
        refused = escalation.outranked(conn, call.workspace, call.actor, user, call.now)
        if refused is not None:
            raise refused
    why = said.reason or f"set by {call.actor.name}"
    passwords.put(
        conn, call.actor, user.id, user.name, made.hash, call.now, call.ids, why=why, must_change=said.must_change
    )
    resets.forget(conn, call.workspace.name, user.id)
    return Answer()


def remove(call: Call, conn: Connection) -> Answer:
    user = found(call, conn, call.id)
    refused = escalation.outranked(conn, call.workspace, call.actor, user, call.now)
    if refused is not None:
        raise refused
    why = call.asked(Reason).reason or f"removed by {call.actor.name}"
    resets.forget(conn, call.workspace.name, user.id)
    if not passwords.drop(conn, call.actor, user.id, user.name, call.now, call.ids, why):
        raise NotFound(f"{user.name} has no password here")
    return Answer()


# -- verify ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """`hash`: what was compared with; None: she has none. `renewed`: the same password under today's parameters."""

    user_id: str | None
    hash: str | None = None
    matches: bool = False
    renewed: str | None = None


async def prepare_verify(call: Call, context: Context) -> Tried:
    said = call.said(VerifyPassword)

    def known(conn: Connection) -> tuple[str | None, Kept | None]:
        id = _named(call, conn)
        return id, None if id is None else passwords.find(conn, call.workspace.name, id)

    id, kept = await context.database.read(known)
    name = call.said(VerifyPasswordOf).userName if isinstance(said, VerifyPasswordOf) else ""
    _admit(call, context, ("user", id) if id else ("name", name_key(name)))
    if said.address is not None:
        _admit(call, context, ("address", str(said.address)), 10)
    text = _secret(said.password)
    hash = kept.hash if kept else None
    matches = await context.passwords.matches(hash, text)
    renewed = await context.passwords.hashed(text) if matches and hash and context.passwords.outdated(hash) else None
    return Tried(id, hash, matches, renewed)


def verify(call: Call, conn: Connection) -> Verified:
    said, tried = call.said(VerifyPassword), call.ready(Tried)
    if tried.user_id is None:
        return Verified(
            user_id=None,
            status=None,
            valid=False,
            may_sign_in=False,
            must_change=False,
            locked_until=None,
            failed_attempts=0,
        )
    user = describe.user_facts(conn, call.workspace, tried.user_id)
    kept = passwords.find(conn, call.workspace.name, user.id)
    if (kept.hash if kept else None) != tried.hash:
        raise Conflict(f"the password of {user.name} was changed at this moment: ask again")
    state = status(user, call.workspace.authoritative, call.now)[0]
    barred = policies.barred(user, call.workspace.passwords, lambda name: call.workspace.source(name).passwords)
    valid = tried.matches and state != "locked" and barred is None
    if valid and tried.renewed is not None and tried.hash is not None:
        passwords.renew(conn, call.workspace.name, user.id, tried.hash, tried.renewed)
    if state != "deleted" and (not valid or (said.final and state == "active")):
        address = None if said.address is None else str(said.address)
        each = SignIn(valid, call.now, address, False if valid else None)
        signins.report(conn, call.workspace, call.actor, user.id, each, call.now, call.ids)
        user = describe.user_facts(conn, call.workspace, user.id)
        state = status(user, call.workspace.authoritative, call.now)[0]
    failures = signins.of(conn, call.workspace.name, [user.id]).get(user.id, signins.NONE).failures
    return Verified.model_validate(
        {
            "user_id": user.id,
            "status": state,
            "valid": valid,
            "may_sign_in": valid and state == "active",
            "must_change": bool(kept and kept.must_change),
            "locked_until": user.locked_until if state == "locked" else None,
            "failed_attempts": failures,
        }
    )


# -- reset -----------------------------------------------------------------------------------------------------------------


def make_reset(call: Call, conn: Connection) -> ResetMade:
    said = call.said(MakeReset)
    user = found(call, conn, call.id)
    _may_have(call, user)
    why = said.reason or f"asked for by {call.actor.name}"
    if said.mail:  # it goes to her alone, so that nobody signs in as somebody above
        letter = resets.mail(conn, call.workspace, call.actor, user, why, call.now, call.ids)
        return ResetMade(token=None, expires_at=None, mail=letter)
    refused = escalation.outranked(conn, call.workspace, call.actor, user, call.now)
    if refused is not None:
        raise refused
    until = call.now + call.workspace.passwords.reset_for
    text = resets.make(conn, call.actor, user.id, user.name, call.now, until, call.ids, why)
    return ResetMade(token=text, expires_at=until, mail=None)


async def prepare_ask(call: Call, context: Context) -> None:
    said = call.said(AskReset)
    _admit_asking(call, context, ("name", name_key(said.userName)), 5)
    if said.address is not None:
        _admit_asking(call, context, ("address", str(said.address)), 60)


def ask(call: Call, conn: Connection) -> Answer:
    """The same for whoever is named: that there is such a user, the mail tells her alone."""
    resets.ask(conn, call.workspace, call.actor, call.said(AskReset).userName, call.now, call.ids)
    return Answer(status=202)


@dataclass(frozen=True, slots=True)
class Accepted:
    reset: Reset
    hash: str


async def prepare_accept(call: Call, context: Context) -> Accepted:
    said = call.said(AcceptReset)
    token = said.token.get_secret_value()

    def known(conn: Connection) -> tuple[Reset, User]:
        reset = resets.open(conn, [call.workspace.name], token, call.now)
        return reset, found(call, conn, reset.user_id)

    reset, user = await context.database.read(known)
    return Accepted(reset, await context.passwords.hashed(_good(call, user, said.password)))


def accept(call: Call, conn: Connection) -> ResetDone:
    made = call.ready(Accepted)
    user = resets.accept(conn, call.workspace, made.reset, call.actor, made.hash, call.now, call.ids)
    state = status(user, call.workspace.authoritative, call.now)[0]
    return ResetDone.model_validate({"user_id": user.id, "userName": user.name, "status": state})


# -- shared ----------------------------------------------------------------------------------------------------------------


def _secret(text: SecretStr) -> Secret:
    return Secret(text.get_secret_value())


def _good(call: Call, user: User, password: SecretStr) -> Secret:
    """Raises Refused for who may have none, Invalid for one that is not good enough."""
    _may_have(call, user)
    chosen = _secret(password)
    faults = policies.faults(chosen, call.workspace.passwords, policies.names_of(user))
    if faults:
        told = tuple(Fault(pointer="/password", detail=each) for each in faults)
        raise Invalid(f"the password is not good enough: {'; '.join(faults)}", told)
    return chosen


def _may_have(call: Call, user: User) -> None:
    barred = policies.barred(user, call.workspace.passwords, lambda name: call.workspace.source(name).passwords)
    if barred is not None:
        raise Refused(barred)


def _named(call: Call, conn: Connection) -> str | None:
    """The id of the user whose password is asked about. An unknown name is an answer, an unknown id is NotFound."""
    said = call.body
    if not isinstance(said, VerifyPasswordOf):
        return found(call, conn, call.id).id
    return describe.user_named(conn, call.workspace.name, said.userName)


def _admit(call: Call, context: Context, key: tuple[str, str], times: int = 1) -> None:
    """So many attempts a minute and no more, before anything is hashed. Raises TooManyRequests."""
    most = times * call.workspace.passwords.attempts_per_minute
    full_key, now = ("password", call.workspace.name, *key), context.monotonic()
    wait_s = context.attempts.wait_s(full_key, now, most / 60, most)
    if wait_s:
        raise TooManyRequests(f"more than {most} passwords were tried for this {key[0]} within a minute", wait_s)
    context.attempts.take(full_key, now, most / 60)


def _admit_asking(call: Call, context: Context, key: tuple[str, str], an_hour: int) -> None:
    """So many letters an hour and no more, whether or not there is such a user. Raises TooManyRequests."""
    full_key, now = ("reset", call.workspace.name, *key), context.monotonic()
    wait_s = context.attempts.wait_s(full_key, now, an_hour / 3600, an_hour)
    if wait_s:
        raise TooManyRequests(f"more than {an_hour} links were asked for this {key[0]} within an hour", wait_s)
    context.attempts.take(full_key, now, an_hour / 3600)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "PUT",
        "/users/{id}/password",
        "passwords:write",
        set_,
        "Set her password; the old one ends",
        body=SetPassword,
        status=204,
        errors=(409,),
        prepare=prepare_set,
    ),
    Operation(
        "DELETE", "/users/{id}/password", "passwords:write", remove, "Nobody signs in with it any more", query=Reason
    ),
    Operation(
        "POST",
        "/users/{id}/verify-password",
        "passwords:verify",
        verify,
        "Whether this is her password; counts as signing in",
        answer=Verified,
        body=VerifyPassword,
        once=False,
        prepare=prepare_verify,
    ),
    Operation(
        "POST",
        "/verify-password",
        "passwords:verify",
        verify,
        "The same by userName, in the same time whether or not there is such a user",
        answer=Verified,
        body=VerifyPasswordOf,
        once=False,
        prepare=prepare_verify,
    ),
    Operation(
        "POST",
        "/users/{id}/password-reset",
        "passwords:write",
        make_reset,
        "A token with which she chooses a new password, once, or a letter with the link; it ends the one before",
        answer=ResetMade,
        body=MakeReset,
        status=201,
        secret=("token",),
    ),
    Operation(
        "POST",
        "/password-resets/by-mail",
        "passwords:verify",
        ask,
        "Somebody forgot her password: if there is such a user, she gets a letter with a link",
        body=AskReset,
        status=202,
        once=False,
        errors=(409,),
        prepare=prepare_ask,
    ),
    Operation(
        "POST",
        "/password-resets",
        "passwords:verify",
        accept,
        "Choose a new password with the token of a reset",
        answer=ResetDone,
        body=AcceptReset,
        once=False,
        errors=(404,),
        prepare=prepare_accept,
    ),
)
