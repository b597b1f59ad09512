"""An outside judge: scim2-tester asks a real server on a loopback port, over HTTP, what the RFCs say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

from loopback import serving
from syncd.core.workspace import Workspace
from syncd.scim import dialects
from syncd.web import create_web

from .conftest import Service


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    make = partial(create_web, service.database, service.workspaces, lambda: service.now, service.ids)
    with serving(make) as url:
        yield url


def test_no_error_and_nothing_critical(service: Service, address: str) -> None:
    judged(service, address)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nor_under_the_strict_policy(service: Service, address: str) -> None:
    own = replace(service.workspaces["default"].source("okta"), tolerances=dialects.POLICIES["rfc"])
    service.workspaces["default"] = Workspace(sources={"okta": own})
    judged(service, address)


def judged(service: Service, address: str) -> None:
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
    assert not wrong, wrong
    assert sum(each.status is Status.SUCCESS for each in results) > 100
