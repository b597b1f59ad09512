"""SIGKILL at any moment of an apply, then an ordinary run: as if nothing had happened. `make soak` does it 500 times."""

from __future__ import annotations

import pytest

from campaign import campaign

SEEDS = range(10, 16)  # on each engine; with 15 it is killed while it stores its plan


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_run_killed_anywhere_ends_where_an_undisturbed_one_ends(engine: str, request: pytest.FixtureRequest) -> None:
    postgres = request.getfixturevalue("postgres") if engine == "postgresql" else None
    with campaign(engine, users=200, postgres=postgres) as campaigned:
        found = {seed: each for seed in SEEDS if (each := campaigned.kill(seed))}
    assert found == {}, "repeat with: python tests/campaign.py --kills 1 --engine ENGINE --seed SEED"
