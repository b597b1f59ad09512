"""docs/active-directory.md is played as it stands against a real domain controller, with what its admins do meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.document import Document
from deploy.guide import Guide
from servers.active_directory import BASE, Samba
from servers.slapd import READER_PASSWORD

FULL_NAMES = {"carol": "Carol Carter", "grace": "Grace Green"}
DISABLED, EXPIRES = "546", "134432100000000000"  # 2026-12-31T17:00:00Z


@dataclass
class Admins:
    """What the domain's admins and people do, by the words of the guide's cues."""

    domain: Samba

    def __call__(self, url: str, token: Callable[[], str]) -> Admins:
        return self

    def does(self, what: str, *words: str) -> None:
        getattr(self, what)(*words)

    def disable(self, name: str) -> None:
        self._replace(name, "userAccountControl", DISABLED)

    def expire(self, name: str) -> None:
        self._replace(name, "accountExpires", EXPIRES)

    def _replace(self, name: str, attribute: str, value: str) -> None:
        dn = f"CN={FULL_NAMES[name]},OU=People,{BASE}"
        self.domain.modify(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")


class DirectoryGuide(Guide):
    """What `sync` prints is left out of the guide: the order of entries is the server's own."""

    def _type(self, line: str) -> str:
        printed = super()._type(line)
        return "" if line == "syncd sync corp" else printed

    def _configure(self, text: str) -> None:
        domain = self.provider.domain
        self.real["ldaps://dc1.ad.example.org"] = domain.ldaps_url
        super()._configure(text)
        (self.folder / "etc" / "corp-bind").write_text(READER_PASSWORD)
        (self.folder / "etc" / "corp-ca.pem").write_bytes(domain.tls.ca.read_bytes())


def test_what_the_guide_says_is_what_happens(changed_domain: Samba, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        DirectoryGuide(
            Document("active-directory.md"),
            Path(folder),
            monkeypatch,
            Admins(changed_domain),
            datetime(2026, 12, 1, 9, 0, tzinfo=UTC),
        ).play()
