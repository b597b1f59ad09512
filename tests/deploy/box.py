"""A machine in small, without an engine: what a container or a hardened service would see, made with unshare and mounts.

    network = Network()                      loopback only, so every port is free
    box = Box(folder, network, uid=10001)    a root file system of its own, read-only but for what is named
    process = box.start(argv, env)           as process 1, without privileges

Programs and libraries are this machine's, read-only; the environment of the tests stands at /opt/syncd. What runs inside
has no capability, no way to a new one, and nothing to write but `writable` and /tmp. Needs root, and says so otherwise.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPT = "/opt/syncd"  # where the image and the unit have the program
UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x49))"
DEADLINE_S = 60


def needs_root() -> None:
    missing = [name for name in ("unshare", "nsenter", "setpriv", "mount", "chroot") if not shutil.which(name)]
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a read-only root file system and to drop to another user")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install util-linux mount coreutils")
    tried = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs namespaces, which this machine does not give: {tried.stderr.decode().strip()}")


class Network:
    """A network of its own with nothing but loopback; `close` it."""

    def __init__(self) -> None:
        needs_root()
        command = ["unshare", "--net", sys.executable, "-c", f"{UP}; print(flush=True); import signal; signal.pause()"]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        self._holder.stdout.readline()

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@dataclass
class Running:
    """`first` is the process that is number 1 inside."""

    outer: subprocess.Popen[bytes]
    log: Path
    box: Box
    env: Mapping[str, str]
    first: int = 0

    def __post_init__(self) -> None:
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        eventually(lambda: self.outer.poll() is not None or bool(children.read_text().split()), "start")
        if self.outer.poll() is None:
            self.first = int(children.read_text().split()[0])

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Another command beside it, as its user, with what it sees: `docker exec`, or an exec probe."""
        inside = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--root", "--wdns=/"]
        command = [*inside, *self.box.unprivileged, "env", "-i", *_pairs(self.env), *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)

    def signal(self, number: int) -> None:
        os.kill(self.first, number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        return self.outer.wait(timeout_s)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        if self.outer.poll() is None:
            self.outer.kill()  # --kill-child takes the rest with it
        self.outer.wait()


@dataclass
class Box:
    """`files`: path inside -> content, read-only. `binds`: path inside -> a folder or file of this machine, read-only.
    `writable`: path inside -> a folder of this machine, given to the user. `hosts`: names that mean loopback."""

    folder: Path
    network: Network
    uid: int
    gid: int | None = None
    files: dict[str, str] = field(default_factory=dict)
    binds: dict[str, Path] = field(default_factory=dict)
    writable: dict[str, Path] = field(default_factory=dict)
    hosts: Sequence[str] = ()
    workdir: str = "/"

    @property
    def unprivileged(self) -> list[str]:
        ids = [f"--reuid={self.uid}", f"--regid={self.gid or self.uid}", "--clear-groups"]
        return ["setpriv", *ids, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> Running:
        self.folder.mkdir(parents=True, exist_ok=True)
        root, script, log = self.folder / "root", self.folder / "mounts.sh", self.folder / "log"
        root.mkdir(exist_ok=True)
        script.write_text(self._mounts(root), encoding="utf-8")
        inside = ["chroot", str(root), *self.unprivileged, "env", "-i", f"--chdir={self.workdir}", *_pairs(env), *argv]
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"]
        with log.open("ab") as output:
            outer = subprocess.Popen(
                [*self.network.enter, *own, "sh", "-eu", str(script), *inside], stdout=output, stderr=output
            )
        return Running(outer, log, self, env)

    def _mounts(self, root: Path) -> str:
        """A shell script that lays the root file system and then becomes its arguments."""
        lines = [
            f"mount -t tmpfs -o mode=755 root {root}",
            f"mkdir -p {root}/proc {root}/tmp {root}/dev/shm {root}/var/tmp",
            f"mount -t tmpfs -o mode=1777 tmp {root}/tmp",  # first: what is bound from this machine may lie below it
        ]

        def bind(source: Path, inside: str, *, writable: bool = False) -> None:
            at = shlex.quote(f"{root}{inside}")
            make = f"mkdir -p {at}" if source.is_dir() else f"mkdir -p $(dirname {at}) && touch {at}"
            lines.append(f"{make} && mount --bind {shlex.quote(str(source))} {at}")
            if not writable:
                lines.append(f"mount -o remount,bind,ro {at}")

        for name in ("bin", "sbin", "lib", "lib32", "lib64", "usr"):
            known = Path("/", name)
            if known.is_symlink():
                lines.append(f"ln -s {known.readlink()} {root}/{name}")
            elif known.exists():
                bind(known, f"/{name}")
        for known in (Path("/etc/ssl"), Path("/etc/ldap"), Path("/etc/localtime")):
            if known.exists():
                bind(known, str(known))
        environment = Path(sys.prefix)
        for known in (Path(sys.base_prefix), environment, ROOT / "src"):
            if not known.is_relative_to("/usr"):
                bind(known, str(known))
        bind(environment, OPT)
        for device in ("null", "zero", "full", "random", "urandom"):
            bind(Path("/dev", device), f"/dev/{device}", writable=True)
        for inside, source in self.binds.items():
            bind(source, inside)
        for inside, source in self.writable.items():
            source.mkdir(parents=True, exist_ok=True)
            os.chown(source, self.uid, self.gid or self.uid)
            bind(source, inside, writable=True)
        own = {
            "/etc/hosts": f"127.0.0.1 localhost {' '.join(self.hosts)}\n",
            "/etc/nsswitch.conf": "hosts: files\n",
            "/etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n",  # a uid without a name, as in a container
            "/etc/group": "root:x:0:\n",
        }
        for number, (inside, text) in enumerate({**own, **self.files}.items()):
            source = self.folder / f"file-{number}"
            source.write_text(text, encoding="utf-8")
            source.chmod(0o444)
            lines.append(f"mkdir -p $(dirname {root}{inside}) && cp -p {source} {root}{inside}")
        lines += [
            f"mount -t proc proc {root}/proc",
            f"mount -t tmpfs -o mode=1777 shm {root}/dev/shm",
            f"mount -o remount,ro {root}",
            'exec "$@"',
        ]
        return "\n".join(lines) + "\n"


def eventually(true: object, what: str, deadline_s: float = DEADLINE_S) -> None:
    assert callable(true)
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if true():
            return
        time.sleep(0.3)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def _pairs(env: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in env.items()]


STOP = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGQUIT": signal.SIGQUIT}
