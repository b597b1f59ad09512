"""Where a connection may come from and how often; how often one address may be wrong."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from syncd.auth import Authenticator, Policy
from syncd.core.connection import Access
from syncd.core.workspace import SourcePolicy
from syncd.errors import TooManyRequests, Unauthorized
from syncd.throttle import Buckets

from .conftest import BASE, Service


def limited(service: Service, **access: object) -> None:
    workspace = service.workspaces["default"]
    okta = SourcePolicy("okta", access=Access(**access))  # type: ignore[arg-type]
    service.workspaces["default"] = replace(workspace, sources={**workspace.sources, "okta": okta})
    service.web = service.application()


def ask(service: Service, host: str, token: str = "", **headers: str) -> httpx.Response:
    async def asking() -> httpx.Response:
        app = ProxyHeadersMiddleware(service.web, trusted_hosts=["10.0.0.0/8"])
        transport = httpx.ASGITransport(app, client=(host, 4711))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            sent = {"Authorization": f"Bearer {token or service.token}", **headers}
            return await client.get("/scim/v2/Users", headers=sent)

    return service.run(asking())


NETWORKS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.7", 200),
        ("2001:db8::1", 200),
        ("::ffff:192.0.2.7", 200),
        ("192.0.3.7", 403),
        ("::ffff:192.0.3.7", 403),
        ("2001:db9::1", 403),
        ("", 403),
        ("testclient", 403),
    ],
)
def test_a_connection_comes_from_its_networks(service: Service, host: str, status: int) -> None:
    limited(service, networks=NETWORKS)
    answer = ask(service, host)
    assert answer.status_code == status
    if status == 403:
        assert "networks" in answer.json()["detail"]
    entra = service.make_token(source="entra")
    assert ask(service, host, entra).status_code == 200, "others from anywhere"


def test_only_a_trusted_proxy_says_who_asks(service: Service) -> None:
    limited(service, networks=NETWORKS)
    told = {"X-Forwarded-For": "192.0.2.7"}
    assert ask(service, "10.1.2.3", **told).status_code == 200
    assert ask(service, "203.0.113.5", **told).status_code == 403
    assert ask(service, "10.1.2.3", **{"X-Forwarded-For": "192.0.2.7, 203.0.113.5"}).status_code == 403, (
        "the last before us"
    )
    assert ask(service, "10.1.2.3").status_code == 403, "a proxy that says nothing is not the client"


def test_a_stolen_token_tells_nothing_from_elsewhere_however_warm(service: Service) -> None:
    limited(service, networks=NETWORKS)
    service.web = service.application(token_cache_s=3600)
    assert [ask(service, host).status_code for host in ("192.0.2.7", "198.51.100.1", "192.0.2.7")] == [200, 403, 200]


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_connection_that_asks_too_often_waits_and_no_other_does(service: Service) -> None:
    limited(service, rate_per_s=25)
    time = Time()
    asked = Authenticator(service.database, service.workspaces, lambda: service.now, monotonic=time)
    okta, entra = f"Bearer {service.token}", f"Bearer {service.make_token(source='entra')}"
    for _ in range(50):
        service.run(asked.actor(okta))
    with pytest.raises(TooManyRequests) as limit:
        service.run(asked.actor(okta))
    assert (limit.value.status, limit.value.retry_after_s) == (429, 1)
    with pytest.raises(TooManyRequests):
        service.run(asked.actor(f"Bearer {service.make_token()}"))  # another token of the same connection
    for _ in range(200):
        service.run(asked.actor(entra))
    for _ in range(100):  # 25 a second are sustained
        time.now += 1 / 25
        service.run(asked.actor(okta))


def test_too_many_requests_are_told_when_to_come_again(service: Service) -> None:
    limited(service, rate_per_s=0.001)
    answers = [ask(service, "192.0.2.7") for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 429, 429]
    assert 900 < int(answers[1].headers["retry-after"]) <= 1000 and answers[1].json()["status"] == "429"


def test_a_bulk_request_counts_as_what_it_is(service: Service) -> None:
    limited(service, rate_per_s=2)
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [{"method": "DELETE", "path": f"/Users/{n}"} for n in range(200)],
    }
    for prefer in ({}, {"Prefer": "respond-async"}):
        service.web = service.application()  # with full buckets
        service.ask("POST", "Bulk", body, headers=prefer)
        answer = service.ask("GET", "Users")
        assert answer.status_code == 429
        assert 90 < int(answer.headers["retry-after"]) <= 100


def test_wrong_tokens_of_one_address_are_counted(service: Service) -> None:
    time = Time()
    policy = Policy(failures_per_minute=6)
    asked = Authenticator(service.database, service.workspaces, lambda: service.now, 5, policy, time)
    wrong, right = f"Bearer syncd_{'0' * 16}_{'0' * 64}", f"Bearer {service.token}"
    service.run(asked.actor(right, "192.0.2.1"))
    with capture_logs() as logged:
        for _ in range(6):
            with pytest.raises(Unauthorized):
                service.run(asked.actor(wrong, "192.0.2.1"))
    assert [(each["event"], each["address"]) for each in logged] == [("wrong_tokens_limited", "192.0.2.1")]
    for unknown in (wrong, f"Bearer {service.make_token()}"):
        with pytest.raises(TooManyRequests) as limit:
            service.run(asked.actor(unknown, "192.0.2.1"))
        assert limit.value.retry_after_s == 10
    service.run(asked.actor(right, "192.0.2.1"))
    time.now += 6
    service.run(asked.actor(right, "192.0.2.1"))  # known, though it is looked up anew
    service.run(asked.actor(f"Bearer {service.make_token()}", "192.0.2.2"))
    time.now += 10
    with pytest.raises(Unauthorized):
        service.run(asked.actor(wrong, "192.0.2.1"))
    for n in range(6):  # of one IPv6 network, which is one customer's
        with pytest.raises(Unauthorized):
            service.run(asked.actor(wrong, f"2001:db8::{n}"))
    with pytest.raises(TooManyRequests):
        service.run(asked.actor(wrong, "2001:db8::ffff"))
    with pytest.raises(Unauthorized):
        service.run(asked.actor(wrong, "2001:db8:0:1::1"))


def test_who_sends_no_token_at_all_is_not_counted(service: Service) -> None:
    asked = Authenticator(
        service.database, service.workspaces, lambda: service.now, policy=Policy(failures_per_minute=1)
    )
    for _ in range(20):
        with pytest.raises(Unauthorized):
            service.run(asked.actor(None, "192.0.2.1"))
    service.run(asked.actor(f"Bearer {service.token}", "192.0.2.1"))


def test_memory_is_bounded() -> None:
    buckets = Buckets(most=100)
    for n in range(10_000):
        buckets.take(n, 0.0, 1)
    assert len(buckets) == 100
    assert buckets.wait_s(9_999, 0.0, 1, 1) == 1 and buckets.wait_s(1, 0.0, 1, 1) == 0


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=40), st.sampled_from((0.5, 1.0, 7.0, 1000.0))
)
def test_to_admit_is_to_look_and_then_to_take(steps: list[tuple[str, float]], per_s: float) -> None:
    once, apart, now, burst = Buckets(), Buckets(), 100.0, max(1, 2 * per_s)
    for key, later_s in steps:
        now += later_s / per_s
        wait_s = apart.wait_s(key, now, per_s, burst)
        if not wait_s:
            apart.take(key, now, per_s)
        assert once.admit(key, now, per_s, burst) == wait_s
        assert once._full_at == apart._full_at
