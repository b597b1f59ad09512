"""The page behind the link of an invitation: one form, made on the server, without scripts.

Looking at it changes nothing (machines that scan mail look too); only the form, sent from this very page, does. The token is
in the query and in the form's body, and in no log. Whoever cannot prove it learns nothing, not even whether it ever existed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from zoneinfo import available_timezones

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from syncd.core import password as policies
from syncd.core.secret import Secret
from syncd.errors import Forbidden, NotFound, SyncdError
from syncd.serving import Context
from syncd.store import invitations
from syncd.store.commit import Outcome
from syncd.store.invitations import Opened
from syncd.store.read import Connection

PATH: Final = "/invitation"
_MOST_BYTES: Final = 16 * 1024
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:28rem;padding:0 1rem;color:#1c1c1c}"
    "label{display:block;margin:1rem 0 .2rem}input,select,button{font:inherit;padding:.4rem;width:100%;box-sizing:border-box}"
    "button{margin-top:1.5rem}[role=alert]{border-left:4px solid #b00020;padding-left:.8rem}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # the address holds the token; with `no-referrer` a form would not say its origin
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


class InvitationPage:
    """`origin`: how browsers reach this process, such as https://syncd.example.org."""

    def __init__(self, context: Context, origin: str) -> None:
        self._context = context
        parts = urlsplit(origin)
        self._origin = f"{parts.scheme}://{parts.netloc}"

    async def answer(self, request: Request) -> Response:
        try:
            if request.method == "POST":
                return await self._accept(request)
            token = request.query_params.get("token", "")
            return _page("Welcome", _form(await self._opened(token), token, {}, ()))
        except NotFound as exc:
            return _page("This link does not work", f"<p>{escape(_sentence(exc))} Ask for a new one.</p>", 404)
        except Forbidden as exc:
            return _page("Not accepted", f"<p>{escape(_sentence(exc))}</p>", 403)

    async def _opened(self, token: str) -> Opened:
        context = self._context
        return await context.database.read(
            lambda conn: invitations.open(conn, context.workspaces, token, context.clock())
        )

    async def _accept(self, request: Request) -> Response:
        self._from_here(request)
        said = await _said(request)
        token = said.get("token", "")
        opened = await self._opened(token)
        faults = _faults(opened, said)
        if faults:
            return _page("Welcome", _form(opened, token, said, faults), 422)
        hash = await self._context.passwords.hashed(Secret(said["password"]))
        country, timezone, context = said["country"].upper(), said["timezone"], self._context

        def work(conn: Connection) -> Outcome:
            return invitations.accept(conn, opened, hash, country, timezone, context.clock(), context.ids)

        try:
            (await context.database.write(work)).check()
        except NotFound:
            raise
        except SyncdError as exc:  # the door refuses: a seat pool without which nobody comes in is full
            return _page("Not accepted", f"<p>{escape(_sentence(exc))}</p>", 409)
        name = escape(opened.user.name)
        return _page("You are in", f"<p>Your password is set. Your user name is <strong>{name}</strong>.</p>")

    def _from_here(self, request: Request) -> None:
        """The form of another site is not taken, whatever it knows. Raises Forbidden."""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if (origin is not None and origin != self._origin) or site not in (None, "same-origin"):
            raise Forbidden("this form was sent from another site; open the link of your mail instead")


async def _said(request: Request) -> dict[str, str]:
    """The first value of each field. What is too large or no form is an empty one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise Forbidden("the form is too large")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Forbidden("this is not the form of this page")
    fields = parse_qs(bytes(body).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    return {name: values[0] for name, values in fields.items()}


def _faults(opened: Opened, said: dict[str, str]) -> tuple[str, ...]:
    workspace, user, found = opened.workspace, opened.user, []
    barred = policies.barred(user, workspace.passwords, lambda name: workspace.source(name).passwords)
    if barred is not None:
        raise Forbidden(barred)
    chosen = Secret(said.get("password", ""))
    found += [f"The password: {each}" for each in policies.faults(chosen, workspace.passwords, policies.names_of(user))]
    if said.get("again", "") != said.get("password", ""):
        found.append("The two passwords differ.")
    country = said.get("country", "")
    if not (len(country) == 2 and country.isascii() and country.isalpha()):
        found.append("The country is two letters, such as DE or US.")
    if said.get("timezone", "") not in available_timezones():
        found.append("Choose a time zone of the list.")
    return tuple(found)


def _form(opened: Opened, token: str, said: dict[str, str], faults: Iterable[str]) -> str:
    told = "".join(f"<li>{escape(each)}</li>" for each in faults)
    alert = f'<div role="alert"><ul>{told}</ul></div>' if told else ""
    chosen = said.get("timezone") or "UTC"
    zones = "".join(
        f"<option{' selected' if zone == chosen else ''}>{escape(zone)}</option>"
        for zone in sorted(available_timezones())
    )
    least = opened.workspace.passwords.min_length
    return (
        f"<p>Your user name is <strong>{escape(opened.user.name)}</strong>. Choose a password and come in.</p>{alert}"
        f'<form method="post" action="{PATH}"><input type="hidden" name="token" value="{escape(token)}">'
        f'<label for="password">Password, {least} characters or more</label>'
        f'<input id="password" name="password" type="password" autocomplete="new-password" minlength="{least}" required>'
        '<label for="again">The same again</label>'
        '<input id="again" name="again" type="password" autocomplete="new-password" required>'
        '<label for="country">Country, two letters such as DE</label>'
        f'<input id="country" name="country" value="{escape(said.get("country", ""))}" pattern="[A-Za-z]{{2}}" '
        'autocomplete="country" required>'
        f'<label for="timezone">Time zone</label><select id="timezone" name="timezone">{zones}</select>'
        '<button type="submit">Come in</button></form>'
    )


def _sentence(exc: Any) -> str:
    text = str(exc)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _page(title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>",
        status,
        headers=HEADERS,
    )
