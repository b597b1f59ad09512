"""OpenLDAP from Debian's package, with the content synchronisation of RFC 4533 and a session log, in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import free_port
from syncd.sample import BASE

ADMIN, READER, PASSWORD = f"cn=admin,{BASE}", f"cn=syncd,{BASE}", "bench"
_PROGRAMS = ("slapd", "slapadd", "ldapsearch", "ldapmodify")
_READER_ENTRY = f"""
dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: syncd
userPassword: {PASSWORD}
"""
_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
pidfile {folder}/slapd.pid
sizelimit unlimited
tool-threads 2
database mdb
maxsize {bytes}
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {folder}/db
index objectClass,entryUUID,entryCSN,uid eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
overlay syncprov
syncprov-sessionlog 10000
"""


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in _PROGRAMS if program(name) is None]


@dataclass(frozen=True, slots=True)
class Counted:
    """What the server's own log says that somebody asked of it."""

    connections: int
    searches: int


@dataclass
class Slapd:
    """`load`, then `start`. `counting`: what it is asked goes to its log."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, folder: Path, url: str) -> Slapd:
        """One that somebody else started."""
        return cls(folder, int(url.rpartition(":")[2]))

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "slapd.log"

    def load(self, entries: Iterable[str]) -> None:
        """Into an empty directory. Entries bring their entryUUID."""
        (self.folder / "db").mkdir(parents=True)
        names = {"base": BASE, "admin": ADMIN, "password": PASSWORD, "reader": READER}
        self._config.write_text(
            _CONFIG.format(folder=self.folder, bytes=8 << 30, **names)
        )  # of address space, not of disk
        command = [_known("slapadd"), "-q", "-f", str(self._config)]
        with (self.folder / "slapadd.log").open("wb") as log:
            adding = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
            assert adding.stdin is not None
            for entry in entries:
                adding.stdin.write(entry.encode())
            adding.stdin.write(_READER_ENTRY.encode())
            adding.stdin.close()
            if adding.wait():
                raise SystemExit("slapadd: " + (self.folder / "slapadd.log").read_text()[-2000:])

    def start(self, counting: bool = False) -> None:
        command = [_known("slapd"), "-d", "stats" if counting else "0", "-f", str(self._config), "-h", self.url]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 120  # after slapadd it looks through everything for the newest change
        while time.monotonic() < until and self.process.poll() is None:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise SystemExit("slapd did not start:\n" + self.log.read_text()[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def modify(self, changes: str) -> None:
        """LDIF change records, as its administrator."""
        command = [_known("ldapmodify"), "-x", "-H", self.url, "-D", ADMIN, "-w", PASSWORD]
        subprocess.run(command, input=changes.encode(), check=True, capture_output=True)

    def search(self, base: str, filter_text: str, attributes: Iterable[str]) -> None:
        """By the ldapsearch command, in pages of 500; what it prints goes nowhere."""
        asked = ["-LLL", "-E", "pr=500/noprompt", "-b", base, filter_text, *attributes]
        command = [_known("ldapsearch"), "-x", "-H", self.url, "-D", READER, "-w", PASSWORD, *asked]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def counted(self) -> Counted:
        """Since it was started, those who bound themselves."""
        self.stop()  # so that the log is whole
        said = self.log.read_text(errors="replace")
        binds = re.findall(rf'(conn=\d+) op=\d+ BIND dn="{READER}" method', said)
        searches = re.findall(r"(conn=\d+) op=\d+ SRCH base=", said)
        return Counted(len(set(binds)), sum(each in set(binds) for each in searches))

    @property
    def _config(self) -> Path:
        return self.folder / "slapd.conf"


def _known(name: str) -> str:
    found = program(name)
    if found is None:
        raise SystemExit(f"needs {name}: apt-get install slapd ldap-utils")
    return found
