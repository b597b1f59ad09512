"""How long changes are gathered before they are read."""

from __future__ import annotations

from syncd.live import GATHER_S, LONGEST_GATHER_S, gathering_s


def test_a_change_by_itself_is_read_at_once() -> None:
    assert gathering_s(GATHER_S, 10.0) == GATHER_S
    assert gathering_s(LONGEST_GATHER_S, 10.0) == GATHER_S


def test_changes_that_do_not_end_are_gathered_longer_and_longer() -> None:
    pauses = [GATHER_S]
    for _ in range(40):
        pauses.append(gathering_s(pauses[-1], 0.0))
    assert pauses == sorted(pauses) and pauses[-1] == LONGEST_GATHER_S
    assert sum(pauses[:12]) < 2 * LONGEST_GATHER_S, "a dozen hand-made changes do not wait for each other"
