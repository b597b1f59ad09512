"""The directory of docs/openldap.md and docs/389ds.md before syncd comes to it, and what its admins do meanwhile."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.document import Document
from deploy.guide import Guide
from servers.slapd import BASE, Authority

PEOPLE = {"alice": "Archer", "bob": "Baker", "carol": "Carter", "dora": "Dean", "erin": "Ellis"}
APPLIED = re.compile(r"^```ldif\n# (ldapmodify [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PASSWORD_TYPED = "reader-password"


def _unit(name: str) -> str:
    return f"dn: ou={name},{BASE}\nobjectClass: organizationalUnit\nou: {name}\n\n"


def _person(uid: str, surname: str) -> str:
    given = uid.title()
    return (
        f"dn: uid={uid},ou=people,{BASE}\nobjectClass: inetOrgPerson\nobjectClass: shadowAccount\nuid: {uid}\n"
        f"cn: {given} {surname}\ngivenName: {given}\nsn: {surname}\nmail: {uid}@example.org\n\n"
    )


def _group(name: str, *members: str, kind: str = "groupOfNames", by: str = "member") -> str:
    lines = "".join(f"{by}: {each},{BASE}\n" for each in members)
    return f"dn: cn={name},ou=groups,{BASE}\nobjectClass: {kind}\ncn: {name}\n{lines}\n"


LDIF = "".join(
    (
        f"dn: {BASE}\nobjectClass: domain\ndc: example\n\n",
        *(_unit(name) for name in ("people", "groups", "services")),
        *(_person(uid, surname) for uid, surname in PEOPLE.items()),
        _group("emea-sales", "uid=alice,ou=people", kind="groupOfUniqueNames", by="uniqueMember"),
        _group("sales", "cn=emea-sales,ou=groups", "uid=carol,ou=people"),
        _group("crm-admins", "cn=sales,ou=groups"),
    )
)


@dataclass
class Admins:
    """What the directory's admins do, by the words of the guide's cues."""

    modify: Callable[[str], None]
    restart: Callable[[], None]
    names: dict[str, str]  # what the guide writes -> what it is here
    tls: Authority
    password: str
    applied: list[str] = field(default_factory=list)

    def __call__(self, url: str, token: Callable[[], str]) -> Admins:
        return self

    def does(self, what: str, *words: str) -> None:
        getattr(self, what)(*words)

    def set(self, uid: str, attribute: str, value: str) -> None:
        self._change(uid, f"replace: {attribute}\n{attribute}: {value}\n")

    def clear(self, uid: str, attribute: str) -> None:
        self._change(uid, f"delete: {attribute}\n")

    def _change(self, uid: str, how: str) -> None:
        self.modify(f"dn: uid={uid},ou=people,{BASE}\nchangetype: modify\n{how}")

    def prepare(self, document: Document) -> None:
        """Every LDIF of the guide is given to the command of its first line; a password that is asked for is typed."""
        for command, text in APPLIED.findall(document.text):
            words = [self.names.get(word, word) for word in shlex.split(command)]
            words = [part for word in words for part in (("-w", self.password) if word == "-W" else (word,))]
            done = subprocess.run(words, input=text, text=True, check=False, capture_output=True)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            self.applied.append(command)
        self.restart()


class DirectoryGuide(Guide):
    """What `sync` prints is left out of the guides: the order of entries is the server's own."""

    provider: Admins  # type: ignore[assignment]

    def play(self) -> None:
        self.provider.prepare(self.document)
        super().play()

    def _type(self, line: str) -> str:
        printed = super()._type(line)
        return "" if line == "syncd sync corp" else printed

    def _configure(self, text: str) -> None:
        self.real |= self.provider.names
        super()._configure(text)
        (self.folder / "etc" / "corp-bind").write_text(PASSWORD_TYPED)
        (self.folder / "etc" / "corp-ca.pem").write_bytes(self.provider.tls.ca.read_bytes())


def play(name: str, admins: Admins, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        moment = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
        DirectoryGuide(Document(name), Path(folder), monkeypatch, admins, moment).play()  # type: ignore[arg-type]
