from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher

from syncd import passwords
from syncd.core.secret import Secret
from syncd.errors import TooManyRequests
from syncd.passwords import Passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
WORD = Secret("correct horse battery")


def test_a_hash_names_its_parameters_and_is_never_twice_the_same() -> None:
    made = Passwords().hash_now(WORD)
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "the second recommended option of RFC 9106 section 4"
    assert not Passwords().outdated(made)


def test_matching() -> None:
    async def tried() -> None:
        made = Passwords(CHEAP)
        hash = await made.hashed(WORD)
        assert hash != await made.hashed(WORD)
        assert await made.matches(hash, WORD)
        assert not await made.matches(hash, Secret("correct horse batterz"))
        assert not await made.matches(None, WORD)
        assert not await made.matches(None, Secret("nobody's"))
        assert not await made.matches("$argon2id$broken", WORD)
        assert Passwords().outdated(hash)

    asyncio.run(tried())


def test_more_than_can_wait_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAITING", 2)

    async def tried() -> list[object]:
        made = Passwords(CHEAP)
        return await asyncio.gather(*(made.hashed(WORD) for _ in range(3)), return_exceptions=True)

    found = asyncio.run(tried())
    assert [isinstance(each, TooManyRequests) for each in found] == [False, False, True]
