"""An outside judge: scim-sanity, in its strict mode, asks a real server on a loopback port.

Two things that RFC 7644 leaves open it has one opinion of: that every PATCH is answered 200 with the resource (3.5.2 has 204
too), so its connection has `patched_group`; and that a member is added whose id it made up, `fake-member-id`. Such a member
is refused here, so there is a user of that id; a second test holds that it objects to nothing else when there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from scim_sanity.probe.runner import run_probe_api

from loopback import serving
from syncd.core.change import UserEdit
from syncd.core.connection import Shows
from syncd.core.state import Link
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.scim import dialects
from syncd.web import create_web

from .conftest import Service

WHOLE = SourcePolicy("okta", shows=Shows(patched_group=True))
ADDED = "PATCH /Groups/{id} add member"


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    make = partial(create_web, service.database, service.workspaces, lambda: service.now, service.ids)
    with serving(make) as url:
        yield f"{url}/scim/v2"


def judge(service: Service, address: str) -> dict[str, Any]:
    """Name of every check that did not pass -> what it says of it. Only the draft's agents, which are not here, are skipped."""
    found = run_probe_api(address, token=service.token, strict=True)
    assert found["summary"]["passed"] > 20, found
    skipped = {each["name"] for each in found["results"] if each["status"] == "skip"}
    assert skipped == {"Agent CRUD Lifecycle", "AgenticApplication CRUD Lifecycle", "Agent Rapid Lifecycle"}
    return {each["name"]: each for each in found["results"] if each["status"] not in ("pass", "skip")}


@pytest.mark.parametrize("policy", [None, "rfc"])
def test_nothing_is_wrong(service: Service, address: str, policy: str | None) -> None:
    tolerances = dialects.POLICIES[policy] if policy else None
    service.workspaces["default"] = Workspace(sources={"okta": replace(WHOLE, tolerances=tolerances)})
    member = Link("local", "fake", values={"userName": "member"})
    service.commit(UserEdit("fake-member-id", "local", create=True, link=member)).check()
    assert not judge(service, address)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_by_default_a_patched_group_is_204_and_a_member_who_does_not_exist_is_refused(
    service: Service, address: str
) -> None:
    found = {name: each["message"] for name, each in judge(service, address).items()}
    assert found.pop(ADDED) == "Expected 200, got 400"
    assert found.keys() == {"PATCH /Groups/{id}", "PATCH /Groups/{id} remove members"}
    assert all("200, got 204" in each for each in found.values())
