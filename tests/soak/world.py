"""What a soak starts with: one configuration of many workspaces, each with a directory that changes and a SCIM connection."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from syncd import sample
from syncd.app import App, compose
from syncd.core.actor import Actor
from syncd.store import tokens
from syncd.store.engine import Database
from syncd.store.migrate import upgrade

_KINDS = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")
_WIDE = {kind: {"share": "100%", "floor": 100_000, "number": 100_000} for kind in _KINDS}


@dataclass
class World:
    folder: Path
    workspaces: int
    people: int  # in each directory
    every: str  # between two reads of a directory
    port: int
    database: str
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return ["default", *(f"ws{number:02d}" for number in range(1, self.workspaces))]

    @property
    def config(self) -> Path:
        return self.folder / "syncd.yaml"

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "SYNCD_CONFIG": str(self.config), "SYNCD_DATABASE": self.database}

    def app(self) -> App:
        return compose(self.config, self.env)

    def build(self) -> World:
        first, *others = self.names
        written = {
            "database": self.database,
            "http": {"bind": f"127.0.0.1:{self.port}"},
            "roles": {"crm-user": {"permissions": ["crm.view"]}},
            **self._workspace(first),
            "workspaces": {name: self._workspace(name) for name in others},
        }
        self.config.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        for directory in directories(self):
            directory.write()
        database = Database(self.database, create=True)
        with closing(database):
            upgrade(database)
            app = self.app()
            with database.writing() as conn:
                for name in self.names:
                    actor = Actor("cli", "soak", name)
                    _, text = tokens.create(conn, actor, "okta", datetime.now(UTC), app.ids, source="okta")
                    self.tokens[name] = text
        return self

    def _workspace(self, name: str) -> dict[str, Any]:
        attributes = {"userName": "uid", "displayName": "{givenName} {sn}", "emails.work": "mail", "title": "title"}
        corp = {
            "kind": "ldif",
            "path": f"{name}.ldif",
            "attributes": attributes,
            "schedule": {"delta": self.every},
            "limits": _WIDE,
        }
        staff = 'groups[source eq "corp" and display eq "all-staff"]'
        crm = 'groups[source eq "corp" and display eq "crm-users"] or groups[source eq "okta" and display sw "team-1"]'
        return {
            "seats": {"internal": {"limit": self.people}, "crm": {"limit": 12}},
            "sources": {"corp": corp, "okta": {"kind": "scim", "limits": _WIDE}},
            "rules": [
                {"name": "staff", "when": staff, "roles": ["member"], "seats": ["internal"]},
                {"name": "crm", "when": crm, "permissions": ["crm.view"], "seats": ["crm"]},
            ],
        }


@dataclass
class Directory:
    """An LDIF file and the company in it."""

    path: Path
    company: sample.Company
    chance: random.Random
    steps: int = 0

    def write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text("".join(sample.ldif(self.company)), encoding="utf-8")
        new.replace(self.path)

    def step(self) -> None:
        """What happens in a minute: titles, somebody is switched off or on again, somebody joins or leaves a team."""
        self.steps += 1
        people = list(self.company.people)
        for index in self.chance.sample(range(9, len(people)), 2):
            people[index] = replace(people[index], title=f"{self.chance.choice(('Lead', 'Analyst'))} {self.steps}")
        index = self.chance.randrange(9, len(people))
        off = people[index].shadow_expire == sample.EXPIRED
        people[index] = replace(people[index], shadow_expire=None if off else sample.EXPIRED)
        groups = list(self.company.groups)
        crm = next(at for at, group in enumerate(groups) if group.name == "crm-users")
        groups[crm] = replace(
            groups[crm], people=tuple(sorted({*groups[crm].people} ^ {self.chance.choice(people).uuid}))
        )
        self.company = replace(self.company, people=tuple(people), groups=tuple(groups))
        if self.steps % 5 == 0:  # a whole weekend: some leave, some come
            self.company = replace(sample.monday(self.company), title=f"step {self.steps}")
        self.write()


def directories(world: World) -> Iterator[Directory]:
    for number, name in enumerate(world.names):
        company = sample.company(world.people, 20, number)
        yield Directory(world.folder / f"{name}.ldif", company, random.Random(number))
