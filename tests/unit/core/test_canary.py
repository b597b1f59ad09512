"""What makes a read that ended well look blind beside those before it."""

from __future__ import annotations

from syncd.core.canary import Before, Fewer, Seen, branches_gone, doubts


def said(now: Seen, before: Before, fewer: Fewer = Fewer(0.2, 5)) -> list[str]:
    return list(doubts(now, before, fewer))


def test_as_many_fewer_as_are_believed_and_one_more() -> None:
    before = Before(100, 20)
    assert said(Seen(80, 15), before) == []
    assert said(Seen(79, 14), before) == [
        "79 users, and the last complete read saw 100: 21 fewer, believed are 20 (share 20%, floor 5)",
        "14 groups, and the last complete read saw 20: 6 fewer, believed are 5 (share 20%, floor 5)",
    ]
    assert said(Seen(0, 0), Before()) == [], "nothing is known: a first read"
    assert said(Seen(500, 500), before) == []


def test_a_slow_loss_is_told_against_the_largest_of_the_last_reads() -> None:
    assert said(Seen(85, 0), Before(100, 0, most=110)) == [
        "85 entries, and one of the last complete reads saw 110: 25 fewer, believed are 22 (share 20%, floor 5)"
    ]
    assert said(Seen(85, 0), Before(85, 0, most=110)) == [], "it was believed, or accepted, before"


def test_an_account_that_lost_sight_of_itself() -> None:
    (why,) = said(Seen(9, 9, own_entry=False), Before(9, 9, own_entry=True))
    assert "does not see its own entry any more" in why
    for now, before in ((False, False), (False, None), (None, True), (True, False)):
        assert said(Seen(9, 9, own_entry=now), Before(9, 9, own_entry=before)) == []


def test_a_branch_is_gone_when_everybody_of_enough_people_is() -> None:
    def people(unit: str, n: int, there: int = 0) -> list[tuple[str, str, bool]]:
        return [(f"uid={number},ou={unit},dc=x", f"{unit}{number}", number < there) for number in range(n)]

    everybody = [*people("gone", 5), *people("small", 4), *people("halved", 9, there=1), *people("fine", 9, there=9)]
    assert branches_gone(everybody) == [("ou=gone,dc=x", [f"gone{number}" for number in range(5)])]
