"""What permissions permit: the union, with denials before everything."""

from __future__ import annotations

import pytest

from syncd.core.access import BUILT_IN, Role, allows, flags


@pytest.mark.parametrize(
    ("held", "wanted", "permitted"),
    [
        (("invoices.*",), "invoices.pay", True),
        (("invoices.*",), "assets.view", False),
        (("*", "!invoices.pay"), "invoices.pay", False),
        (("!invoices.*", "invoices.pay"), "invoices.pay", False),
        (("*", "!invoices.pay"), "invoices.view", True),
        (("!invoices.pay",), "invoices.view", False),
        ((), "invoices.view", False),
    ],
)
def test_allows(held: tuple[str, ...], wanted: str, permitted: bool) -> None:
    assert allows(held, wanted) is permitted


def test_the_four_flags() -> None:
    admin = BUILT_IN["admin"].permissions
    assert flags(admin) == dict.fromkeys(("admin", "edit", "delete", "export"), True)
    assert flags({*admin, "!data.delete"})["delete"] is False
    assert not any(flags(BUILT_IN["member"].permissions).values())


def test_a_denial_takes_privilege_away_and_gives_none() -> None:
    assert Role("all", frozenset({"*"})).privileged
    assert not Role("most", frozenset({"*", "!users.*", "!permissions.*"})).privileged
    assert not Role("none", frozenset({"!users.manage"})).privileged
