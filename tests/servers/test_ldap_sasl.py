"""SASL EXTERNAL on a real OpenLDAP: who asks is known by the socket's peer or by the client's certificate."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.faulty import Message, proxy
from servers.slapd import ACCESS_READ_ALL, ADMIN, BASE, READER, Authority, Slapd, authority
from servers.test_ldap_read import config, read
from syncd.errors import BindRefused, ConfigError, SourceUnreachable
from syncd.ldap.config import LdapConfig
from syncd.ldap.source import LdapSource

EXTENDED = 0x78  # an extended response
PEER = f"gidNumber={os.getgid()}[+]uidNumber={os.getuid()},cn=peercred,cn=external,cn=auth"


def external(url: str, **different: object) -> LdapConfig:
    return config(url, **{"sasl": "external", "bind_dn": None, "bind_password": None, **different})


def mapped(identity: str, name: str = READER) -> str:
    return f'authz-regexp "^{identity}$" "{name}"\n'


# ---- over a socket


def test_the_peer_of_a_socket_is_known(new_slapd: Callable[..., Slapd]) -> None:
    server = new_slapd(globals=mapped(PEER))
    assert read(external(server.ldapi_url))[2].complete
    assert read(external(f"ldapi://{server.socket}"))[2].complete  # as a path
    found = LdapSource(external(server.ldapi_url)).probe()
    assert found.bound_as == f"dn:{READER}" and found.tls_version is None and not found.problems


def test_a_peer_who_is_nobody_there_has_no_right(new_slapd: Callable[..., Slapd]) -> None:
    server = new_slapd()
    certificate = read(external(server.ldapi_url))[2]
    assert "does not exist or is hidden" in certificate.because[0]
    found = LdapSource(external(server.ldapi_url)).probe()
    assert "cn=peercred,cn=external,cn=auth" in found.bound_as and found.problems


def test_a_socket_serves_a_name_and_a_password_too(new_slapd: Callable[..., Slapd]) -> None:
    assert read(config(new_slapd().ldapi_url))[2].complete


def test_acting_as_somebody_else(new_slapd: Callable[..., Slapd]) -> None:
    gateway = f"cn=gateway,{BASE}"
    seen = f'access to dn.exact="{gateway}" by * read\n{ACCESS_READ_ALL}'
    server = new_slapd(globals=f"authz-policy to\n{mapped(PEER, gateway)}", access=seen)
    server.modify(
        f"dn: {gateway}\nchangetype: add\nobjectClass: organizationalRole\ncn: gateway\nauthzTo: dn.exact:{READER}\n"
    )
    as_reader = external(server.ldapi_url, sasl_authzid=f"dn:{READER}")
    assert read(as_reader)[2].complete
    assert LdapSource(as_reader).probe().bound_as == f"dn:{READER}"
    with pytest.raises(BindRefused, match="SASL EXTERNAL dn:cn=admin"):
        read(external(server.ldapi_url, sasl_authzid=f"dn:{ADMIN}"))


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"there is no socket .*; does the server run"):
        read(external(f"ldapi://{tmp_path}/ldapi"))


# ---- over TLS


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path, Path]:
    """An authority, and a client's certificate and key by it."""
    made = authority(tmp_path_factory.mktemp("client-authority"))
    return made, *made.client("syncd client")


@pytest.mark.parametrize("starttls", [False, True])
def test_a_client_certificate_is_a_name(
    new_slapd: Callable[..., Slapd], papers: tuple[Authority, Path, Path], starttls: bool
) -> None:
    trusted, certificate, key = papers
    server = new_slapd(tls=trusted, verify_client="demand", globals=mapped("cn=syncd client"))
    url = f"ldap://localhost:{server.port}" if starttls else server.ldaps_url
    files = {"ca_file": trusted.ca, "client_cert_file": certificate, "client_key_file": key, "starttls": starttls}
    assert read(external(url, **files))[2].complete
    both = certificate.with_name("both.pem")
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert read(external(url, **{**files, "client_cert_file": both, "client_key_file": None}))[2].complete
    assert read(config(url, **files))[2].complete  # a name and a password, on a connection with a certificate


def test_no_client_certificate_where_one_is_asked_for(
    new_slapd: Callable[..., Slapd], papers: tuple[Authority, Path, Path]
) -> None:
    trusted, _, _ = papers
    server = new_slapd(tls=trusted, verify_client="demand")
    with pytest.raises(SourceUnreachable, match="client_cert_file") as error:
        read(config(server.ldaps_url, ca_file=trusted.ca))
    assert error.value.exit_code == 75


def test_a_certificate_of_another_authority(
    new_slapd: Callable[..., Slapd], papers: tuple[Authority, Path, Path], tmp_path: Path
) -> None:
    trusted, _, _ = papers
    certificate, key = authority(tmp_path / "other").client("syncd client")
    server = new_slapd(tls=trusted, verify_client="try", globals=mapped("cn=syncd client"))
    files = {"ca_file": trusted.ca, "client_cert_file": certificate, "client_key_file": key}
    with pytest.raises(SourceUnreachable):
        read(external(server.ldaps_url, **files))


def test_a_server_that_does_not_look_at_certificates(
    new_slapd: Callable[..., Slapd], papers: tuple[Authority, Path, Path]
) -> None:
    trusted, certificate, key = papers
    server = new_slapd(tls=trusted, access=ACCESS_READ_ALL)
    files = {"ca_file": trusted.ca, "client_cert_file": certificate, "client_key_file": key}
    with pytest.raises(BindRefused, match="knows nobody by this connection"):
        read(external(server.ldaps_url, **files))


def test_nothing_that_came_before_tls_is_taken_for_the_servers_word(slapd: Slapd, tls_authority: Authority) -> None:
    """Somebody on the way appends an answer to StartTLS in clear text, to be read as one that came encrypted."""

    def spoil(message: Message) -> bytes:
        return message.raw + message.refused_bind(0) if message.tag == EXTENDED else message.raw

    with proxy(slapd.port, spoil) as between, pytest.raises(SourceUnreachable, match="in clear text"):
        read(config(f"ldap://localhost:{between.port}", ca_file=tls_authority.ca, starttls=True))


def test_files_that_cannot_be_used(papers: tuple[Authority, Path, Path], tmp_path: Path) -> None:
    trusted, certificate, _ = papers
    foreign = authority(tmp_path / "other").client("syncd client")[1]
    for files in (
        {"client_cert_file": certificate, "client_key_file": foreign},
        {"client_cert_file": certificate},
        {"client_cert_file": tmp_path / "none.pem"},
    ):
        with pytest.raises(ConfigError, match=r"sources\.corp\.client_cert_file: .* cannot be used"):
            read(external("ldaps://localhost:1", ca_file=trusted.ca, **files))


@pytest.mark.parametrize(
    ("different", "message"),
    [
        ({"urls": ("ldap://127.0.0.1:1",)}, "shows nobody's name to sasl"),
        ({"urls": ("ldaps://127.0.0.1:1",)}, "shows nobody's name to sasl"),
        ({"bind_dn": READER}, "takes the name from the connection"),
        ({"sasl": "gssapi"}, "'gssapi' is not external"),
        ({"sasl": None, "sasl_authzid": "u:x"}, "goes with sasl: external only"),
        ({"client_key_file": Path("k")}, "has no client_cert_file"),
        ({"urls": ("ldapi:///",)}, "names no socket"),
        ({"starttls": True}, "stays on this machine"),
        ({"retries": -1}, "must be 0 or more"),
    ],
)
def test_values_that_contradict(different: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(external("ldapi:///run/there/is/none", **different))
