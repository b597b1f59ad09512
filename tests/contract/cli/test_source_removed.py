"""A directory that is taken out of the configuration lets go of whom it stated: nobody is deleted, suspended or emptied."""

from __future__ import annotations

import re

from command_line import CONFIG, Cli


def test_whom_a_removed_source_stated_stays_until_somebody_says_otherwise(synced: Cli) -> None:
    people = synced("user", "list", "--json").out
    name = synced("seat", "list", "internal", "--json").json[0]["userName"]
    had = synced("explain", name, "--json").json
    without = re.sub(r"  corp:\n    kind: ldif\n    path: corp.ldif\n(    .*\n)*", "", CONFIG, count=1)
    assert without != CONFIG
    (synced.folder / "syncd.yaml").write_text(without, encoding="utf-8")

    assert "no source 'corp'" in synced("sync", "corp", code=2).err
    counts = synced("plan", "rules", "--json", code=None).json["counts"]
    assert [counts[kind] for kind in ("deactivate", "suspend", "delete", "leave", "group_delete")] == [0] * 5
    assert synced("user", "list", "--json").out == people
    has = synced("explain", name, "--json").json
    for what in ("status", "values", "roles", "seats", "groups"):
        assert has[what] == had[what]

    (synced.folder / "syncd.yaml").write_text(CONFIG, encoding="utf-8")
    assert synced("plan", "corp", "--json").json["status"] == "clean", "it takes up where it left off"
