"""A real OpenLDAP from Debian's package: slapd in a temporary folder on free loopback ports, stopped by its process id.

It runs as whoever runs the tests. A directory is loaded once with slapadd and copied for every test that wants it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from servers.process import ServerProcess, modified

BASE = "dc=example,dc=org"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "admin-password"
READER, READER_PASSWORD = f"cn=syncd,{BASE}", "reader-password"
READER_ENTRY = f"""
dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: syncd
userPassword: {READER_PASSWORD}
entryUUID: 00000000-0000-4000-8000-000000000001
"""
ACCESS_READ_ALL = f"""
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{READER}" read by * none
"""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("needs slapd: apt-get install slapd ldap-utils")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own and a server certificate by it."""

    ca: Path
    certificate: Path
    key: Path

    def client(self, name: str) -> tuple[Path, Path]:
        """A certificate by the same authority for CN=`name`, and its key."""
        return _signed(self.ca.parent, name, "clientAuth", days=2)


def authority(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> Authority:
    """Made with the openssl command; `names` is the server certificate's subjectAltName. It ends in `days`, or ended."""
    folder.mkdir(parents=True, exist_ok=True)
    subject = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2")
    _openssl(folder, "req", "-x509", *_CURVE, *subject)
    return Authority(folder / "ca.pem", *_signed(folder, "test server", "serverAuth", days, names))


_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _signed(folder: Path, name: str, use: str, days: int, names: str | None = None) -> tuple[Path, Path]:
    file = name.replace(" ", "-")
    _openssl(folder, "req", *_CURVE, "-keyout", f"{file}.key", "-out", f"{file}.csr", "-subj", f"/CN={name}")
    called = f"subjectAltName={names}\n" if names else ""
    (folder / "extensions").write_text(f"{called}extendedKeyUsage={use}\n")
    _openssl(
        folder,
        *("x509", "-req", "-in", f"{file}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "2"),
        *("-days", str(days), "-extfile", "extensions", "-out", f"{file}.pem"),
    )
    return folder / f"{file}.pem", folder / f"{file}.key"


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([program("openssl"), *arguments], cwd=folder, check=True, capture_output=True)


@dataclass
class Slapd(ServerProcess):
    """`start` after setting what shall differ. `access`, `limits`, `globals` and `overlays` are lines of slapd.conf(5)."""

    folder: Path
    ldif: str
    templates: Path  # loaded databases, by content
    tls: Authority | None = None
    access: str = ACCESS_READ_ALL
    limits: str = ""
    globals: str = ""
    overlays: str = "overlay syncprov"
    reader: str = READER_ENTRY  # LDIF of the account that reads
    verify_client: str = "never"  # TLSVerifyClient: never, try or demand a client's certificate
    max_bytes: int = 8 << 20  # of the database; the file has this size from the start
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def ldaps_url(self) -> str:
        return f"ldaps://localhost:{self.tls_port}"

    @property
    def socket(self) -> Path:
        return self.folder / "ldapi"

    @property
    def ldapi_url(self) -> str:
        return f"ldapi://{quote(str(self.socket), safe='')}"

    def start(self) -> Slapd:
        if not (self.folder / "db").exists():
            shutil.copytree(self._template(), self.folder / "db")
        self._write_config(self.folder)
        urls = f"{self.url} {self.ldapi_url}" + (f" {self.ldaps_url}" if self.tls else "")
        command = [program("slapd"), "-d", "0", "-f", str(self.folder / "slapd.conf"), "-h", urls]
        return self.answering(command, self.folder / "slapd.log")

    def modify(self, changes: str) -> None:
        """LDIF change records, as the directory's administrator (with the relax control, so entryUUID may be set)."""
        bind = ["-x", "-H", self.url, "-D", ADMIN, "-w", ADMIN_PASSWORD]
        modified(changes, *bind, "-e", "!relax")

    def load(self, ldif: str) -> None:
        """Entries with operational attributes as they are given; while it is stopped."""
        command = [program("slapadd"), "-q", "-f", str(self.folder / "slapd.conf")]
        done = subprocess.run(command, input=ldif.encode(), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError("slapadd: " + done.stderr.decode())

    def search(self, *arguments: str) -> str:
        """What the ldapsearch command prints for the reader; its exit code is not looked at."""
        bind = ["-x", "-H", self.url, "-D", READER, "-w", READER_PASSWORD, "-b", BASE]
        found = subprocess.run([program("ldapsearch"), *bind, *arguments], check=False, capture_output=True)
        return found.stdout.decode()

    def _template(self) -> Path:
        loaded = self.templates / hashlib.sha256((self.ldif + self.reader).encode()).hexdigest()[:16]
        if not (loaded / "ready").exists():
            shutil.rmtree(loaded, ignore_errors=True)
            (loaded / "db").mkdir(parents=True)
            self._write_config(loaded)
            for text in (self.ldif, self.reader):
                command = [program("slapadd"), "-q", "-f", str(loaded / "slapd.conf")]
                done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
                if done.returncode:
                    raise RuntimeError("slapadd: " + done.stderr.decode())
            (loaded / "ready").touch()
        return loaded / "db"

    def _write_config(self, folder: Path) -> None:
        schemas = "\n".join(
            f"include /etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "inetorgperson", "nis")
        )
        tls = ""
        if self.tls:
            tls = f"""
TLSCACertificateFile {self.tls.ca}
TLSCertificateFile {self.tls.certificate}
TLSCertificateKeyFile {self.tls.key}
TLSVerifyClient {self.verify_client}
"""
        (folder / "slapd.conf").write_text(f"""{schemas}
modulepath /usr/lib/ldap
moduleload back_mdb
{"moduleload syncprov" if "syncprov" in self.overlays else ""}
pidfile {folder}/slapd.pid
{tls}
{self.globals}
database mdb
maxsize {self.max_bytes}
suffix "{BASE}"
rootdn "{ADMIN}"
rootpw {ADMIN_PASSWORD}
directory {folder}/db
index objectClass eq
{self.access}
{self.limits}
{self.overlays}
""")
