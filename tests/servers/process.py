"""A directory server as a process: started until its port answers, stopped by its process id, changed by its administrator."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

Server = TypeVar("Server", bound="ServerProcess")
DEADLINE_S = 60


class ServerProcess:
    port: int
    process: subprocess.Popen[bytes] | None

    def start(self: Server) -> Server:
        raise NotImplementedError

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=DEADLINE_S)
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def answering(self: Server, command: Sequence[str], log: Path) -> Server:
        """Started by `command`, which writes to `log`."""
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')}")


def modified(changes: str, *arguments: str) -> None:
    """LDIF change records, by ldapmodify with these arguments."""
    done = subprocess.run(["ldapmodify", *arguments], input=changes.encode(), check=False, capture_output=True)
    if done.returncode:
        raise RuntimeError("ldapmodify: " + done.stderr.decode())
