from __future__ import annotations

import pytest

from syncd.core.password import PasswordPolicy, barred, faults, names_of, prepared
from syncd.core.secret import Secret
from syncd.core.state import Link, User

POLICY = PasswordPolicy()


def told(text: str, policy: PasswordPolicy = POLICY, *about: str) -> str:
    return "; ".join(faults(Secret(text), policy, about))


@pytest.mark.parametrize(
    "text",
    [
        "correct horse battery",
        "Übermut tut selten",
        "kx7!vQ9z#mL2p",
        "passwords are tiresome",
        "日本語のパスワードです長い",
    ],
)
def test_long_ones_are_good_whatever_they_are_made_of(text: str) -> None:
    assert told(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("short", "fewer than 12"),
        ("x" * 257, "more than 256"),
        ("Password12345!", "common word"),
        ("12345passwort", "common word"),
        ("passwordpassword", "common word"),
        ("1234567890123", "row of keys"),
        ("abcdefghijklmnop", "row of keys"),
        ("zyxwvutsrqponm", "row of keys"),
        ("qwertyuiopasdf", "row of keys"),
        ("abababababab", "different characters"),
        ("annabel has one", "name or address"),
        ("tab\tin the middle", "control character"),
    ],
)
def test_what_is_tried_first_is_refused_and_not_repeated(text: str, why: str) -> None:
    found = told(text, POLICY, "lee@example.org", "Annabel Lee")
    assert why in found
    assert text not in found


def test_own_list_is_compared_without_case() -> None:
    policy = PasswordPolicy(forbidden=frozenset({"acme corporation"}))
    assert "common" in told("ACME Corporation", policy)


def test_two_keyboards_that_spell_it_differently_mean_the_same() -> None:
    assert prepared(Secret("caf\u00e9 au\u00a0lait")) == prepared(Secret("cafe\u0301 au lait"))


def test_who_signs_in_elsewhere_has_none_here_unless_the_policy_says_so() -> None:
    own = User("1", links=(Link("local", "1"),), values={"userName": "ann"})
    fed = User("2", links=(Link("corp", "x"), Link("local", "2")), values={"userName": "bob", "name.familyName": "Ray"})
    assert barred(own, POLICY, lambda _: False) is None
    assert "corp" in (barred(fed, POLICY, lambda _: False) or "")
    assert barred(fed, POLICY, lambda source: source == "corp") is None
    assert barred(fed, PasswordPolicy(beside_provider=True), lambda _: False) is None
    assert names_of(fed) == ("bob", "Ray")
