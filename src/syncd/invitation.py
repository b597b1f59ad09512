"""The page behind the link of an invitation: password, country and time zone, and she is in."""

from __future__ import annotations

from html import escape
from typing import Final
from zoneinfo import available_timezones

from starlette.responses import Response

from syncd import form
from syncd.core.secret import Secret
from syncd.store import invitations
from syncd.store.commit import Outcome
from syncd.store.invitations import Opened
from syncd.store.read import Connection

PATH: Final = "/invitation"


class InvitationPage(form.LinkedPage):
    async def look(self, token: str) -> Response:
        return form.page("Welcome", _form(await self._opened(token), token, {}, ()))

    async def _opened(self, token: str) -> Opened:
        context = self._context
        return await context.database.read(
            lambda conn: invitations.open(conn, context.workspaces, token, context.clock())
        )

    async def send(self, said: dict[str, str]) -> Response:
        token = said.get("token", "")
        opened = await self._opened(token)
        faults = _faults(opened, said)
        if faults:
            return form.page("Welcome", _form(opened, token, said, faults), 422)
        hash = await self._context.passwords.hashed(Secret(said["password"]))
        country, timezone, context = said["country"].upper(), said["timezone"], self._context

        def work(conn: Connection) -> Outcome:
            return invitations.accept(conn, opened, hash, country, timezone, context.clock(), context.ids)

        (await context.database.write(work)).check()  # the door refuses: a pool without which nobody comes in is full
        name = escape(opened.user.name)
        return form.page("You are in", f"<p>Your password is set. Your user name is <strong>{name}</strong>.</p>")


def _faults(opened: Opened, said: dict[str, str]) -> tuple[str, ...]:
    found = form.password_faults(opened.workspace, opened.user, said)
    country = said.get("country", "")
    if not (len(country) == 2 and country.isascii() and country.isalpha()):
        found.append("The country is two letters, such as DE or US.")
    if said.get("timezone", "") not in available_timezones():
        found.append("Choose a time zone of the list.")
    return tuple(found)


def _form(opened: Opened, token: str, said: dict[str, str], faults: tuple[str, ...]) -> str:
    chosen = said.get("timezone") or "UTC"
    zones = "".join(
        f"<option{' selected' if zone == chosen else ''}>{escape(zone)}</option>"
        for zone in sorted(available_timezones())
    )
    fields = (
        f"{form.password_fields(opened.workspace)}"
        '<label for="country">Country, two letters such as DE</label>'
        f'<input id="country" name="country" value="{escape(said.get("country", ""))}" pattern="[A-Za-z]{{2}}" '
        'autocomplete="country" required>'
        f'<label for="timezone">Time zone</label><select id="timezone" name="timezone">{zones}</select>'
    )
    name = escape(opened.user.name)
    hello = f"<p>Your user name is <strong>{name}</strong>. Choose a password and come in.</p>"
    return hello + form.form(PATH, token, fields, "Come in", faults)
