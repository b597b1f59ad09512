"""The PostgreSQL of the tests: bench/postgres.py, with a test that needs it skipped by name where it is not installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Programs of this folder (campaign.py, soak) are started with it alone on their path.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench import postgres
from bench.measure import free_port
from bench.postgres import Postgres

__all__ = ["Postgres", "free_port", "programs", "running"]


def programs() -> Path:
    """The folder of initdb, psql and pg_dump."""
    try:
        return postgres.programs()
    except postgres.Missing as exc:
        pytest.skip(str(exc))


@contextmanager
def running(**different: str) -> Iterator[Postgres]:
    """A server of its own, whose disk nobody waits for. `different`: settings of postgresql.conf."""
    programs()
    with postgres.running(**different) as server:
        yield server
