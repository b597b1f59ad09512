"""A whole web application for each test, on each engine in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from web_service import Service


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    made = Service(database_url)
    yield made
    made.close()
