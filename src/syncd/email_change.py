"""The page behind the link of a mail with which somebody confirms that an address is hers."""

from __future__ import annotations

from html import escape
from typing import Final

from starlette.responses import Response

from syncd import form
from syncd.store import addresses
from syncd.store.addresses import Opened
from syncd.store.commit import Outcome
from syncd.store.read import Connection

PATH: Final = "/email-change"


class EmailChangePage(form.LinkedPage):
    async def look(self, token: str) -> Response:
        opened = await self._opened(token)
        name, address = escape(opened.user.name), escape(opened.change.address)
        hello = f"<p>The address of <strong>{name}</strong> is to be <strong>{address}</strong>.</p>"
        return form.page("Is this your address?", hello + form.form(PATH, token, "", "It is mine, use it"))

    async def _opened(self, token: str) -> Opened:
        context = self._context
        return await context.database.read(
            lambda conn: addresses.open(conn, context.workspaces, token, context.clock())
        )

    async def send(self, said: dict[str, str]) -> Response:
        opened, context = await self._opened(said.get("token", "")), self._context

        def work(conn: Connection) -> Outcome:
            return addresses.confirm(conn, opened, context.clock(), context.ids)

        outcome = await context.database.write(work)
        outcome.check()
        name = escape(outcome.users[opened.user.id].name)
        address = escape(opened.change.address)
        told = f"<p>Your address is <strong>{address}</strong>, your user name <strong>{name}</strong>.</p>"
        return form.page("It is changed", told)
