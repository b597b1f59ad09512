"""The command line as tests run it: in this process, with its exit code and what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncd import sample

CONFIG = """
database: sqlite:///unused.db
seats:
  internal: {limit: 600}
  crm: {limit: 2, requires: [internal]}
roles:
  crm-user: {permissions: [crm.view]}
sources:
  corp:
    kind: ldif
    path: corp.ldif
    attributes: {userName: uid, displayName: "{givenName} {sn}", emails.work: mail, title: title}
    may_grant: [admin, member, crm-user]
  okta: {kind: scim}
rules:
  - {name: staff, when: 'groups[source eq "corp" and display eq "all-staff"]', roles: [member], seats: [internal]}
  - {name: crm-users, when: 'groups[source eq "corp" and display eq "crm-users"]', roles: [crm-user], seats: [crm]}
workspaces:
  acme:
    seats: {internal: {limit: 1}}
    sources:
      corp: {kind: ldif, path: acme.ldif}
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    folder: Path
    run: Callable[..., Ran]

    def __call__(self, *argv: str, code: int | None = 0) -> Ran:
        ran = self.run(*argv)
        assert code is None or ran.code == code, (argv, ran)
        return ran

    def directory(self, company: sample.Company, name: str = "corp.ldif") -> None:
        (self.folder / name).write_text("".join(sample.ldif(company)), encoding="utf-8")
