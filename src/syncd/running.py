"""What runs in the processes that the supervisor starts: the web, and the worker. Each composes itself from the file.

`line` leads to the supervisor: one word over it says that this process is ready, and its end that the supervisor is gone,
whereupon this process ends too: it would run on with nobody to stop it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from syncd import logs
from syncd.app import App, compose
from syncd.auth import Policy
from syncd.errors import SyncdError
from syncd.metrics import Metrics
from syncd.store import leases
from syncd.store.clock import Clock, keep
from syncd.store.engine import Database
from syncd.web import create_web
from syncd.wire import Http
from syncd.worker import Scheduled, Worker

NICE = 10
KEEP_ALIVE_S = 75  # longer than the 60 s of common proxies, so that they never send into a connection just closed
GRACE_S = 20  # for requests under way when the process is told to end
_MADE = 20_000  # objects, before a look for cycles
log = structlog.get_logger()


def url(app: App, sock: socket.socket) -> str:
    """How to reach what listens on `sock`; with port 0 the machine chose one."""
    http = app.settings.http
    if http.public_url or http.bind.port:
        return http.url
    return http.url.rsplit(":", 1)[0] + f":{sock.getsockname()[1]}"


def web(config: Path, line: Connection, sock: socket.socket, alone: bool) -> None:
    """Answer requests. `alone`: the worker runs elsewhere, so that being ready does not depend on it."""
    with _composed(config, "web_failed") as app, closing(app.database()) as database:
        clock = app.clock_of(database)
        server = _Server(_uvicorn(app, database, clock, sock, alone), lambda: line.send("ready"))
        _collect_seldom()
        with _beating(database, clock), _watched(line, server.end):
            server.run(sockets=[sock])


def _collect_seldom() -> None:
    """A request makes many objects and hardly a cycle among them: the interpreter looks for some after 20,000 instead of 700,
    and never among what the process is composed of. A PATCH costs a twelfth less by it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE, *gc.get_threshold()[1:])


def worker(config: Path, line: Connection) -> None:
    """Keep the times."""
    os.nice(NICE)
    with _composed(config, "worker_failed") as app, closing(app.database()) as database:
        ending = threading.Event()
        settings, clock = app.settings.worker, app.clock_of(database)
        work = Worker(
            database,
            _scheduled(app),
            app.timers(database, clock),
            clock,
            app.ids,
            version("syncd"),
            settings.runs,
            settings.beat_file,
            [each for each in (app.courier(database, clock), app.postman(database, clock)) if each is not None],
        )
        metrics = Metrics("worker")

        def wait(seconds: float) -> bool:
            metrics.note_memory()
            return ending.wait(seconds)

        with _on_signal(ending.set), _watched(line, ending.set):
            work.run(wait, lambda: line.send("ready"))
        log.info("worker_ended")
    sys.stderr.flush()
    os._exit(0)  # a thread that waits for a directory must not hold the process; it holds no lease any more


@contextmanager
def _composed(config: Path, failed: str) -> Iterator[App]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor ends us in its order
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logs.configure()
    try:
        app = compose(config, os.environ)
        logs.configure(app.settings.log.level, app.settings.log.format, secrets=app.secrets)
        yield app
    except SyncdError as exc:
        log.error(failed, why=str(exc))
        sys.exit(exc.exit_code)
    except Exception:
        log.exception(failed)
        sys.exit(1)


def _scheduled(app: App) -> dict[str, Scheduled]:
    """What is read, by workspace and source."""
    times = app.timetables
    found = [
        Scheduled(
            app.workspaces[name],
            each.source,
            each.mapping,
            times[name, source],
            each.schedule.misfire_grace,
            each.schedule.live,
        )
        for name, sources in app.directories.items()
        for source, each in sources.items()
    ]
    return {each.key: each for each in found}


class _Server(uvicorn.Server):
    """Says when it answers, and ends by our signals alone."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    def end(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with _on_signal(self.end):
            yield


def _uvicorn(app: App, database: Database, clock: Clock, sock: socket.socket, alone: bool) -> uvicorn.Config:
    http = app.settings.http
    return uvicorn.Config(
        create_web(
            database,
            app.workspaces,
            clock,
            app.ids,
            url(app, sock),
            # Behind a proxy everybody comes from loopback.
            open_status=http.bind.loopback and not http.trusted_proxies,
            timetables=app.timetables,
            needs_worker=not alone,
            authentication=Policy(app.settings.tokens.failures_per_minute, app.settings.tokens.access_lifetime),
        ),
        http=Http,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(http.trusted_proxies),
        forwarded_allow_ips=list(http.trusted_proxies),
        ssl_certfile=http.tls.cert_file if http.tls else None,
        ssl_keyfile=http.tls.key_file if http.tls else None,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


@contextmanager
def _on_signal(act: Callable[[], None]) -> Iterator[None]:
    def on_signal(_: int, __: FrameType | None) -> None:
        act()

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _watched(line: Connection, end: Callable[[], None]) -> Iterator[None]:
    """`end` is called when the supervisor is gone."""

    def watch() -> None:
        with suppress(OSError, EOFError):
            line.recv()
        end()

    threading.Thread(target=watch, name="supervisor", daemon=True).start()
    yield


@contextmanager
def _beating(database: Database, clock: Clock) -> Iterator[None]:
    """A web process's heartbeat, for those who ask what runs where."""
    ended = threading.Event()

    def beat() -> None:
        while True:
            with suppress(SyncdError), database.writing() as conn:
                leases.beat(conn, "web", version("syncd"))
            with suppress(SyncdError):
                keep(clock)
            if ended.wait(leases.BEAT.total_seconds()):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(leases.BEAT.total_seconds())
        with suppress(SyncdError), database.writing() as conn:
            leases.gone(conn)
