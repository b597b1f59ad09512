"""One stage for each test, on each engine in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from door_stage import Stage


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    made = Stage(database_url)
    yield made
    made.close()
