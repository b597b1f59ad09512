"""A syncd of its own, as a person runs it: a configuration in a folder, commands, and `serve` as a child."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.measure import free_port


class Daemon:
    """`config` is the text of the configuration but for `http.bind`, with `processes` web processes."""

    def __init__(self, folder: Path, config: str, processes: int = 1, name: str = "syncd") -> None:
        self.folder, self.port = folder, free_port()
        self.log = folder / f"{name}.log"
        self._config = folder / f"{name}.yaml"
        self._config.write_text(
            f'http: {{bind: "127.0.0.1:{self.port}", processes: {processes}}}\n{config}', encoding="utf-8"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *argv: str) -> str:
        done = subprocess.run([*self._command(), *argv], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"syncd {' '.join(argv)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout.strip()

    def beside(self, *argv: str) -> subprocess.Popen[bytes]:
        """A command beside the daemon, niced as its worker; what it writes goes to run.json."""
        out = (self.folder / "run.json").open("wb")
        return subprocess.Popen(["nice", "-n", "10", *self._command(), *argv], stdout=out, stderr=out)

    def start(self) -> None:
        self.process = subprocess.Popen([*self._command(), "serve"], stderr=self.log.open("wb"), env=os.environ)
        wait_until_it_answers(self.port, "/readyz", self.process, self.log)

    @property
    def pid(self) -> int:
        assert self.process is not None, "started"
        return self.process.pid

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "syncd", "--config", str(self._config)]


def wait_until_it_answers(port: int, path: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until `path` is answered with anything but 503. Ends the program with the server's log if it is not, in two minutes."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            if connection.getresponse().status != 503:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    end(process)
    raise SystemExit(f"the server on port {port} did not start:\n{log.read_text(errors='replace')[-4000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
