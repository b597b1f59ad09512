"""An outside judge: scim2-tester asks a real server on a loopback port, over HTTP, what the RFCs say.

It compares a group's members whole with those it sent, and never sends what is readOnly (utils.fields_equality,
filling.py), so it takes a member's `display` for a mistake. That one objection is expected by default; a connection for
such clients (`show: {member_display: false}`) has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

from loopback import serving
from syncd.core.connection import Shows
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.scim import dialects
from syncd.web import create_web

from .conftest import GROUP_URN, Service


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    make = partial(create_web, service.database, service.workspaces, lambda: service.now, service.ids)
    with serving(make) as url:
        yield url


PLAIN = SourcePolicy("okta", shows=Shows(member_display=False))


def test_no_error_and_nothing_critical(service: Service, address: str) -> None:
    service.workspaces["default"] = Workspace(sources={"okta": PLAIN})
    assert not objections(service, address)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nor_under_the_strict_policy(service: Service, address: str) -> None:
    strict = replace(PLAIN, tolerances=dialects.POLICIES["rfc"])
    service.workspaces["default"] = Workspace(sources={"okta": strict})
    assert not objections(service, address)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_by_default_only_that_members_bear_names_that_it_did_not_send(service: Service, address: str) -> None:
    found = objections(service, address)
    assert found and {urn for _, urn in found} <= {"members", f"{GROUP_URN}:members"}, found
    assert all("display=None" in each and "display='" in each for each in found.values()), found


def objections(service: Service, address: str) -> dict[tuple[str | None, str | None], str | None]:
    headers = {"Authorization": f"Bearer {service.token}"}
    with httpx2.Client(base_url=f"{address}/scim/v2", headers=headers, timeout=30) as http:
        client = SyncSCIMClient(http)
        client.discover()
        results = check_server(client)
    wrong = {
        (each.title, (each.data or {}).get("urn")): each.reason
        for each in results
        if each.status in (Status.ERROR, Status.CRITICAL)
    }
    assert sum(each.status is Status.SUCCESS for each in results) > 100
    return wrong
