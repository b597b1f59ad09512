"""The page behind the link of a mail with which somebody chooses a new password, once."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

from starlette.responses import Response

from syncd import form
from syncd.core.actor import Actor
from syncd.core.secret import Secret
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.store import resets
from syncd.store.read import Connection
from syncd.store.resets import Reset

PATH: Final = "/password-reset"


@dataclass(frozen=True, slots=True)
class _Opened:
    workspace: Workspace
    reset: Reset
    user: User


class ResetPage(form.LinkedPage):
    async def look(self, token: str) -> Response:
        return form.page("A new password", _form(await self._opened(token), token))

    async def _opened(self, token: str) -> _Opened:
        context = self._context

        def work(conn: Connection) -> _Opened:
            reset = resets.open(conn, context.workspaces, token, context.clock())
            workspace = context.workspaces[reset.workspace]
            return _Opened(workspace, reset, resets.holder(conn, workspace, reset))

        return await context.database.read(work)

    async def send(self, said: dict[str, str]) -> Response:
        token = said.get("token", "")
        opened = await self._opened(token)
        faults = form.password_faults(opened.workspace, opened.user, said)
        if faults:
            return form.page("A new password", _form(opened, token, faults), 422)
        context, workspace = self._context, opened.workspace
        hash = await context.passwords.hashed(Secret(said["password"]))
        actor = Actor("reset link", opened.user.name, workspace.name)

        def work(conn: Connection) -> User:
            return resets.accept(conn, workspace, opened.reset, actor, hash, context.clock(), context.ids)

        user = await context.database.write(work)
        name = escape(user.name)
        return form.page("It is set", f"<p>Your user name is <strong>{name}</strong>. The old password has ended.</p>")


def _form(opened: _Opened, token: str, faults: list[str] | None = None) -> str:
    hello = f"<p>Your user name is <strong>{escape(opened.user.name)}</strong>. Choose a new password.</p>"
    return hello + form.form(PATH, token, form.password_fields(opened.workspace), "Set it", faults or ())
