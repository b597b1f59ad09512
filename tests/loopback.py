"""An application behind uvicorn on a free loopback port, in a thread of its own with a loop of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from syncd.wire import Http


@contextmanager
def serving(application: Callable[[str], Starlette]) -> Iterator[str]:
    """`application`: made for the address that is given to it and yielded here, such as `http://127.0.0.1:40123`."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(application(url), http=Http, ws="none", log_level="warning", access_log=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.started
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(20)
