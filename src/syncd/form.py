"""Pages behind the links of mails: made on the server, without scripts, one form each.

Looking at one changes nothing (machines that scan mail look too); only its form, sent from this very page, does. The token is
in the query and in the form's body, and in no log. Whoever cannot prove it learns nothing, not even whether it ever existed.
"""

from __future__ import annotations

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from syncd.core import password as policies
from syncd.core.secret import Secret
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import Forbidden, NotFound, SyncdError
from syncd.serving import Context

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


class LinkedPage(ABC):
    """`origin`: how browsers reach this process, such as https://syncd.example.org."""

    def __init__(self, context: Context, origin: str) -> None:
        self._context = context
        parts = urlsplit(origin)
        self._origin = f"{parts.scheme}://{parts.netloc}"

    async def answer(self, request: Request) -> Response:
        try:
            if request.method == "POST":
                self._from_here(request)
                return await self.send(await _said(request))
            return await self.look(request.query_params.get("token", ""))
        except NotFound as exc:
            return page("This link does not work", f"<p>{escape(sentence(exc))} Ask for a new one.</p>", 404)
        except Forbidden as exc:
            return page("Not accepted", f"<p>{escape(sentence(exc))}</p>", 403)
        except SyncdError as exc:  # what the door refuses, or too much at once
            if exc.status >= 500:
                raise
            return page("Not accepted", f"<p>{escape(sentence(exc))}</p>", exc.status)

    @abstractmethod
    async def look(self, token: str) -> Response:
        """The form. Raises NotFound."""

    @abstractmethod
    async def send(self, said: dict[str, str]) -> Response:
        """What comes of it. Raises NotFound, Forbidden."""

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


def password_faults(workspace: Workspace, user: User, said: dict[str, str]) -> list[str]:
    """What is wrong with the password chosen, for whoever chose it. Raises Forbidden for who may have none here."""
    barred = policies.barred(user, workspace.passwords, lambda name: workspace.source(name).passwords)
    if barred is not None:
        raise Forbidden(barred)
    chosen = Secret(said.get("password", ""))
    found = [f"The password: {each}" for each in policies.faults(chosen, workspace.passwords, policies.names_of(user))]
    if said.get("again", "") != said.get("password", ""):
        found.append("The two passwords differ.")
    return found


def password_fields(workspace: Workspace) -> str:
    least = workspace.passwords.min_length
    return (
        f'<label for="password">Password, {least} characters or more</label>'
        f'<input id="password" name="password" type="password" autocomplete="new-password" minlength="{least}" required>'
        '<label for="again">The same again</label>'
        '<input id="again" name="again" type="password" autocomplete="new-password" required>'
    )


def form(path: str, token: str, fields: str, button: str, faults: Iterable[str] = ()) -> str:
    """`fields`: HTML; `faults`: what was wrong with what was sent before."""
    told = "".join(f"<li>{escape(each)}</li>" for each in faults)
    alert = f'<div role="alert"><ul>{told}</ul></div>' if told else ""
    return (
        f'{alert}<form method="post" action="{path}"><input type="hidden" name="token" value="{escape(token)}">'
        f'{fields}<button type="submit">{escape(button)}</button></form>'
    )


def sentence(exc: Any) -> str:
    text = str(exc)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def page(title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>",
        status,
        headers=HEADERS,
    )
