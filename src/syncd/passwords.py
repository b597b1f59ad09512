"""Hashing passwords: argon2id, beside the event loop and outside any transaction, a few at a time.

One hash takes about 64 MiB and a sixth of a second (the second recommended option of RFC 9106 section 4), so `AT_ONCE`
bounds what attackers can make this process spend. A hash names its own parameters: those of an older choice verify, and
`outdated` says that they should be made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from syncd.core.password import prepared
from syncd.core.secret import Secret
from syncd.errors import TooManyRequests

T = TypeVar("T")
AT_ONCE = 2
WAITING = 50  # more are told to come again


class Passwords:
    """Makes and compares hashes. `hasher`: a cheaper one makes tests quick."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._nobodys: str | None = None

    async def hashed(self, password: Secret) -> str:
        """As it is kept, with its parameters and salt. Raises TooManyRequests."""
        return await self._beside(partial(self.hash_now, password))

    async def matches(self, hash: str | None, password: Secret) -> bool:
        """Whether this is the password. None takes the same time, so that it does not tell who has none."""
        return await self._beside(partial(self.matches_now, hash, password))

    def hash_now(self, password: Secret) -> str:
        return self._hasher.hash(prepared(password))

    def matches_now(self, hash: str | None, password: Secret) -> bool:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash("nobody's")
        try:
            return self._hasher.verify(hash or self._nobodys, prepared(password)) and hash is not None
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, hash: str) -> bool:
        """Made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hash)

    async def _beside(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise TooManyRequests("too many passwords are being hashed", 1)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
