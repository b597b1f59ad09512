"""What `syncd serve` runs: the web in this process, the worker in a child of its own that is niced and ends with it.

The worker is a process, not a thread: a reconcile of 100,000 entries in a thread costs the web most of its throughput.
SIGTERM and Ctrl-C end both gracefully: requests and the batch under way are finished.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Literal

import structlog
import uvicorn

from syncd import logs
from syncd.app import App, compose
from syncd.errors import SyncdError
from syncd.store.engine import Database
from syncd.store.migrate import require_current, upgrade
from syncd.web import create_web
from syncd.worker import Scheduled, Worker

NICE = 10
GRACE_S = 20  # for requests under way when the process is told to end
DANGEROUS = ("tls_do_not_verify_certificates", "accept_unmarked_files_as_complete")
log = structlog.get_logger()
Only = Literal["web", "worker"]


def serve(app: App, only: Only | None = None, listening: socket.socket | None = None) -> None:
    """Run until SIGTERM or Ctrl-C. Raises SyncdError if the address is taken or the database is not there."""
    _warn_of_dangers(app)
    with closing(open_database(app)) as database:
        if only == "worker":
            _work(app, database)
            return
        sock = listening or listen(app)
        child = None if only == "web" else _start_worker(app.settings.path)
        try:
            _web(app, database, sock)
        finally:
            sock.close()
            if child is not None:
                _stop(child)


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
    else:
        require_current(database)
    return database


def listen(app: App) -> socket.socket:
    """The socket of `http.bind`, bound before anything else is started. Raises SyncdError if it cannot be."""
    bind = app.settings.http.bind
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)[0]
        sock = socket.create_server(found[4][:2], family=found[0], backlog=2048)
    except OSError as exc:
        raise SyncdError(
            f"cannot listen on {bind}: {exc.strerror or exc}; another address goes into http.bind or SYNCD_BIND"
        ) from exc
    return sock


def url(app: App, sock: socket.socket) -> str:
    """How to reach what listens on `sock`; with port 0 the machine chose one."""
    http = app.settings.http
    if http.public_url or http.bind.port:
        return http.url
    return http.url.rsplit(":", 1)[0] + f":{sock.getsockname()[1]}"


def _web(app: App, database: Database, sock: socket.socket) -> None:
    http = app.settings.http
    config = uvicorn.Config(
        create_web(
            database,
            app.workspaces,
            app.clock,
            app.ids,
            url(app, sock),
            # Behind a proxy everybody comes from loopback.
            open_status=http.bind.loopback and not http.trusted_proxies,
        ),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(http.trusted_proxies),
        forwarded_allow_ips=list(http.trusted_proxies),
        ssl_certfile=http.tls.cert_file if http.tls else None,
        ssl_keyfile=http.tls.key_file if http.tls else None,
        timeout_graceful_shutdown=GRACE_S,
    )
    log.info("serving", url=url(app, sock))
    with _signals(lambda: None):  # uvicorn handles them while it runs, and then raises them again for us
        uvicorn.Server(config).run(sockets=[sock])
    log.info("stopped")


@contextmanager
def _signals(handle: object, which: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[None]:
    def on_signal(_: int, __: FrameType | None) -> None:
        if callable(handle):
            handle()

    before = {number: signal.signal(number, on_signal) for number in which}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


# -- the worker ---------------------------------------------------------------------------------------------------------


def _start_worker(config: Path) -> multiprocessing.process.BaseProcess:
    child = multiprocessing.get_context("spawn").Process(target=_worker_process, args=(config,), name="syncd-worker")
    child.start()
    return child


def _stop(child: multiprocessing.process.BaseProcess) -> None:
    child.terminate()
    child.join(GRACE_S)
    if child.is_alive():  # a run is resumed from its stored items, so this loses nothing
        child.kill()
        child.join()


def _worker_process(config: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us in its order
    logs.configure(form="console" if sys.stderr.isatty() else "json")
    try:
        app = compose(config, os.environ)
        with closing(app.database()) as database:
            _work(app, database)
    except SyncdError as exc:
        log.error("worker_failed", why=str(exc))
        sys.exit(exc.exit_code)


def _work(app: App, database: Database) -> None:
    os.nice(NICE)
    directories = [
        Scheduled(app.workspaces[name], each.source, each.mapping, each.schedule.full, each.schedule.delta)
        for name, sources in app.directories.items()
        for each in sources.values()
    ]
    worker = Worker(database, app.workspaces, directories, app.clock, app.ids, app.settings.timezone)
    ending = threading.Event()
    parent = multiprocessing.parent_process()

    def ended(seconds: float) -> bool:
        if parent is None:
            return ending.wait(seconds)
        # A parent that is gone leaves nobody to end us.
        return ending.wait(seconds) or bool(wait([parent.sentinel], 0))

    stopping = (signal.SIGTERM,) if parent is not None else (signal.SIGINT, signal.SIGTERM)
    with _signals(ending.set, stopping):
        worker.run(ended)
