"""Runs of what changed: recorded as such, under the same guards, with the checkpoint in the last batch; whole when in doubt."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from changing import Changing, Person, Team, person_dn
from door_stage import AT_ONCE, NOON, Directory, Stage, policy, rule, user
from syncd.core.guards import Limit, Limits
from syncd.core.lifecycle import Ladder
from syncd.store import quarantine, retention, run_records, runs
from syncd.store import tables as t
from syncd.store.foreseen import Foreseen

KINDS = ("deactivate", "suspend", "delete", "role", "seat", "membership", "blank")


def company(stage: Stage, n: int = 8, floor: int = 100, ladder: Ladder = AT_ONCE) -> Changing:
    limits = Limits({kind: Limit(floor=floor) for kind in KINDS})
    stage.configure(
        sources={"corp": policy(limits=limits, ladder=ladder)},
        rules=(rule("crew", 'groups[display eq "crew"]', roles=("viewer",)),),
    )
    people = {f"k{number}": Person(f"p{number}", title="Clerk") for number in range(n)}
    teams = {"t": Team("crew", {person_dn(f"p{number}") for number in range(n)})}
    directory = Changing(people=people, teams=teams)
    first = stage.run(directory, delta=True)
    assert (first.kind, first.kind_why, first.status) == ("full", "it was never read whole", "applied")
    stage.later(days=2)
    return directory


def checkpoint(stage: Stage) -> str | None:
    (row,) = stage.rows(t.source_states, source="corp")
    return row.checkpoint


def test_only_what_changed_is_read_and_the_record_says_so(stage: Stage) -> None:
    directory = company(stage)
    directory.people["k1"].title = "Lead"
    directory.people["new"] = Person("p9")
    promised = stage.plan(directory, delta=True)
    assert checkpoint(stage) == "0"
    done = stage.run(directory, delta=True)
    assert [(each.kind, each.subject) for each in done.changes] == [("update", "p1"), ("create", "p9")]
    assert (done.kind, done.kind_why, done.digest) == ("delta", None, promised.digest)
    assert directory.asked_again == []
    with stage.database.reading() as conn:
        recorded = run_records.show_run(conn, "default", done.run)
    assert (recorded.kind, recorded.status) == ("delta", "applied")
    assert checkpoint(stage) == "2"
    nothing = stage.run(directory, delta=True)
    assert (nothing.kind, nothing.status, checkpoint(stage)) == ("delta", "clean", "3")
    (state,) = stage.rows(t.source_states, source="corp")
    assert state.last_delta_at == stage.now and state.last_complete_at == NOON


@pytest.mark.parametrize(
    ("doubt", "why"),
    [
        ("forgotten", "the checkpoint is not known any more"),
        ("configured", "its base, filter or mapping changed"),
        ("no checkpoint", "the last whole read left nothing to go on from; `syncd check` says why"),
        ("another kind", "this kind of source is always read whole"),
    ],
)
def test_whatever_cannot_vouch_for_itself_is_read_whole_and_says_why(stage: Stage, doubt: str, why: str) -> None:
    directory = company(stage)
    source: Any = directory
    match doubt:
        case "forgotten":
            directory.forgotten = True
        case "configured":
            stage.configure(sources={"corp": policy(digest="another")})
        case "no checkpoint":
            with stage.database.writing() as conn:
                conn.execute(t.source_states.update().values(checkpoint=None))
        case "another kind":
            source = Directory(people={"p": {"uid": "p", "cn": "P"}})
    report = stage.run(source, delta=True)
    assert (report.kind, report.kind_why) == ("full", why)
    assert f"everything was read: {why}" in report.notes
    with stage.database.reading() as conn:
        assert run_records.show_run(conn, "default", report.run).kind_why == why
    if doubt == "no checkpoint":
        assert stage.run(directory, delta=True).kind == "delta"


def test_more_people_reported_gone_than_may_go_are_looked_for_first(stage: Stage) -> None:
    directory = company(stage, floor=2)
    directory.present_phase = True
    hidden = {key: directory.people.pop(key) for key in ("k1", "k2", "k3")}
    promised = stage.plan(directory, delta=True)
    assert (promised.kind, promised.kind_why) == ("full", "3 of 8 users were reported gone at once")
    assert [each.kind for each in promised.held] == ["suspend"]
    directory.people |= hidden
    del directory.people["k1"]
    assert stage.run(directory, delta=True).kind == "delta"
    assert stage.statuses()["p1"] == "suspended"


def test_what_is_reported_gone_passes_the_same_guards(stage: Stage) -> None:
    directory = company(stage, floor=2)
    for key in ("k1", "k2", "k3"):
        directory.people[key].disabled = True
    directory.teams["t"].members.clear()
    report = stage.run(directory, delta=True)
    assert report.kind == "delta" and report.status == "held"
    assert {(each.guard, each.kind) for each in report.held} == {
        *(("limit", kind) for kind in ("deactivate", "membership", "role"))
    }
    assert set(stage.statuses().values()) == {"active"}
    # The checkpoint went on; what is held stays held, and a whole read judges it again.
    assert stage.run(directory, delta=True).kind == "delta"
    assert {kind for kind, _ in stage.kept()} >= {"deactivate", "membership"}
    assert stage.run(directory).status == "held"
    stage.approve(next(each.digest for each in report.held if each.kind == "deactivate"))
    assert sorted(name for name, status in stage.statuses().items() if status == "inactive") == ["p1", "p2", "p3"]


def test_a_delta_begins_the_ladder_and_whole_reads_climb_it(stage: Stage) -> None:
    directory = company(stage, ladder=Ladder())
    del directory.people["k1"]
    for _ in range(3):
        assert stage.run(directory, delta=True).kind == "delta"
        stage.later(days=2)
    (link,) = stage.rows(t.links, key="k1")
    assert (link.stage, link.missing_reads) == ("missing", 1)
    stage.run(directory)
    assert stage.statuses()["p1"] == "suspended"
    directory.people["k1"] = Person("p1", title="Clerk")
    stage.run(directory, delta=True)
    assert stage.statuses()["p1"] == "active"


@pytest.mark.parametrize("breaks_after", [0, 1, 2])
def test_a_delta_that_breaks_takes_nothing_and_is_read_again(stage: Stage, breaks_after: int) -> None:
    directory = company(stage)
    del directory.people["k1"]
    directory.people["k2"].title = None
    directory.teams["t"].members.discard(person_dn("p3"))
    directory.breaks_after = breaks_after
    report = stage.run(directory, delta=True)
    assert (report.status, report.incomplete_because) == ("incomplete", ("the connection broke",))
    assert checkpoint(stage) == "0"
    assert set(stage.statuses().values()) == {"active"}
    assert stage.named("p2").values["title"] == "Clerk" and stage.named("p3").groups
    directory.breaks_after = None
    report = stage.run(directory, delta=True)
    assert {each.kind for each in report.changes} >= {"suspend", "update", "leave"}


def test_the_checkpoint_moves_with_the_last_batch_and_not_before(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = company(stage)
    monkeypatch.setattr("syncd.store.plans.batch_size", lambda conn, workspace: 2)
    for number in range(6):
        directory.people[f"k{number}"].title = "Lead"

    class Killed(BaseException):
        pass

    class Killer:
        def step(self, name: str, done: int, total: int | None) -> None:
            if name == "apply" and done == 2:
                raise Killed

    for _ in range(2):  # the second one while it finishes the first
        with pytest.raises(Killed):
            stage.run(directory, delta=True, progress=Killer())
    runs_of_it = sorted(stage.rows(t.runs), key=lambda row: row.id)[-2:]
    assert [row.status for row in runs_of_it] == ["applying", "failed"]
    assert checkpoint(stage) == "0"
    assert sorted(stage.named(f"p{number}").values["title"] for number in range(6)) == ["Clerk"] * 2 + ["Lead"] * 4
    seen: list[str | None] = []
    s = t.source_states.c
    monkeypatch.setattr(
        "syncd.store.runs.leases.renew",
        lambda conn, *_: seen.append(conn.scalar(select(s.checkpoint).where(s.source == "corp"))),
    )
    directory.people["k7"].title = "Lead"
    report = stage.run(directory, delta=True)  # finishes the other one first, and goes on from where that one had read
    assert seen == ["0", "1"]
    assert [each.subject for each in report.changes] == ["p7"]
    assert checkpoint(stage) == "2"


def test_what_was_dropped_or_refused_is_looked_at_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = company(stage)
    stage.do(user("ann", name="p8"))
    directory.people["k8"] = Person("p8")  # whose name is taken
    directory.people["k2"].title = "Lead"
    directory.people["k3"].bad = True
    changed = stage.named("p2")

    class Meddler:
        def step(self, name: str, done: int, total: int | None) -> None:
            if name == "decide":
                stage.restate(changed.id, values={"nickName": "Bob"})

    report = stage.run(directory, delta=True, progress=Meddler())
    assert "1 changes were dropped" in " ".join(report.notes)
    assert {each.key for each in report.set_aside} == {"k3", "k8"}
    waiting = {row.key: row.tries for row in stage.rows(t.quarantine)}
    assert waiting == {"k2": 1, "k3": 1, "k8": 1}
    stage.restate("ann", values={"userName": "annie"}).check()
    again = stage.run(directory, delta=True)
    assert {(each.kind, each.subject) for each in again.changes} >= {("update", "p2"), ("create", "p8")}
    assert {row.key: row.tries for row in stage.rows(t.quarantine)} == {"k3": 2}
    assert stage.run(directory, delta=True).set_aside == ()  # its pause is not over
    stage.later(minutes=1)
    directory.people["k3"].bad = False
    assert stage.run(directory, delta=True).status == "clean"
    assert stage.rows(t.quarantine) == []


def test_pauses_double_up_to_six_hours() -> None:
    minutes = [quarantine.pause(tries).total_seconds() / 60 for tries in (1, 2, 3, 4, 5, 20, 2000)]
    assert minutes == [0, 1, 3, 7, 15, 360, 360]


def test_runs_that_found_nothing_are_not_kept_for_long(stage: Stage) -> None:
    directory = company(stage)
    for _ in range(3):
        stage.run(directory, delta=True)
        stage.later(days=3)
    directory.people["k1"].title = "Lead"
    stage.run(directory, delta=True)
    with stage.database.reading() as conn:
        figures = retention.figures(conn, retention.Retention(), stage.now)
    assert figures.get("polls") == 3


def test_what_deltas_did_not_tell_is_counted_by_the_whole_read_that_repairs_it(stage: Stage) -> None:
    directory = company(stage)
    assert stage.run(directory).drift == 0
    directory.silent_of = {"k1", "k2", "t"}
    directory.people["k1"].title = "Lead"
    del directory.people["k2"]
    directory.teams["t"].members.discard(person_dn("p3"))
    directory.people["k4"].title = "Lead"
    told = stage.run(directory, delta=True)
    assert ([each.subject for each in told.changes], told.drift) == (["p4"], None)
    assert stage.plan(directory).drift is None
    found = stage.run(directory)
    assert (found.drift, sorted({each.subject for each in found.changes})) == (3, ["p1", "p2", "p3"])
    with stage.database.reading() as conn:
        assert run_records.show_run(conn, "default", found.run).drift == 3
    (state,) = stage.rows(t.source_states, source="corp")
    assert state.drift == 3
    assert any(note.startswith("3 differences had not been told by deltas") for note in found.notes)
    assert stage.run(directory).drift == 0
    directory.forgotten = True
    assert stage.run(directory).drift is None
    (state,) = stage.rows(t.source_states, source="corp")
    assert state.drift == 0


def test_whoever_is_disabled_and_cannot_be_mapped_is_closed(stage: Stage) -> None:
    directory = company(stage)
    directory.people["k1"] = Person("p1", title="\udcff", disabled=True)
    report = stage.run(directory, delta=True)
    assert (report.kind, {each.kind for each in report.changes}) == ("delta", {"deactivate"})
    assert len(report.set_aside) == 1 and stage.named("p1").values["title"] == "Clerk"


def test_a_delta_of_one_batch_is_stored_and_applied_at_once_or_not_at_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = company(stage)
    directory.people["k1"].title = "Lead"
    written: list[int] = []

    def broken(*given: Any, **more: Any) -> None:
        written.append(len(stage.rows(t.run_items)))
        raise OSError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr("syncd.store.runs.apply", broken)
        stage.run(directory, delta=True)
    assert written == [0] and checkpoint(stage) == "0" and stage.named("p1").values["title"] == "Clerk"
    assert max(stage.rows(t.runs), key=lambda row: row.id).status == "failed"
    report = stage.run(directory, delta=True)
    assert ([each.subject for each in report.changes], report.notes, checkpoint(stage)) == (["p1"], (), "2")


@pytest.mark.parametrize("meanwhile", ["nobody writes", "the same process writes", "another one writes"])
def test_people_are_read_again_only_if_somebody_may_have_written(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    directory = company(stage)
    other = Stage(stage.url, stage.workspace, stage.now, first_id=5000)
    directory.people["k1"].title = directory.people["k2"].title = "Lead"
    compared: list[str] = []
    apply_items, people_are, hers = runs.apply_items, Foreseen._people_are, stage.named("p2").id

    def later(*given: Any, **more: Any) -> Any:
        if meanwhile != "nobody writes":
            (stage if meanwhile == "the same process writes" else other).restate(hers, values={"nickName": "Bob"})
        return apply_items(*given, **more)

    def counted(self: Foreseen, *given: Any) -> bool:
        compared.append(meanwhile)
        return people_are(self, *given)

    monkeypatch.setattr(runs, "apply_items", later)
    monkeypatch.setattr(Foreseen, "_people_are", counted)
    report = stage.run(directory, delta=True)
    other.close()
    trusted = meanwhile == "nobody writes" and stage.database.dialect == "sqlite"
    assert compared == ([] if trusted else [meanwhile])
    assert stage.named("p1").values["title"] == "Lead"
    dropped = meanwhile != "nobody writes"
    assert stage.named("p2").values["title"] == ("Clerk" if dropped else "Lead")
    assert any("1 changes were dropped" in note for note in report.notes) == dropped
