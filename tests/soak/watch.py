"""What is looked at while the load runs: the memory of every process of the daemon, and whether it says it is ready."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def children(pid: int) -> list[int]:
    try:
        found = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [*found, *(below for child in found for below in children(child))]


def role(pid: int, root: int) -> str | None:
    """supervisor, web, worker, or None for what only watches over the others."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        nice = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
    except OSError:
        return None
    if pid == root:
        return "supervisor"
    if b"resource_tracker" in command or b"forkserver" in command:
        return None
    return "worker" if nice > 0 else "web"


def rss_kib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB
    except (OSError, IndexError):
        return 0


@dataclass
class Watch:
    """Samples every few seconds, from a thread. `memory`: (role, pid) -> [(seconds since the start, KiB)]."""

    root: int
    base: str
    every_s: float = 2.0
    memory: dict[tuple[str, int], list[tuple[float, int]]] = field(default_factory=dict)
    not_ready: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self.every_s):
            now = time.monotonic() - self.began
            for pid in (self.root, *children(self.root)):
                if (what := role(pid, self.root)) and (kib := rss_kib(pid)):
                    self.memory.setdefault((what, pid), []).append((now, kib))
            if (said := ready(self.base)) != 200:
                self.not_ready.append(f"after {now:.0f} s: {said}")


def ready(base: str) -> int | str:
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except OSError as exc:
        return str(exc)
