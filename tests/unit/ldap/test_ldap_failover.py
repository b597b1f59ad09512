"""Which server, in which order, how often: without a network, and without waiting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from syncd.errors import BindRefused, ConfigError, SourceUnreachable
from syncd.ldap import address, failover
from syncd.ldap.address import Address, Unusable
from syncd.ldap.config import LdapConfig, SearchConfig, socket_path
from syncd.ldap.failover import Dialer, order, pause_s

A, B, C = (f"ldap://127.0.0.{n}" for n in (1, 2, 3))


def test_the_order_of_servers() -> None:
    assert order((A, B, C), None, None) == (A, B, C)
    assert order((A, B, C), B, None) == (B, A, C)
    assert order((A, B, C), B, A) == (B, C, A)
    assert order((A, B, C), None, A) == (B, C, A)
    assert order((A, B), "ldap://gone", "ldap://gone") == (A, B)


def test_pauses_grow_within_bounds() -> None:
    assert [pause_s(n, 1.0) for n in (1, 2, 3, 20)] == [1, 2, 4, 30]
    assert [pause_s(n, 0.0) for n in (1, 2, 3, 20)] == [0.5, 1, 2, 15]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("ldapi:///run/slapd/ldapi", "/run/slapd/ldapi"),
        ("ldapi://%2Frun%2Fslapd%2Fldapi", "/run/slapd/ldapi"),
        ("ldapi://%2Frun%2Fslapd%2Fldapi/", "/run/slapd/ldapi"),
        ("ldapi:///", ""),
        ("ldapi://slapd", ""),
        ("ldaps://dc1", None),
    ],
)
def test_sockets(url: str, path: str | None) -> None:
    assert socket_path(url) == path


@dataclass
class Network:
    """What each address answers, one after another (the last for ever); notes who was asked and how long was waited."""

    answers: dict[str, list[Exception | None]]
    ends_after: int = 100  # pauses, then the watchdog refuses
    asked: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def open(self, config: LdapConfig, address: Address, watchdog: Any) -> Any:
        self.asked.append(address.text)
        left = self.answers[address.text]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is not None:
            raise answer
        return address

    def pause(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return len(self.waited) <= self.ends_after


def dialer(network: Network, *urls: str, retries: int = 2) -> Dialer:
    config = LdapConfig("corp", urls, SearchConfig(("dc=x",)), retries=retries)
    return Dialer(config, urls, network, open_=network.open, chance=lambda: 1.0)  # type: ignore[arg-type]


LATER, NEVER = Unusable("timed out", later=True), Unusable("the certificate is not trusted", later=False)


def test_the_next_server_is_asked_at_once() -> None:
    network = Network({"127.0.0.1": [NEVER], "127.0.0.2": [None]})
    with capture_logs() as logged:
        assert dialer(network, A, B).connect().url == B
    assert (network.asked, network.waited) == (["127.0.0.1", "127.0.0.2"], [])
    assert [(each["event"], each["url"], each["instead"]) for each in logged] == [("directory_server_skipped", A, B)]


def test_rounds_are_repeated_with_pauses() -> None:
    network = Network({"127.0.0.1": [LATER], "127.0.0.2": [NEVER, NEVER, None]})
    assert dialer(network, A, B).connect().url == B
    assert network.asked == ["127.0.0.1", "127.0.0.2"] * 3 and network.waited == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "retries", "ends_after", "rounds"),
    [(LATER, 2, 100, 3), (LATER, 0, 100, 1), (NEVER, 2, 100, 1), (LATER, 9, 1, 2)],
    ids=["bounded", "none wanted", "hopeless", "ended meanwhile"],
)
def test_rounds_end(answer: Exception, retries: int, ends_after: int, rounds: int) -> None:
    network = Network({"127.0.0.1": [answer]}, ends_after)
    with pytest.raises(SourceUnreachable, match=f"source corp: {A}: {answer}"):
        dialer(network, A, retries=retries).connect()
    assert len(network.asked) == rounds


def test_a_refused_bind_ends_the_search() -> None:
    network = Network({"127.0.0.1": [BindRefused("wrong")], "127.0.0.2": [None]})
    with pytest.raises(BindRefused):
        dialer(network, A, B).connect()
    assert network.asked == ["127.0.0.1"]


def test_again_is_elsewhere_first_and_counts_among_the_retries() -> None:
    network = Network({"127.0.0.1": [None], "127.0.0.2": [None]})
    calls = dialer(network, A, B, retries=1)
    assert calls.connect().url == A
    other = calls.again(A)
    assert other is not None and other.url == B
    assert calls.again(B) is None
    assert network.asked == ["127.0.0.1", "127.0.0.2"]


def test_every_address_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("dc.example.org", 636)
        return [(2, 1, 6, "", (f"127.0.0.{n}", port)) for n in (7, 8, 7)]

    monkeypatch.setattr(address.socket, "getaddrinfo", resolve)
    network = Network({"127.0.0.7": [NEVER], "127.0.0.8": [LATER]})
    with pytest.raises(SourceUnreachable) as error:
        dialer(network, "ldaps://dc.example.org", retries=0).connect()
    assert network.asked == ["127.0.0.7", "127.0.0.8"]
    assert "ldaps://dc.example.org at 127.0.0.7: the certificate is not trusted" in str(error.value)


def test_a_name_server_that_is_away_may_be_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise address.socket.gaierror(address.socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(address.socket, "getaddrinfo", away)
    network = Network({})
    with pytest.raises(SourceUnreachable, match="is the name server reachable"):
        dialer(network, "ldaps://dc.example.org").connect()
    assert network.waited == [1.0, 2.0]


def test_values_that_cannot_work_are_said_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match=r"sources\.corp\.users\.filter"):
        failover.require_sane(LdapConfig("corp", (A,), SearchConfig(("dc=x",), "(uid=")))
