"""What every test may use: hypothesis profiles, skips that fail in CI, databases that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import pytest
import structlog

import compiled
import postgres_server
import prepared
from postgres_server import Postgres
from skips import pytest_make_collect_report, pytest_runtest_makereport
from syncd.store.engine import Database
from syncd.store.migrate import upgrade

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]  # hooks: a skip fails in CI

# The same examples every time, so that a red run is about the change; `make soak` looks for new ones.
hypothesis.settings.register_profile("fast", derandomize=True, max_examples=20, deadline=None)
hypothesis.settings.register_profile("ci", derandomize=True, max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.register_profile("soak", max_examples=20_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("ci")  # --hypothesis-profile=NAME chooses another

compiled.share()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that `make test-fast` can leave it out."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        fixtures = getattr(item, "fixturenames", ())
        if "postgres" in fixtures or "postgresql" in parameters.values() or "servers" in item.path.parts:
            item.add_marker("server")


@pytest.fixture(autouse=True)
def logs_as_imported() -> None:
    """A command run in this process sets the level of the log for good; the next test starts from the default."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One cluster for each test process (pytest-xdist starts several)."""
    with postgres_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a database with every table, to be copied: a copy takes a tenth of what the migrations take."""
    url = postgres.fresh()
    database = Database(url)
    upgrade(database)
    database.close()
    return url.rpartition("/")[2]


@pytest.fixture(scope="session")
def shared(postgres: Postgres, migrated: str) -> Iterator[prepared.Shared]:
    with closing(prepared.Shared(postgres, migrated)) as databases:
        yield databases


@pytest.fixture
def postgres_url(shared: prepared.Shared) -> Iterator[str]:
    """A database of this test alone with every table and no row, as `postgresql://user@127.0.0.1:PORT/name`."""
    url = shared.take()
    yield url
    shared.give_back(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table on each engine: what the migrations start from."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'syncd.db'}"
        return
    server = request.getfixturevalue("postgres")
    url = server.fresh()
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with every table and no row on each engine in turn: what the contract suite runs on."""
    if request.param == "sqlite":
        prepared.write(tmp_path / "syncd.db")
        return f"sqlite:///{tmp_path / 'syncd.db'}"
    return str(request.getfixturevalue("postgres_url"))
