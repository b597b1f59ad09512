"""A web application, a real mail server, and the postman between them: what tests of mailed links need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import httpx

from post_office import PostOffice, post_office
from receiver import wait_for
from syncd.deliver import letters
from syncd.deliver.postman import Postman, Server
from syncd.store import mails
from syncd.store.mails import Sending
from web_service import BASE, Service

FORM = "application/x-www-form-urlencoded"


@dataclass
class Desk:
    service: Service
    office: PostOffice

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.service.ask(method, f"/api/v1{path}", body, **more)

    def deliver(self, state: str = "sent") -> None:
        """The mail that waits is handed in."""
        service = self.service
        postman = Postman(
            service.database,
            service.workspaces,
            Server("127.0.0.1", self.office.port, "none", "syncd@example.org", timeout_s=5),
            letters.read(None),
            Sending("Example CRM", BASE, UTC),
            lambda: service.now,
            poll_s=0.02,
        )
        postman.start()

        def all_ended() -> bool:
            with service.database.reading() as conn:
                return not mails.listed(conn, "default")

        wait_for(all_ended)
        postman.stop()
        with service.database.reading() as conn:
            assert mails.listed(conn, "default", None)[-1].state == state

    def token_of(self, page: str, number: int = -1) -> str:
        """Of the link in a letter."""
        found = re.search(rf"{page}\?token=(\S+)", self.office.text(number))
        assert found is not None, self.office.text(number)
        return found[1]

    def look(self, page: str, token: str) -> httpx.Response:
        return self.service.ask("GET", f"{page}?{urlencode({'token': token})}", token=None)

    def fill(self, page: str, token: str, origin: str | None = BASE, **fields: str) -> httpx.Response:
        headers = {"Content-Type": FORM, **({"Origin": origin} if origin else {})}
        content = urlencode({"token": token, **fields}).encode()
        return self.service.ask("POST", page, content=content, headers=headers, token=None)


@contextmanager
def desk_of(service: Service) -> Iterator[Desk]:
    for name in ("default", "other"):
        service.workspaces[name] = replace(service.workspaces[name], mails=True)
    service.web = service.application()
    with post_office() as office:
        yield Desk(service, office)
