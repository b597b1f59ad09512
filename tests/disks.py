"""A file system with almost no room, for tests of a disk that is full."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tiny(megabytes: int) -> Iterator[Path]:
    """A tmpfs of that size. Skips the test by name where nobody may mount one."""
    folder = Path(tempfile.mkdtemp(prefix="syncd-tiny-"))
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("needs root and the right to mount a small tmpfs")
        try:
            folder.chmod(0o755)
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()
