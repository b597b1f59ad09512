"""Transcripts: one file for each thing a provider does, played against the whole application over each engine.

A transcript has `about`, `seen` (where it is documented), `headers` of all its requests, `given` (users and groups by
name), `steps` and `effect`. A step has
the `request`, the part of the `response` that matters, what to `save` of it, the `tolerances` it takes, what it is answered
`under_rfc` if that is an error, and `otherwise` where leaving one of its tolerances out has another outcome than that
tolerance's own error; a step may have an `effect` too. `{name}` stands for the id of what was given or saved; "*" for
anything, "number" for any number. `others/` is software that has no policy of its own; it has the default one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from structlog.testing import capture_logs

from contract.scim.conftest import Service
from syncd.core.connection import Shows
from syncd.core.schema import CORE_GROUP, CORE_USER, SYNCD_USER
from syncd.core.seats import Pool
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.scim import dialects
from syncd.store.invariants import check
from web_service import rule

HERE = Path(__file__).parent
TRANSCRIPTS = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(HERE.glob("*/*.json"))
}
_count = itertools.count(1)


def policy_of(provider: str) -> frozenset[str]:
    return dialects.POLICIES.get(provider, dialects.TOLERANT)


@dataclass
class Stage:
    """A workspace of its own, in which one transcript is played by one connection."""

    service: Service
    provider: str
    workspace: str
    token: str
    ids: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)

    def under(self, tolerances: frozenset[str]) -> None:
        """From now on the connection's policy holds these."""
        shows = Shows(empty_members=self.provider == "authentik")
        source = SourcePolicy(self.provider, dialect="test", tolerances=tolerances, shows=shows)
        self.service.workspaces[self.workspace] = Workspace(
            self.workspace,
            sources={self.provider: source},
            pools={"internal": Pool("internal", 10)},
            rules=(rule("everyone", f'source eq "{self.provider}"', seats=("internal",)),),
        )

    # -- playing --------------------------------------------------------------------------------------------------

    def give(self, given: dict[str, Any]) -> None:
        for name, values in given.get("users", {}).items():
            self.ids[name] = self._made("Users", {"schemas": [CORE_USER], **values})
        for name, values in given.get("groups", {}).items():
            members = [{"value": self.ids[each]} for each in values.get("members", ())]
            self.ids[name] = self._made("Groups", {"schemas": [CORE_GROUP], **values, "members": members})

    def _made(self, path: str, body: dict[str, Any]) -> str:
        found = self.send("POST", f"/{path}", json.dumps(body).encode())
        assert found.status_code == 201, found.text
        return str(found.json()["id"])

    def ask(self, step: dict[str, Any]) -> tuple[Any, set[str]]:
        """The answer, and the tolerances that the request took."""
        request = self.filled(step["request"])
        content = json.dumps(request["body"]).encode() if "body" in request else None
        with capture_logs() as lines:
            found = self.send(request["method"], request["path"], content, request.get("headers", {}))
        (line,) = [line for line in lines if line["event"] == "scim_answered"]
        return found, set(line.get("tolerances", ()))

    def send(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Any:
        given = {**self.headers, **headers}
        return self.service.ask(method, f"/scim/v2{path}", token=self.token, headers=given, content=content)

    def play(self, step: dict[str, Any]) -> None:
        """One step, answered as it should be."""
        found, took = self.ask(step)
        self.expect(found, step["response"])
        assert took == set(step.get("tolerances", ()))
        for name, path in step.get("save", {}).items():
            self.ids[name] = _at(found.json(), path)
        self.see(step.get("effect"))

    def expect(self, found: Any, wanted: dict[str, Any]) -> None:
        wanted = self.filled(wanted)
        assert found.status_code == wanted["status"], found.text
        body = found.json() if found.content else {}
        assert matches(body, wanted.get("body", {})), found.text
        if "scimType" in wanted:
            assert body["scimType"] == wanted["scimType"], found.text
        if wanted.get("empty"):
            assert not found.content
        for path in wanted.get("lacks", ()):
            assert _at(body, path) is None, found.text
        for name, value in wanted.get("headers", {}).items():
            assert matches(found.headers.get(name), value), found.headers

    def see(self, effect: dict[str, Any] | None) -> None:
        """What is in the store afterwards, as a connection that asks for it is told; and that the store is sound."""
        if effect is None:
            return
        for name, wanted in effect.get("users", {}).items():
            user = self._get(f"/Users/{self.ids[name]}")
            asked = ",".join(f"{SYNCD_USER}:{part}" for part in ("status", "seats"))
            syncd = self._get(f"/Users/{self.ids[name]}?attributes={asked}")[SYNCD_USER]
            self._holds(user | {"status": syncd["status"], "seats": syncd.get("seats", [])}, wanted)
        for name, wanted in effect.get("groups", {}).items():
            group = self._get(f"/Groups/{self.ids[name]}")
            members = wanted.get("members", [])
            assert {each["value"] for each in group.pop("members", [])} == {self.ids[each] for each in members}
            self._holds(group, {key: value for key, value in wanted.items() if key != "members"})
        for path in effect.get("gone", ()):
            assert self._asked(self.filled(path)).status_code == 404
        for kind, names in effect.get("all", {}).items():  # nobody else is there
            found = self._get(f"/{kind.capitalize()}?attributes=id")["Resources"]
            assert {each["id"] for each in found} == {self.ids[name] for name in names}
        self.sound()

    def sound(self) -> None:
        with self.service.database.reading() as conn:
            assert check(conn, self.service.workspaces[self.workspace], self.service.now) == []

    def everything(self) -> Any:
        """All that the connection sees."""
        return self._get("/Users"), self._get("/Groups")

    def _holds(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        wanted = dict(self.filled(wanted))
        lacking = wanted.pop("lacks", [])
        assert matches(found, wanted), found
        assert all(_at(found, path) is None for path in lacking), found

    def _get(self, path: str) -> dict[str, Any]:
        found = self._asked(path)
        assert found.status_code == 200, found.text
        return dict(found.json())

    def _asked(self, path: str) -> Any:
        return self.send("GET", path)

    def filled(self, value: Any) -> Any:
        match value:
            case str():
                return re.sub(r"\{(\w+)\}", lambda name: self.ids.get(name[1], name[0]), value)
            case dict():
                return {self.filled(key): self.filled(part) for key, part in value.items()}
            case list():
                return [self.filled(part) for part in value]
        return value


def _at(body: Any, path: str) -> Any:
    """`Resources.0.id`; None if it is not there. A URN is one name."""
    for part in [path] if path.startswith("urn:") else path.split("."):
        if isinstance(body, list):
            body = body[int(part)] if int(part) < len(body) else None
        else:
            body = body.get(part) if isinstance(body, dict) else None
    return body


def matches(found: Any, wanted: Any) -> bool:
    """Whether `found` holds what is wanted: of objects the members named, lists element by element."""
    match wanted:
        case "*":
            return found not in (None, "", [])
        case "number":
            return isinstance(found, int) and not isinstance(found, bool)
        case dict():
            return isinstance(found, dict) and all(matches(found.get(key), part) for key, part in wanted.items())
        case list():
            same = isinstance(found, list) and len(found) == len(wanted)
            return same and all(matches(one, part) for one, part in zip(found, wanted, strict=True))
    return type(found) is type(wanted) and found == wanted


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One application for all transcripts of a module; each has a workspace of its own."""
    if request.param == "sqlite":
        made = Service(f"sqlite:///{tmp_path_factory.mktemp('idp') / 'syncd.db'}")
        yield made
        made.close()
        return
    server = request.getfixturevalue("postgres")
    url = server.fresh(request.getfixturevalue("migrated"))
    made = Service(url)
    yield made
    made.close()
    server.drop(url)


class Stages:
    """Makes a stage for each playing."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def __call__(self, name: str, tolerances: frozenset[str] | None = None) -> Stage:
        provider = name.partition("/")[0]
        workspace = f"{provider}-{next(_count)}"
        stage = Stage(self.service, provider, workspace, "", {})
        stage.under(policy_of(provider) if tolerances is None else tolerances)
        stage.token = self.service.make_token(source=provider, workspace=workspace)
        transcript = TRANSCRIPTS.get(name, {})
        stage.headers = transcript.get("headers", {})
        stage.give(transcript.get("given", {}))
        return stage


@pytest.fixture
def stages(service: Service) -> Stages:
    return Stages(service)


__all__ = ["CORE_GROUP", "CORE_USER", "TRANSCRIPTS", "Stage", "Stages", "matches", "policy_of"]
