"""A real 389 Directory Server from Debian's package: ns-slapd in a temporary folder on free loopback ports, without systemd.

It runs as whoever runs the tests. `dscreate` makes an instance once for all test processes of a session (under a lock), under
a prefix of its own, so that nothing is written to /etc or /run; every server that is started has a copy of it.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from servers.process import ServerProcess, modified
from servers.slapd import ADMIN_PASSWORD, BASE, READER, READER_ENTRY, Authority, free_port

ADMIN = "cn=Directory Manager"
# As docs/389ds.md says it.
READ_ALL = (
    '(targetattr != "userPassword")(version 3.0; acl "syncd reads"; allow (read, search, compare) '
    f'userdn = "ldap:///{READER}";)'
)
PLUGINS = ("MemberOf Plugin", "Retro Changelog Plugin", "Content Synchronization")
# Without it the changelog does not say whose changes it has, and content synchronization tells nothing.
CHANGELOG = {("cn=Retro Changelog Plugin,cn=plugins,cn=config", "nsslapd-attribute"): "nsuniqueid:targetUniqueId"}
_INSTANCE = "corp"
_NEEDS = "needs 389ds: apt-get install 389-ds-base"
_DEFAULTS = Path("/usr/share/dirsrv/inf/defaults.inf")


def needed() -> None:
    """Skips by name where there is no 389 Directory Server."""
    if not all(map(_program, ("ns-slapd", "dscreate"))):
        pytest.skip(_NEEDS)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass
class Dirsrv(ServerProcess):
    """`start` after setting what shall differ. `settings` are (entry of dse.ldif, attribute) -> value."""

    folder: Path
    template: Path
    ldif: str
    tls: Authority | None = None
    settings: dict[tuple[str, str], str] = field(default_factory=lambda: dict(CHANGELOG))
    plugins: tuple[str, ...] = PLUGINS  # that are switched on
    access: tuple[str, ...] = (READ_ALL,)  # ACIs of the top
    reader: str = READER_ENTRY  # LDIF of the account that reads
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
    def config(self) -> Path:
        return self.folder / "etc" / "dirsrv" / f"slapd-{_INSTANCE}"

    def start(self) -> Dirsrv:
        if not self.config.exists():
            shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
            self._configure()
            self._load()
        command = [
            _program("ns-slapd") or "ns-slapd",
            "-D",
            str(self.config),
            "-i",
            str(self.folder / "pid"),
            "-d",
            "0",
        ]
        return self.answering(command, self.folder / "dirsrv.log")

    def discard(self) -> None:
        """The end of a server that nobody starts again: it need not write down what it has, which takes it two seconds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=60)
            self.process = None

    def modify(self, changes: str) -> None:
        """LDIF change records, as the directory's administrator."""
        modified(changes, "-x", "-H", self.url, "-D", ADMIN, "-w", ADMIN_PASSWORD)

    def search(self, *arguments: str) -> list[str]:
        """The lines of ldapsearch, unfolded, as the administrator."""
        bind = ["-LLL", "-o", "ldif-wrap=no", "-x", "-H", self.url, "-D", ADMIN, "-w", ADMIN_PASSWORD]
        found = subprocess.run(["ldapsearch", *bind, *arguments], check=True, capture_output=True, text=True)
        return found.stdout.splitlines()

    def _configure(self) -> None:
        path = self.config / "dse.ldif"
        dse = path.read_text(encoding="utf-8").replace(str(self.template), str(self.folder))
        ports = {"nsslapd-port": str(self.port), "nsslapd-secureport": str(self.tls_port)}
        wanted = {("cn=config", name): value for name, value in ports.items()}
        wanted |= {(f"cn={name},cn=plugins,cn=config", "nsslapd-pluginEnabled"): "on" for name in self.plugins}
        if self.tls:
            wanted[("cn=config", "nsslapd-security")] = "on"
            self._trust(self.tls)
        for (entry, name), value in {**wanted, **self.settings}.items():
            dse = _with(dse, entry, name, value)
        path.write_text(dse, encoding="utf-8")

    def _trust(self, tls: Authority) -> None:
        """The certificate as NSS keeps it; dscreate made its database and the database's password."""
        secret = str(self.config / "pwdfile.txt")
        both = str(self.folder / "server.p12")
        keys = ("-inkey", str(tls.key), "-in", str(tls.certificate), "-name", "Server-Cert")
        _run(["openssl", "pkcs12", "-export", *keys, "-out", both, "-passout", "pass:"])
        database = f"sql:{self.config}"
        _run(["pk12util", "-i", both, "-d", database, "-k", secret, "-W", ""])
        _run(["certutil", "-A", "-d", database, "-n", "ca", "-t", "CT,,", "-i", str(tls.ca), "-f", secret])

    def _load(self) -> None:
        path = self.folder / "ldif" / "corp.ldif"
        top = f"dn: {BASE}\n"
        granted = "".join(f"aci: {each}\n" for each in self.access)
        path.write_text(self.ldif.replace(top, top + granted, 1) + self.reader, encoding="utf-8")
        _run([_program("ns-slapd") or "ns-slapd", "ldif2db", "-D", str(self.config), "-n", "userroot", "-i", str(path)])


def _with(dse: str, entry: str, name: str, value: str) -> str:
    """dse.ldif with this one value of the attribute."""
    found = re.search(rf"^dn: {re.escape(entry)}\n(?:.+\n)*", dse, re.MULTILINE | re.IGNORECASE)
    if found is None:
        raise RuntimeError(f"dse.ldif has no {entry}")
    others = re.sub(rf"^{re.escape(name)}: .*\n(?: .*\n)*", "", found[0], flags=re.MULTILINE | re.IGNORECASE)
    return dse[: found.start()] + others + f"{name}: {value}\n" + dse[found.end() :]


def template(folder: Path) -> Path:
    """The empty instance, made by whoever of the test processes comes first; `folder` is theirs together."""
    made = folder / "instance"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(made, ignore_errors=True)
            _create(made)
            (folder / "ready").touch()
    return made


def _create(made: Path) -> None:
    """Every path that defaults.inf names, under `made`: lib389 takes that file from $PREFIX."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    config = f"{made}/etc/dirsrv/slapd-{{instance_name}}"
    ours = {
        "with_systemd": "0",
        "prefix": made,
        **{"user": user, "group": group},
        **{"sysconf_dir": f"{made}/etc", "config_dir": config, "cert_dir": config, "schema_dir": f"{config}/schema"},
        **{
            "local_state_dir": made,
            "run_dir": f"{made}/run",
            "lock_dir": f"{made}/lock/slapd",
            "tmp_dir": f"{made}/tmp",
        },
        **{"ldapi": f"{made}/ldapi", "pid_file": f"{made}/pid", "log_dir": f"{made}/log", "inst_dir": f"{made}/inst"},
        **{"db_dir": f"{made}/data/db", "db_home_dir": f"{made}/data/db"},
        **{"backup_dir": f"{made}/bak", "ldif_dir": f"{made}/ldif"},
    }
    lines = (line.partition(" = ") for line in _DEFAULTS.read_text(encoding="utf-8").splitlines())
    defaults = made / "share" / "dirsrv" / "inf" / "defaults.inf"
    for each in (defaults.parent, made / "tmp", made / "etc" / "dirsrv" / "schema", made / "etc" / "dirsrv" / "config"):
        each.mkdir(parents=True)
    defaults.write_text("".join(f"{name}{sign}{ours.get(name, value)}\n" for name, sign, value in lines))
    # Debian lets only the package's own user read these in /etc/dirsrv; nothing of them is used here.
    (made / "etc" / "dirsrv" / "schema" / "99user.ldif").write_text("dn: cn=schema\n")
    (made / "etc" / "dirsrv" / "config" / "slapd-collations.conf").write_text("# none\n")
    (made / "etc" / "dirsrv" / "config" / "certmap.conf").write_text("certmap default default\n")
    answers = made / "instance.inf"
    answers.write_text(f"""[general]
config_version = 2
full_machine_name = localhost
start = False
selinux = False
systemd = False
[slapd]
instance_name = {_INSTANCE}
port = {free_port()}
secure_port = {free_port()}
root_dn = {ADMIN}
root_password = {ADMIN_PASSWORD}
self_sign_cert = False
prefix = {made}
[backend-userroot]
suffix = {BASE}
""")
    environment = {
        **os.environ,
        "PREFIX": str(made),
        "LOGNAME": user,
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin",
    }
    _run([_program("dscreate") or "dscreate", "-v", "from-file", str(answers)], environment)
    dse = made / "etc" / "dirsrv" / f"slapd-{_INSTANCE}" / "dse.ldif"
    small = dse.read_text(encoding="utf-8")
    database = "cn=config,cn=ldbm database,cn=plugins,cn=config"
    bdb = f"cn=bdb,{database}"
    # Its caches are a quarter of the machine's memory, and their files of that size.
    for entry, name, value in (
        ("cn=config", "nsslapd-listenhost", "127.0.0.1"),
        ("cn=config", "nsslapd-securelistenhost", "127.0.0.1"),
        (bdb, "nsslapd-cache-autosize", "0"),
        (bdb, "nsslapd-dbcachesize", str(4 << 20)),
    ):
        small = _with(small, entry, name, value)
    dse.write_text(small, encoding="utf-8")
    for left in (made / "ldapi", *(made / "data" / "db").glob("__db.*")):
        left.unlink(missing_ok=True)


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}"[-4000:])
