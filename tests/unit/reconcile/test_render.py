"""The report for programs and for people."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console, RenderableType

from syncd.core.change import Change
from syncd.core.plan import COUNTED, HeldItem, PoolUse, Report
from syncd.core.seats import Price
from syncd.core.snapshot import SetAside
from syncd.reconcile import render

CHANGES = (
    Change("create", "ann", None, {"userName": "ann", "title": "Lead"}, "read from corp"),
    Change("deactivate", "bob", "active", "inactive", "entry is gone", loss="deactivate"),
    Change("grant", "ann", None, "role member", "rule staff through eng > all"),
)
REPORT = Report(
    "r1", "corp", True, "held", True, (), "d" * 64, {"read": 3, "create": 1, "deactivate": 1, "grant": 1},
    (HeldItem("limit", "deactivate", "7 of 10 (70 %)", 7, "e" * 64, ("bob", "cyd")),),
    (SetAside("uid=x,dc=y", "no userName"),), CHANGES,
    {"crm": PoolUse(1, 2, 0), "idle": PoolUse(0, 9, 0)}, {"crm": PoolUse(2, 2, 1), "idle": PoolUse(0, 9, 0)},
    notes=("a note",), took_s=4.21,
)  # fmt: skip


def text(shown: RenderableType | None, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False).print(shown)
    return out.getvalue()


def test_json_is_one_object_with_every_key_and_count() -> None:
    found = json.loads(b"".join(render.to_json(REPORT)))
    assert list(found) == [
        *("run", "source", "dry_run", "status", "complete", "incomplete_because", "digest", "counts", "held"),
        *("set_aside", "seats", "cost", "kind", "kind_why", "drift", "looked_up", "changes"),
    ]
    assert list(found["counts"]) == list(COUNTED) and found["counts"]["wait"] == 0
    assert found["held"] == [
        {"guard": "limit", "kind": "deactivate", "why": "7 of 10 (70 %)", "changes": 7, "digest": "e" * 64}
        | {"subjects": ["bob", "cyd"]}
    ]
    assert found["set_aside"] == [{"entry": "uid=x,dc=y", "why": "no userName"}]
    assert [list(each) for each in found["changes"]] == [["kind", "subject", "before", "after", "why"]] * 3


def test_json_is_streamed_change_by_change() -> None:
    taken: list[int] = []

    class Many:
        def __iter__(self) -> Any:
            for number in range(1000):
                taken.append(number)
                yield CHANGES[0]

    pieces = render.to_json(replace(REPORT, changes=Many()))
    next(pieces), next(pieces)
    assert len(taken) == 1
    assert len(json.loads(b"".join(render.to_json(replace(REPORT, changes=Many())))))
    assert json.loads(b"".join(render.to_json(replace(REPORT, changes=()))))["changes"] == []


def test_a_failure_has_the_same_form() -> None:
    found = json.loads(b"".join(render.to_json(render.failed("corp", False, "refused"))))
    assert (found["status"], found["complete"], found["incomplete_because"]) == ("failed", False, ["refused"])
    assert set(found["counts"].values()) == {0}


def test_people_see_losses_first_then_seats_then_what_is_held() -> None:
    out = text(render.for_people(REPORT))
    order = ["Would take away: 1", "bob", "Would change: 2", "ann", "Set aside: 1", "Seats before -> after", "Held"]
    places = [out.index(part) for part in order]
    assert places == sorted(places)
    assert "1 -> 2" in out and "0 -> 1" in out and "idle" not in out
    assert "rule staff through eng > all" in out and "70 %" in out and "eeeeeeeeeeee" in out
    assert out.rstrip().splitlines()[-1] == (
        "corp: held · read 3 · create 1 · deactivate 1 · grant 1 · 4.2 s · digest dddddddddddd · run r1"
    )


def test_a_table_says_how_many_more_there_are() -> None:
    many = replace(REPORT, changes=[replace(CHANGES[1], subject=f"user{n}") for n in range(412)])
    out = text(render.for_people(many, rows=12))
    assert "... 400 more (--json shows all)" in out and "user11" in out and "user12" not in out


def test_an_incomplete_read_says_so_before_anything_else() -> None:
    out = text(render.for_people(replace(REPORT, status="incomplete", incomplete_because=("page 3 missing",))))
    assert out.index("nothing is taken away by absence") < out.index("page 3 missing") < out.index("bob")


def test_nothing_to_do_is_one_line() -> None:
    clean = Report("", "corp", False, "clean", True, (), "", {"read": 9, "yield": 2}, (), (), ())
    assert text(render.for_people(clean)).strip() == "corp: clean · read 9 · yield 2 · no change · 0.0 s"


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("active", "inactive", "active -> inactive"),
        (None, "role admin", "+ role admin"),
        ("role admin", None, "- role admin"),
        ({"title": "Lead"}, {"title": "Head"}, "title: Lead -> Head"),
        ({"title": "Lead"}, {"title": None}, "title: Lead -> nothing"),
        (None, {"emails": [{"value": "a@x", "type": "work"}]}, "emails: a@x"),
        ({"urn:x:2.0:User:unit": "a"}, {"urn:x:2.0:User:unit": "b"}, "unit: a -> b"),
    ],
)
def test_a_difference_is_short(before: Any, after: Any, shown: str) -> None:
    assert render.difference(Change("update", "ann", before, after)) == shown


@pytest.mark.parametrize("evil", ["\x1b[31m", "a\nb", "\u202eabc", "\x9b", "\u2028"])
def test_text_of_a_directory_cannot_steer_the_terminal(evil: str) -> None:
    change = Change("update", evil, {"title": evil}, {"title": evil + "x"}, evil, loss="blank")
    held = HeldItem(evil, evil, evil, 1, evil, (evil,))
    everywhere = replace(
        REPORT, source=evil, changes=(change,), held=(held,), set_aside=(SetAside(evil, evil),), notes=(evil,),
        incomplete_because=(evil,),
    )  # fmt: skip
    out = text(render.for_people(everywhere))
    assert evil not in out and "\\u" in out


def test_a_manager_is_called_by_name_whatever_id_this_plan_made() -> None:
    path = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"
    change = Change("update", "ann", {path: "id-1"}, {path: "id-2"})
    report = replace(REPORT, changes=(change,), names={"id-1": "bob", "id-2": "cyd"})
    assert "manager.value: bob -> cyd" in text(render.for_people(report))
    shown = json.loads(b"".join(render.to_json(report)))["changes"][0]
    assert (shown["before"], shown["after"]) == ({path: "bob"}, {path: "cyd"})


def test_names_in_other_scripts_stay_as_they_are() -> None:
    assert render.plain("Zoë 김 민준 Nguyễn") == "Zoë 김 민준 Nguyễn"


def test_a_plan_shows_what_its_seats_will_cost() -> None:
    price, yearly = Price(Decimal("12.5"), "EUR"), Price(Decimal(3), "EUR", "year")
    before = {"crm": PoolUse(4, 9, 0, price), "idle": PoolUse(7, 9, 0, yearly), "free": PoolUse(1, None, 0)}
    after = {**before, "crm": PoolUse(6, 9, 0, price), "free": PoolUse(2, None, 0)}
    priced = replace(REPORT, seats_before=before, seats_after=after)
    out = text(render.for_people(priced))
    assert "50.00 -> 75.00 EUR/month" in out and "21.00 -> 21.00 EUR/year" in out
    found = json.loads(b"".join(render.to_json(priced)))
    assert found["cost"][0] == {"currency": "EUR", "per": "month", "before": "50.00", "after": "75.00"}
    crm = next(each for each in found["seats"] if each["pool"] == "crm")
    assert (crm["used_before"], crm["used_after"], crm["limit"]) == (4, 6, 9)
