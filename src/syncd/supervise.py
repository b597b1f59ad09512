"""What `syncd serve` runs: a supervisor that answers nothing itself, web processes, and one niced worker.

The supervisor holds the listening socket, or one for each of several web processes, and starts every other process from the
configuration file; what dies is started again with growing pauses. SIGTERM and Ctrl-C end all of them gracefully: requests
under way are answered, the batch of a run is finished, every lease is given back. SIGHUP reads the configuration anew: if it
is good, the processes are replaced one after the other. systemd is told when all are up, that they live, and when they end
(sd_notify(3)).
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Literal

import structlog
from prometheus_client.multiprocess import mark_process_dead

from syncd import running
from syncd.app import App, compose
from syncd.errors import SyncdError
from syncd.store import indexes
from syncd.store.engine import Database
from syncd.store.migrate import require_current, upgrade

GRACE_S = 25  # for a process to end, a little more than each gives its own work
BACKLOG = 2048  # connections that nobody took yet
STEADY_S = 60  # who lived this long starts again at once
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 30
FIGURES = "PROMETHEUS_MULTIPROC_DIR"  # where the processes' figures meet
DANGEROUS = ("tls_do_not_verify_certificates", "accept_unmarked_files_as_complete")
log = structlog.get_logger()
Only = Literal["web", "worker"]


def serve(
    app: App,
    only: Only | None = None,
    listening: socket.socket | None = None,
    answering: Callable[[], None] = lambda: None,
) -> None:
    """Run until SIGTERM or Ctrl-C. Raises SyncdError if the address is taken or the database is not there.

    `answering` is called once, when every web process answers for the first time.
    """
    _warn_of_dangers(app)
    open_database(app).close()
    sock = None if only == "worker" else listening or listen(app)
    alone = only is not None
    children = (
        [] if sock is None else [_Child("web", alone, each) for each in _shared(sock, app.settings.http.processes)]
    )
    children += [] if only == "web" else [_Child("worker", alone)]
    with tempfile.TemporaryDirectory(prefix="syncd-figures-") as figures:
        before = os.environ.get(FIGURES)
        os.environ[FIGURES] = figures
        try:
            _Supervisor(app, children, sock, _notifier(), answering).run()
        finally:
            for child in children:
                child.close()
            os.environ.pop(FIGURES)
            if before is not None:
                os.environ[FIGURES] = before


def _warn_of_dangers(app: App) -> None:
    """What is switched on against advice is said at every start."""
    for workspace, directories in app.directories.items():
        for name, directory in directories.items():
            for setting in DANGEROUS:
                if getattr(directory.source.config, setting, False):
                    log.warning("dangerous_setting", workspace=workspace, source=name, setting=setting)


def open_database(app: App) -> Database:
    """On SQLite created and migrated; on PostgreSQL it must be up to date, since other machines may use it."""
    embedded = app.settings.database.startswith("sqlite:")
    database = Database(app.settings.database, create=embedded)
    if embedded:
        upgrade(database)
        indexes.keep(database, app.settings.types.values())
    else:
        require_current(database)
    return database


def listen(app: App) -> socket.socket:
    """The socket of `http.bind`, bound before anything else is started. Raises SyncdError if it cannot be."""
    bind = app.settings.http.bind
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)[0]
        sock = socket.create_server(found[4][:2], family=found[0], backlog=BACKLOG)  # nobody else may have it
        if app.settings.http.processes > 1 and sys.platform == "linux":
            address = sock.getsockname()[:2]
            sock.close()
            sock = _another(found[0], address)
    except OSError as exc:
        raise SyncdError(
            f"cannot listen on {bind}: {exc.strerror or exc}; another address goes into http.bind or SYNCD_BIND"
        ) from exc
    return sock


def _another(family: int, address: tuple[str, int]) -> socket.socket:
    """One of several sockets on one address, among which Linux spreads connections (SO_REUSEPORT). Of one socket that several
    processes have, whoever is awake first takes all that come together, and the others stand idle."""
    return socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=True)


def _shared(sock: socket.socket, processes: int) -> list[socket.socket]:
    """One for each process; the same one, where they cannot have their own."""
    if sys.platform != "linux" or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return [sock] * processes
    return [sock, *(_another(sock.family, sock.getsockname()[:2]) for _ in range(processes - 1))]


# -- the processes -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Child:
    """A place for a process: who is in it now, and how often one died there of late."""

    kind: str  # "web" | "worker"
    alone: bool  # the other half runs elsewhere
    sock: socket.socket | None = None  # where it listens
    process: SpawnProcess | None = None
    line: Connection | None = None  # its end closes with the process, ours with the supervisor
    ready: bool = False
    started: float = 0.0
    deaths: int = 0
    start_at: float = 0.0  # monotonic; in the future while it pauses

    def start(self, app: App) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        target = running.web if self.kind == "web" else running.worker
        arguments = (app.settings.path, theirs, self.sock, self.alone)[: 4 if self.kind == "web" else 2]
        self.process = context.Process(target=target, args=arguments, name=f"syncd-{self.kind}")
        self.process.start()
        theirs.close()
        self.line, self.ready, self.started = ours, False, time.monotonic()

    def close(self) -> None:
        """Nobody new."""
        if self.sock is not None:
            self.sock.close()

    def died(self) -> float:
        """Clear up; returns the pause before the next one, in seconds."""
        assert self.process is not None and self.line is not None
        steady = time.monotonic() - self.started > STEADY_S
        self.deaths = 1 if steady else self.deaths + 1
        with suppress(OSError, KeyError):
            mark_process_dead(self.process.pid)
        self.line.close()
        self.process.close()
        self.process = self.line = None
        pause_s: float = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.deaths - 1)) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        self.start_at = time.monotonic() + pause_s
        return pause_s


@dataclass(slots=True)
class _Supervisor:
    app: App
    children: list[_Child]
    sock: socket.socket | None
    notify: Callable[[str], None]
    answering: Callable[[], None]
    _signals: list[int] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def run(self) -> None:
        with _caught(self._signals) as woken:
            if self.sock is not None:
                log.info("serving", url=running.url(self.app, self.sock))
            try:
                while not self._ending():
                    self._start_who_is_due()
                    self._wait(woken)
                    if signal.SIGHUP in self._signals:
                        self._signals.remove(signal.SIGHUP)
                        self._reload()
            finally:
                self._end()

    def _ending(self) -> bool:
        return signal.SIGTERM in self._signals or signal.SIGINT in self._signals

    def _start_who_is_due(self) -> None:
        for child in self.children:
            if child.process is None and child.start_at <= time.monotonic():
                self._listen(child)
                child.start(self.app)

    def _listen(self, child: _Child) -> None:
        """Whose socket was closed when it died gets another; if there is none to have, that of somebody else."""
        if child.kind != "web" or child.sock is not None:
            return
        beside = next(each.sock for each in self.children if each.sock is not None)
        try:
            child.sock = _another(beside.family, beside.getsockname()[:2])
        except OSError as exc:
            log.warning("socket_shared", why=exc.strerror or str(exc))
            child.sock = beside

    def _wait(self, woken: socket.socket, seconds: float = 3600) -> None:
        """Until a process is ready or dies, a signal comes, one may start again, or systemd wants to hear of us."""
        now = time.monotonic()
        pauses = [child.start_at - now for child in self.children if child.process is None]
        watchdog = _watchdog_s()
        for_s = max(0.0, min([seconds, *pauses, *([watchdog / 2] if watchdog else [])]))
        lines: dict[object, _Child] = {child.line: child for child in self.children if child.line is not None}
        ends: dict[object, _Child] = {
            child.process.sentinel: child for child in self.children if child.process is not None
        }
        for each in wait([woken, *lines, *ends], for_s):  # type: ignore[list-item]
            if each is woken:
                with suppress(BlockingIOError):
                    woken.recv(4096)
            elif each in ends:
                self._died(ends[each])
            elif (child := lines[each]).line is not None:
                self._heard(child)
        if watchdog and all(child.process is not None for child in self.children):
            self.notify("WATCHDOG=1")

    def _heard(self, child: _Child) -> None:
        assert child.line is not None
        try:
            child.line.recv()
        except (EOFError, OSError):
            return  # it is dying; its end is noticed next
        child.ready = True
        if all(each.ready for each in self.children if each.kind == "web"):
            self._once("answering", self.answering)
        if all(each.ready for each in self.children):
            self._once("ready", self._ready)

    def _once(self, what: str, tell: Callable[[], None]) -> None:
        if what not in self._told:
            self._told.add(what)
            tell()

    def _ready(self) -> None:
        log.info("ready", processes=len(self.children))
        self.notify("READY=1")

    def _died(self, child: _Child) -> None:
        assert child.process is not None
        child.process.join()  # its end of the line closes a moment before it can be buried
        pid, code = child.process.pid, child.process.exitcode
        pause_s = child.died()
        others = [each.sock for each in self.children if each is not child and each.sock is not None]
        if others and child.sock is not None and child.sock not in others:
            child.sock.close()  # or connections would wait there, while others could have them
            child.sock = None
        if not self._ending():
            log.error("process_died", kind=child.kind, pid=pid, exit_code=code, again_in_s=round(pause_s, 1))

    def _reload(self) -> None:
        """The new configuration, if it is one. Each process is replaced when its successor's time has come."""
        self.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            fresh = compose(self.app.settings.path, os.environ)
            if fresh.settings.http.bind != self.app.settings.http.bind:
                log.warning("reload_keeps_address", bind=str(self.app.settings.http.bind), wants="a restart")
            self.app = fresh
            log.info("reloaded")
        except SyncdError as exc:
            log.error("reload_refused", why=str(exc))  # the processes go on with what they have
        else:
            for child in self.children:
                if child.process is not None:
                    _stop([child])
                child.deaths, child.start_at = 0, 0.0
                child.start(self.app)
        self.notify("READY=1")

    def _end(self) -> None:
        self.notify("STOPPING=1")
        for child in self.children:
            child.close()  # nobody new; the web processes finish with those they have
        _stop(self.children)
        log.info("stopped")


def _stop(children: list[_Child]) -> None:
    """Tell them all, then wait for all; whoever overstays is killed: a run is resumed from its stored items."""
    for child in children:
        if child.process is not None:
            child.process.terminate()
    deadline = time.monotonic() + GRACE_S
    for child in children:
        if child.process is None:
            continue
        child.process.join(max(0.0, deadline - time.monotonic()))
        if child.process.is_alive():
            log.error("process_killed", kind=child.kind, pid=child.process.pid, after_s=GRACE_S)
            child.process.kill()
            child.process.join()
        child.died()


@contextmanager
def _caught(into: list[int]) -> Iterator[socket.socket]:
    """Signals go into the list, and wake whoever waits for the socket."""

    def note(number: int, _: FrameType | None) -> None:
        into.append(number)
        with suppress(OSError):
            waker.send(b"\0")

    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield woken
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        woken.close()
        waker.close()


# -- systemd -------------------------------------------------------------------------------------------------------------------


def _notifier() -> Callable[[str], None]:
    """Says a line to whoever started us, by the protocol of sd_notify(3); to nobody if nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")

    def say(text: str) -> None:
        if not address:
            return
        with suppress(OSError), closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as out:
            out.settimeout(1)  # whoever asked may not listen; the processes are more important
            out.connect("\0" + address[1:] if address.startswith("@") else address)
            out.sendall(text.encode())

    return say


def _watchdog_s() -> float | None:
    """How often systemd wants to hear of us (WatchdogSec); None if it does not."""
    asked = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(asked) / 1e6 if asked.isdecimal() and mine else None
