"""What a schema of the workspace's own calls unique, in runs: who cannot have it is set aside, nobody waits for her."""

from __future__ import annotations

from datetime import timedelta

from door_stage import Directory, Stage, policy
from syncd.core.schema import Attribute, Schema, Uniqueness
from syncd.core.types import Extension, extended
from syncd.reconcile.mapping import compile_mapping

URN = "urn:example:badge"
NUMBER = f"{URN}:number"


def test_of_two_entries_with_one_value_the_first_has_it_and_an_exchange_is_one_step(stage: Stage) -> None:
    types = extended([Extension(Schema(URN, "Badge", "", (Attribute("number", uniqueness=Uniqueness.SERVER),)))])
    stage.configure(sources={"corp": policy()}, types=types)
    mapping = compile_mapping({"userName": "uid", NUMBER: "employeeNumber"}, types=types)
    directory = Directory(mapping=mapping)
    for key, number in (("a", "1"), ("b", "1"), ("c", "2")):
        directory.hire(key, employeeNumber=number)
    first = stage.run(directory)
    assert (first.counts["create"], first.counts["set_aside"]) == (2, 1) and set(stage.statuses()) == {"a", "c"}

    def found() -> dict[str, str]:
        stage.later(hours=1)
        stage.run(directory)
        return {name: stage.named(name).values[NUMBER] for name in sorted(stage.statuses())}

    directory.people["a"]["employeeNumber"] = "9"
    assert found() == {"a": "9", "b": "1", "c": "2"}
    directory.people["a"]["employeeNumber"], directory.people["c"]["employeeNumber"] = "2", "9"
    assert found() == {"a": "2", "b": "1", "c": "9"}
    stage.later(hours=timedelta(days=2) / timedelta(hours=1))
    del directory.people["c"]  # who has left and is still there keeps it
    directory.people["b"]["employeeNumber"] = "9"
    assert found() == {"a": "2", "b": "1", "c": "9"}
