"""A guide of docs/ played from its first line to its last: what it says to write is written, what it says to type is typed,
and what it shows is what comes out.

    yaml block              the configuration, written as it stands
    sh block                typed, line by line; `syncd` runs in this process, anything else is the machine's
    text block              what the block above it prints, stdout and stderr as they come
    <!-- NAME: word ... --> what the provider does meanwhile (providers.py), or `later: 2` days that pass

Ids, digests, tokens, releases and how long something took differ: they are compared by their shape, and where a later line
types one that was shown, the one that really came is typed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest

from deploy.document import Document
from deploy.providers import Provider
from loopback import serving
from syncd.app import compose
from syncd.cli import main
from syncd.store import tables as t
from syncd.store.engine import Database
from syncd.web import create_web

PUBLIC = "https://syncd.example.org"
PART = re.compile(r"^<!-- (\w+: [^\n]+) -->$|^```(yaml|sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARYING = re.compile(
    r"syncd_[0-9a-f]{16}_[0-9a-f]{8,}|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{16}\b|\b[0-9a-f]{12}\b"
    r"|\b\d+\.\d s\b|\b\d+\.\d+\.\d+(?= ·)|(?<=revision )\d{4}|(?<=database )\d{4}"
    r"|(?<=389-Directory/)[\d.]+ B[\d.]+|(?<=Active Directory )\d[\w.+~-]+"
)
RULE = re.compile(r"─+|[ \t]+")  # as wide as the longest cell, which may be one of VARYING or a path


@dataclass
class Guide:
    document: Document
    folder: Path
    patch: pytest.MonkeyPatch
    provider: type[Provider]
    now: datetime = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
    real: dict[str, str] = field(default_factory=dict)  # what the guide shows -> what it is here
    printed: str = ""

    def parts(self) -> Iterator[tuple[str, str]]:
        """(kind, text): yaml, sh, text, or cue."""
        for cue, language, text in PART.findall(self.document.text):
            yield (language, text) if language else ("cue", cue)

    def play(self) -> None:
        parts = self.parts()
        kind, text = next(parts)
        assert kind == "yaml"
        self._configure(text)
        if "\nsyncd db upgrade\n" in self.document.text:
            self._before_it_runs(parts)
        else:
            assert main(["db", "upgrade"]) == 0
        while days := self._serve(parts):
            self._at(self.now + timedelta(days=days))
        self._nothing_left("the end")

    def _before_it_runs(self, parts: Iterator[tuple[str, str]]) -> None:
        """To where the guide makes the database, and what it shows of that."""
        made = False
        for kind, text in parts:
            if kind == "sh":
                made = "syncd db upgrade" in _lines(text)
                self.printed = "".join(self._type(line) for line in _lines(text))
            elif kind == "text":
                self._shows(text)
                if made:
                    return

    def _serve(self, parts: Iterator[tuple[str, str]]) -> int:
        """Until days pass (their number) or the guide ends (0). What a process counts it writes when it ends."""
        with self._served() as provider:
            for kind, text in parts:
                match kind:
                    case "sh":
                        self._nothing_left(text)
                        self.printed = "".join(self._type(line) for line in _lines(text))
                    case "text":
                        self._shows(text)
                    case "cue" if text.startswith("later: "):
                        return int(text.removeprefix("later: "))
                    case "cue":
                        provider.does(*shlex.split(text.partition(": ")[2]))
        return 0

    def _configure(self, text: str) -> None:
        for shown, here in {"/etc/syncd": self.folder / "etc", "/var/lib/syncd": self.folder / "var"}.items():
            here.mkdir()
            self.real[shown] = str(here)
        path = self.folder / "etc" / "syncd.yaml"
        path.write_text(self._here(text), encoding="utf-8")
        self.patch.setenv("SYNCD_CONFIG", str(path))
        self.patch.setenv("COLUMNS", "110")
        self.patch.setenv("LOGNAME", "root")
        self.patch.delenv("SYNCD_DATABASE", raising=False)
        self.patch.setenv("SYNCD_TESTING", "1")
        self._at(self.now)

    def _at(self, moment: datetime) -> None:
        self.now = moment
        self.patch.setenv("SYNCD_TESTING_NOW", moment.isoformat())

    @contextmanager
    def _served(self) -> Iterator[Provider]:
        """The application of the configuration, and a database with processes that are seen to live."""
        app = compose(Path(os.environ["SYNCD_CONFIG"]), os.environ)
        database = Database(app.settings.database)
        with database.writing() as conn:
            for kind, pid in (("web", 412), ("worker", 413)):
                beat = {"id": f"elsewhere/{pid}/1", "kind": kind, "host": "syncd-1", "pid": pid, "release": "0.2.0"}
                conn.execute(t.processes.delete().where(t.processes.c.id == beat["id"]))
                conn.execute(t.processes.insert().values(**beat, started_at=self.now, beat_at=self.now))
        with serving(
            lambda _: create_web(database, app.workspaces, lambda: self.now, app.ids, PUBLIC, token_cache_s=0)
        ) as url:
            self.real[PUBLIC] = url
            yield self.provider(url, lambda: self.real[self.token])
        database.close()

    @property
    def token(self) -> str:
        """As the guide shows it."""
        return next(shown for shown in self.real if shown.startswith("syncd_"))

    def _type(self, line: str) -> str:
        refused = line.endswith("|| true")  # what a guide shows is that it is
        line = self._here(line.removesuffix("|| true"))
        words = shlex.split(line)
        if words[0] == "export":
            self.patch.setenv(*words[1].split("=", 1))
            return ""
        if words[0] != "syncd":
            ran = subprocess.run(
                ["sh", "-eu", "-c", line], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            assert ran.returncode == 0, (line, ran)
            return ran.stdout
        out = StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            code = main(words[1:])
        # Changes pending and changes held are what a guide may want to show.
        assert (code in (1, 2)) if refused else (code in (0, 3, 4)), (line, code, out.getvalue())
        return out.getvalue()

    def _here(self, text: str) -> str:
        for shown in sorted(self.real, key=len, reverse=True):  # a token before the id in it
            text = text.replace(shown, self.real[shown])
        return text

    def _shows(self, shown: str) -> None:
        printed = self.printed
        for guide, here in self.real.items():
            printed = printed.replace(here, guide)
        assert alike(printed) == alike(shown), f"{self.document.name} shows\n{shown}\nand it is\n{printed}"
        found = zip(VARYING.findall(shown), VARYING.findall(self.printed), strict=True)
        self.real |= {guide: here for guide, here in found if len(guide) >= len("0123456789ab")}  # not "0.1 s"
        self.printed = ""

    def _nothing_left(self, before: str) -> None:
        assert not self.printed.strip(), f"{self.document.name} does not show, before {before}:\n{self.printed}"


def alike(text: str) -> list[str]:
    """Its lines without what differs each time, and without what only makes a column as wide as that."""
    lines = (RULE.sub(lambda found: found[0][0], VARYING.sub("*", line)).strip() for line in text.splitlines())
    return [line for line in lines if line.strip(" ─")]


def _lines(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
