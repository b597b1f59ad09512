"""How a deletion ends: the window of whoever deleted, a directory that still shows her, and the way back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from syncd.core.change import UserEdit
from syncd.core.deletion import final_at, marked_key, restoration, still_shown
from syncd.core.lifecycle import Ladder
from syncd.core.state import Link, User
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.errors import Conflict

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def source(name: str, purge_after: timedelta | None = 14 * DAY, kind: str = "ldap") -> SourcePolicy:
    return SourcePolicy(name, kind, ladder=Ladder(purge_after=purge_after))


HERE = Workspace(
    sources={"corp": source("corp", 30 * DAY), "lab": source("lab", None), "okta": source("okta", kind="scim")}
)
BY_HAND = User("u1", links=(Link("local", "u1", values={"userName": "ann"}),), deleted_at=NOON, status="deleted")
GONE = User("u1", links=(Link("corp", "k", stage="deleted"),), status="deleted")
PUSHED = User("u1", (Link("okta", marked_key("ext", "u1"), stage="deleted"),), deleted_at=NOON, status="deleted")


@pytest.mark.parametrize(
    ("user", "workspace", "days"),
    [
        (BY_HAND, HERE, 14),
        (BY_HAND, replace(HERE, purge_after=None), None),
        (BY_HAND, replace(HERE, purge_after=timedelta(0)), 0),
        (GONE, HERE, 30),
        (GONE, Workspace(), 14),  # its source is not configured any more
        (replace(GONE, deleted_at=NOON), HERE, 30),
        (replace(GONE, links=(*GONE.links, Link("lab", "k", stage="deleted"))), HERE, None),
        (PUSHED, HERE, 14),
    ],
)
def test_whoever_deleted_says_how_long_the_window_is(user: User, workspace: Workspace, days: int | None) -> None:
    assert final_at(user, NOON, workspace) == (None if days is None else NOON + days * DAY)


def test_a_directory_that_still_shows_her_keeps_the_deletion_from_being_final() -> None:
    by_admin = replace(GONE, deleted_at=NOON, links=(Link("corp", "k"),))
    assert still_shown(by_admin, HERE) and not still_shown(GONE, HERE)
    assert not still_shown(by_admin, Workspace())  # nobody reads that directory any more
    assert not still_shown(replace(by_admin, links=(Link("okta", "k"),)), HERE)


def test_a_connection_that_deleted_her_sees_her_again_under_its_key() -> None:
    by_hand, pushed = restoration(PUSHED, HERE, NOON + 13 * DAY, "back")
    assert by_hand.facts == {"deleted_at": None}
    assert pushed.link is not None
    assert (pushed.source, pushed.link.key, pushed.link.stage) == ("okta", "ext", None)
    assert pushed.drop_link == "ext (deleted u1)"


def test_what_an_ended_link_said_last_holds_nobody_whom_another_source_vouches_for() -> None:
    ended = Link("okta", marked_key("ext", "u1"), enabled=False, values={"userName": "ann"}, stage="deleted")
    by_hand, pushed = restoration(User("u1", (Link("corp", "k"), ended), status="inactive"), HERE, NOON, "back")
    assert by_hand.facts == {"deleted_at": None}
    assert pushed == UserEdit("u1", "okta", link=replace(ended, enabled=None), why="back")
    left = Link("corp", "k", ends_at=NOON, stage="deleted")
    _, _, read = restoration(replace(PUSHED, links=(*PUSHED.links, left)), HERE, NOON, "back")
    assert read == UserEdit("u1", "corp", link=replace(left, enabled=None, ends_at=None), why="back")
    assert len(restoration(User("u1", (Link("corp", "k", enabled=False),), status="inactive"), HERE, NOON, "")) == 1


@pytest.mark.parametrize(
    ("user", "days", "said"),
    [(BY_HAND, 14, "after 14 days that is final"), (GONE, 1, "its directory entry is gone")],
)
def test_what_stands_in_the_way_is_said(user: User, days: int, said: str) -> None:
    with pytest.raises(Conflict, match=said):
        restoration(user, HERE, NOON + days * DAY, "")
