"""One key on two entries is noticed among however many, in bounded memory."""

from __future__ import annotations

import random

import pytest

from syncd.errors import IncompleteRead, InvalidValue
from syncd.ldap.seen import Seen
from syncd.store import numbers


def told(keys: Seen, key: str, name: str) -> bool | None:
    """None: the key is on another entry."""
    try:
        return keys.repeats("entryUUID", key, name)
    except InvalidValue as exc:
        assert str(exc) == f"entryUUID: {key} is on another entry too"
        return None


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("in_memory", [0, 3, 100])
def test_whatever_came_before_is_known(monkeypatch: pytest.MonkeyPatch, in_memory: int, moving: bool) -> None:
    monkeypatch.setattr(numbers, "IN_MEMORY", in_memory)
    chance = random.Random(1)
    keys, known = Seen(moving), dict[str, str]()
    for _ in range(300):
        key, name = f"k{chance.randrange(60)}", f"uid=p{chance.randrange(3)},dc=x"
        first = known.setdefault(key, name) if key in known else None
        known.setdefault(key, name)
        expected = False if first is None else True if moving or first == name else None
        assert told(keys, key, name.upper() if chance.random() < 0.5 else name) is expected
    assert (keys._names._many is None) is (in_memory == 100)
    keys.close()


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "IN_MEMORY", 0)
    keys = Seen()
    keys.repeats("entryUUID", "first", "dc=x")
    assert keys._names._many is not None
    keys._names._many.execute("PRAGMA max_page_count = 1")
    with pytest.raises(IncompleteRead, match="temporary files in"):
        for number in range(10_000):
            keys.repeats("entryUUID", f"k{number}", "dc=x")
    keys.close()
