"""Servers for the tests of this folder, each on loopback ports and in a temporary folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import active_directory, dirsrv
from servers import corp as companies
from servers.active_directory import Samba
from servers.corp import Corp
from servers.directories import Microsoft
from servers.dirsrv import Dirsrv
from servers.slapd import Authority, Slapd, authority, program
from syncd import sample


@pytest.fixture(scope="session")
def slapd_templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slapd-templates")


@pytest.fixture(scope="session")
def tls_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def company_ldif() -> str:
    return "".join(sample.sample_company(320, 40, seed=7))


@pytest.fixture
def new_slapd(tmp_path: Path, slapd_templates: Path, company_ldif: str) -> Iterator[Callable[..., Slapd]]:
    """Starts a slapd with the sample company; keywords are the fields of `Slapd`. Stopped after the test."""
    program("slapd")
    started: list[Slapd] = []

    def start(**different: object) -> Slapd:
        folder = tmp_path / f"slapd-{len(started)}"
        folder.mkdir()
        fields = {"ldif": company_ldif, **different}
        server = Slapd(folder=folder, templates=slapd_templates, **fields)  # type: ignore[arg-type]
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def slapd(
    tmp_path_factory: pytest.TempPathFactory, slapd_templates: Path, tls_authority: Authority, company_ldif: str
) -> Iterator[Slapd]:
    """The sample company with TLS, shared and only read."""
    program("slapd")
    server = Slapd(tmp_path_factory.mktemp("slapd"), company_ldif, slapd_templates, tls=tls_authority).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def dirsrv_template(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """An empty instance of 389ds, made once for all test processes."""
    dirsrv.needed()
    own = tmp_path_factory.getbasetemp()
    return dirsrv.template((own if worker_id == "master" else own.parent) / "389ds")


@pytest.fixture(scope="session")
def shared_dirsrv(
    tmp_path_factory: pytest.TempPathFactory, dirsrv_template: Path, tls_authority: Authority
) -> Iterator[Dirsrv]:
    """The small company on 389ds with TLS, shared and only read."""
    server = Dirsrv(tmp_path_factory.mktemp("389ds"), dirsrv_template, companies.LDIF, tls=tls_authority).start()
    yield server
    server.discard()


@pytest.fixture(scope="session")
def small_slapd(
    tmp_path_factory: pytest.TempPathFactory, slapd_templates: Path, tls_authority: Authority
) -> Iterator[Slapd]:
    """The small company on slapd with TLS, shared and only read."""
    program("slapd")
    folder = tmp_path_factory.mktemp("slapd")
    server = Slapd(folder, companies.LDIF, slapd_templates, tls=tls_authority, max_bytes=4 << 20).start()
    yield server
    server.stop()


@pytest.fixture
def directory(new_slapd: Callable[..., Slapd]) -> Slapd:
    """A small company that a test may change."""
    return new_slapd(ldif=companies.LDIF, max_bytes=4 << 20)


@pytest.fixture
def corp(database_url: str, directory: Slapd, tmp_path: Path) -> Iterator[Corp]:
    """Reconciled once with `directory`, on SQLite and on PostgreSQL."""
    yield from _started(Corp(tmp_path, database_url, directory.url))


@pytest.fixture
def sqlite_corp(directory: Slapd, tmp_path: Path) -> Iterator[Corp]:
    """The same on SQLite only, where the engine does not matter."""
    yield from _started(Corp(tmp_path, f"sqlite:///{tmp_path / 'syncd.db'}", directory.url))


def _started(corp: Corp) -> Iterator[Corp]:
    try:
        assert corp.run().status == "applied"
        yield corp
    finally:
        corp.close()


@pytest.fixture(scope="session")
def domain_template(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A provisioned Active Directory, made once for all test processes."""
    active_directory.needed()
    own = tmp_path_factory.getbasetemp()
    return active_directory.template(
        (own if worker_id == "master" else own.parent) / "active-directory", Microsoft().company()
    )


@pytest.fixture(scope="module")
def domain(
    tmp_path_factory: pytest.TempPathFactory, domain_template: Path, tls_authority: Authority
) -> Iterator[Samba]:
    """A domain controller, shared and only read."""
    server = Samba(tmp_path_factory.mktemp("samba"), domain_template, tls_authority).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def changed_domain(tmp_path_factory: pytest.TempPathFactory, domain_template: Path) -> Iterator[Samba]:
    """Another one, of which every test changes people of its own; it takes passwords in clear text too."""
    options = {"ldap server require strong auth": "no"}
    tls = authority(tmp_path_factory.mktemp("lasting"), days=800)
    server = Samba(tmp_path_factory.mktemp("samba"), domain_template, tls, options).start()
    yield server
    server.stop()
