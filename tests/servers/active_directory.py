"""A real Active Directory from Debian's packages: Samba's domain controller, in the foreground, in a network of its own.

It needs root: the ports of LDAP are fixed, and its files have owners. The domain is provisioned and filled once for all
test processes of a session (under a lock), and its folder is copied for every server that is started. Only LDAP is served.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from servers.slapd import READER_PASSWORD, Authority, free_port

REALM, BASE = "ad.example.org", "DC=ad,DC=example,DC=org"
ADMIN, PASSWORD = f"administrator@{REALM}", "Admin-password-1"
READER = f"CN=syncd,OU=Services,{BASE}"
_FOLDER = Path(__file__).parent
_NEEDS = "needs samba, as root: apt-get install samba-ad-dc samba-ad-provision"


def needed() -> None:
    """Skips by name where there is no domain controller to be had."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("samba", "samba-tool"))):
        pytest.skip(_NEEDS)


@dataclass
class Samba:
    """A domain controller with a copy of the template; `stop` ends it by its process."""

    folder: Path
    template: Path
    tls: Authority
    options: dict[str, str] = field(default_factory=dict)  # of smb.conf(5)
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ldap://localhost:{self.port}"

    @property
    def ldaps_url(self) -> str:
        return f"ldaps://localhost:{self.tls_port}"

    def start(self) -> Samba:
        if not (self.folder / "private").exists():
            shutil.copytree(self.template, self.folder, dirs_exist_ok=True, symlinks=True)
            path = self.folder / "etc" / "smb.conf"
            path.write_text(path.read_text().replace(str(self.template), str(self.folder)))
        given = {
            "server services": "ldap",
            "interfaces": f"{ADDRESS}/8",
            "bind interfaces only": "yes",
            "pid directory": str(self.folder),
            "ncalrpc dir": f"{self.folder}/ncalrpc",
            "log file": f"{self.folder}/log.%m",
            "tls certfile": str(self.tls.certificate),
            "tls keyfile": str(self.tls.key),
            "tls cafile": str(self.tls.ca),
            **self.options,
        }
        options = [f"--option={name}={value}" for name, value in given.items()]
        command = ["samba", "--interactive", "--model=single", f"--configfile={self.folder}/etc/smb.conf", *options]
        with (self.folder / "samba.log").open("ab") as log:
            self.process = subprocess.Popen(
                _elsewhere(command, (self.port, 389), (self.tls_port, 636)), stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            if _answers(self.url):
                return self
            time.sleep(0.05)
        self.stop()
        raise RuntimeError("samba did not start: " + (self.folder / "samba.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None

    def modify(self, ldif: str) -> None:
        """LDIF change records, as the domain's administrator, over TLS."""
        command = ["ldapmodify", "-x", "-H", f"ldaps://127.0.0.1:{self.tls_port}", "-D", ADMIN, "-w", PASSWORD]
        done = subprocess.run(command, input=ldif.encode(), env=self._env, check=False, capture_output=True)
        if done.returncode:
            raise RuntimeError("ldapmodify: " + done.stderr.decode())

    def search(self, *arguments: str) -> list[str]:
        """The lines of ldapsearch, unfolded, as the administrator."""
        bind = [
            "-LLL",
            "-o",
            "ldif-wrap=no",
            "-x",
            "-H",
            f"ldaps://127.0.0.1:{self.tls_port}",
            "-D",
            ADMIN,
            "-w",
            PASSWORD,
        ]
        found = subprocess.run(
            ["ldapsearch", *bind, *arguments], env=self._env, check=True, capture_output=True, text=True
        )
        return found.stdout.splitlines()

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "LDAPTLS_CACERT": str(self.tls.ca)}


ADDRESS = (
    f"127.77.{os.getpid() >> 8 & 0xFF}.{(os.getpid() & 0xFF) | 1}"  # where namespaces are forbidden: one a process
)


def _elsewhere(command: list[str], *ports: tuple[int, int]) -> list[str]:
    pairs = [f"{here}:{there}" for here, there in ports]
    return [sys.executable, str(_FOLDER / "namespace.py"), ADDRESS, *pairs, "--", *command]


def _answers(url: str) -> bool:
    asked = ["ldapsearch", "-LLL", "-x", "-o", "nettimeout=5", "-H", url, "-b", "", "-s", "base", "vendorName"]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0


def template(folder: Path, company: str) -> Path:
    """The provisioned domain, made by whoever of the test processes comes first; `folder` is theirs together.

    `company`: LDIF change records of what it holds beside people of its own.
    """
    made = folder / "domain"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(made, ignore_errors=True)
            _provision(made, company)
            (folder / "ready").touch()
    return made


def _provision(made: Path, company: str) -> None:
    told = [f"--realm={REALM}", "--domain=EXAMPLE", "--server-role=dc", "--dns-backend=NONE"]
    told += [f"--adminpass={PASSWORD}", "--host-name=dc1", f"--host-ip={ADDRESS}", f"--targetdir={made}"]
    told += ["--option=bind interfaces only=yes", f"--option=interfaces={ADDRESS}/8"]
    _run(_elsewhere(["samba-tool", "domain", "provision", *told]))
    # In Debian, samba's modules are of the system's own interpreter.
    _run(
        [
            "/usr/bin/python3",
            str(_FOLDER / "active_directory_people.py"),
            str(made / "etc" / "smb.conf"),
            READER_PASSWORD,
        ],
        company,
    )


def _run(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[-1]}: {done.stdout}{done.stderr}")
