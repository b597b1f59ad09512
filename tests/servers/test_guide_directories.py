"""docs/openldap.md and docs/389ds.md are played as they stand against real servers, which know nothing of syncd before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from servers import guide_people
from servers.dirsrv import Dirsrv
from servers.guide_people import Admins
from servers.slapd import ADMIN_PASSWORD, Slapd, authority
from syncd.ldap.syncrepl import SYNC_REQUEST

# What Debian's package sets up: the configuration is a directory of its own, open to root at the socket.
_ROOT = f"gidNumber={os.getegid()}+uidNumber={os.geteuid()},cn=peercred,cn=external,cn=auth"
CONFIG = f'database config\naccess to * by dn.exact="{_ROOT}" manage by * break'
CLOSED = "access to attrs=userPassword by self write by anonymous auth by * none\naccess to * by users read by * none"


def test_what_the_guide_to_openldap_says_is_what_happens(
    new_slapd: Callable[..., Slapd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = authority(tmp_path / "lasting", days=800)
    server = new_slapd(ldif=guide_people.LDIF, tls=tls, globals=CONFIG, access=CLOSED, overlays="", reader="")
    names = {"ldaps://ldap1.example.org": server.ldaps_url, "ldapi:///": server.ldapi_url}
    admins = Admins(server.modify, lambda: None, names, tls, ADMIN_PASSWORD)
    guide_people.play("openldap.md", admins, monkeypatch)
    assert len(admins.applied) == 3


def test_what_the_guide_to_389ds_says_is_what_happens(
    tmp_path: Path, dirsrv_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = authority(tmp_path / "lasting", days=800)
    folder = tmp_path / "389ds"
    folder.mkdir()
    server = Dirsrv(folder, dirsrv_template, guide_people.LDIF, tls, {}, plugins=(), access=(), reader="").start()
    try:
        names = {"ldaps://ldap1.example.org": server.ldaps_url, "ldap://localhost": server.url}
        admins = Admins(server.modify, server.restart, names, tls, ADMIN_PASSWORD)
        guide_people.play("389ds.md", admins, monkeypatch)
        assert len(admins.applied) == 3
        assert f"supportedControl: {SYNC_REQUEST}" in server.search("-b", "", "-s", "base", "supportedControl")
    finally:
        server.discard()
