"""Several real servers of one directory: which one a read uses, and that a replica is no changed server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from servers import corp as companies
from servers.faulty import DONE, Message, Proxy, proxy
from servers.slapd import ADMIN, ADMIN_PASSWORD, BASE, Slapd, free_port
from servers.test_ldap_read import NOW, config
from syncd.core.snapshot import Certificate
from syncd.errors import SourceUnreachable
from syncd.ldap import address, failover
from syncd.ldap.source import LdapSource


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "FIRST_PAUSE_S", 0.01)


def read(source: LdapSource) -> Certificate:
    reading = source.read(NOW)
    for _ in reading:
        pass
    return reading.certificate()


class Doors:
    """Two ways to one server; each may be closed, or answer that it is busy."""

    def __init__(self, slapd: Slapd, stack: ExitStack) -> None:
        self.busy: set[int] = set()
        self.short: set[int] = set()
        self.ways: list[Proxy] = [stack.enter_context(proxy(slapd.port, self._spoil(n))) for n in (0, 1)]

    def _spoil(self, number: int) -> Callable[[Message], bytes]:
        def spoil(message: Message) -> bytes:
            if number in self.busy:
                return message.done(51) if message.tag == DONE else b"" if message.searches_before else message.raw
            if number in self.short and message.tag == DONE and message.entries_before > 100:
                return message.done(4)
            return message.raw

        return spoil

    @property
    def used(self) -> list[int]:
        """How often each was connected to since last asked."""
        counts = [way.connections for way in self.ways]
        for way in self.ways:
            way.connections = 0
        return counts

    def source(self, **different: object) -> LdapSource:
        urls = tuple(way.url for way in self.ways)
        return LdapSource(config(urls[0], urls=urls, **different))


@pytest.fixture
def doors(slapd: Slapd) -> Any:
    with ExitStack() as stack:
        yield Doors(slapd, stack)


def test_the_first_server_as_long_as_it_works(doors: Doors) -> None:
    source = doors.source()
    for _ in range(2):
        assert read(source).complete and doors.used == [1, 0]


def test_the_one_that_worked_is_kept(slapd: Slapd, doors: Doors) -> None:
    dead = f"ldap://127.0.0.1:{free_port()}"
    source = LdapSource(config(dead, urls=(dead, *(way.url for way in doors.ways))))
    for _ in range(2):
        assert read(source).complete and doors.used == [1, 0]
    doors.busy = {0}
    assert not read(source).complete and doors.used == [1, 0]  # retries: 0
    assert read(source).complete and doors.used == [0, 1]
    doors.busy = set()
    assert read(source).complete and doors.used == [0, 1]


def test_one_that_gave_half_comes_last_the_next_time(doors: Doors) -> None:
    source = doors.source(retries=2)
    doors.short = {0}
    assert "sizeLimitExceeded" in read(source).because[0] and doors.used == [1, 0]  # never continued elsewhere
    assert read(source).complete and doors.used == [0, 1]


def test_one_that_is_busy_is_left_before_the_first_entry(doors: Doors) -> None:
    source = doors.source(retries=1)
    doors.busy = {0}
    assert read(source).complete and doors.used == [1, 1]
    doors.busy = {0, 1}
    certificate = read(source)
    assert not certificate.complete and "busy (51)" in certificate.because[0] and sum(doors.used) == 2


def test_every_address_of_a_name_is_tried(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "localhost":
            return usual(host, port, *rest, **more)
        tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*tcp, ("127.0.0.2", free_port())), (*tcp, ("127.0.0.1", port))]

    monkeypatch.setattr(address.socket, "getaddrinfo", resolve)
    assert slapd.tls is not None
    found = LdapSource(config(slapd.ldaps_url, ca_file=slapd.tls.ca))
    assert read(found).complete  # the certificate is for the name, whichever the address
    (_, gone), (where, seen) = found.probe_each()
    assert isinstance(gone, SourceUnreachable) and "at 127.0.0.2: connection refused" in str(gone)
    assert not isinstance(seen, Exception) and seen.tls_version == "TLSv1.3"
    assert where == f"{slapd.ldaps_url} at 127.0.0.1"


def test_stopped_before_it_began_and_while_it_waits(slapd: Slapd) -> None:
    source = LdapSource(config(slapd.url, retries=10))
    source.stop("the night is over")
    with pytest.raises(SourceUnreachable, match="no connection yet when the night is over"):
        source.read(NOW)


def test_a_replica_is_the_same_directory(new_slapd: Callable[..., Slapd], tmp_path: Any, slapd_templates: Any) -> None:
    """A real consumer of syncrepl (RFC 4533), filled by nothing but replication."""
    provider = new_slapd(ldif=companies.LDIF)
    folder = tmp_path / "replica"
    (folder / "db").mkdir(parents=True)
    replicate = (
        f"syncrepl rid=001 provider={provider.url} type=refreshOnly interval=00:00:00:01 searchbase={BASE} "
        f'bindmethod=simple binddn="{ADMIN}" credentials={ADMIN_PASSWORD} retry="1 +"'
    )
    replica = Slapd(folder, "", slapd_templates, limits=replicate, max_bytes=4 << 20).start()
    try:
        deadline = time.monotonic() + 20
        certificate = None
        while time.monotonic() < deadline:
            try:
                certificate = read(LdapSource(config(replica.url)))
            except SourceUnreachable:  # the account to bind as is not there yet
                certificate = None
            if certificate is not None and certificate.users_read == companies.USERS:
                break
            time.sleep(0.05)
        original = read(LdapSource(config(provider.url)))
        assert certificate is not None and certificate.users_read == companies.USERS
        assert certificate.server_identity == original.server_identity
        assert original.server_identity is not None and "entryUUID" in original.server_identity
    finally:
        replica.stop()
