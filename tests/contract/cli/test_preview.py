"""`syncd plan SOURCE --config NEW.yaml --impact`: who would leave, or lose a role or a seat, before a change is saved."""

from __future__ import annotations

import re

from command_line import CONFIG, Cli
from syncd import sample


def test_a_narrower_base_and_another_rule_before_they_are_saved(synced: Cli, company: sample.Company) -> None:
    """Limits hold nothing back and hide nothing, whoever would be missing has left, and nothing is written."""
    gone = company.people[-12:]
    uuids = {one.uuid for one in gone}
    entries = (synced.folder / "corp.ldif").read_text(encoding="utf-8").split("\n\n")
    kept = [text for text in entries if not any(f"entryUUID: {uuid}" in text for uuid in uuids)]
    text = "\n\n".join(text for text in kept if not text.startswith("# numEntries"))
    (synced.folder / "narrow.ldif").write_text(
        f"{text.rstrip()}\n\n# numEntries: {len(re.findall('^dn:', text, re.M))}\n", encoding="utf-8"
    )
    changed = CONFIG.replace("path: corp.ldif", "path: narrow.ldif", 1)
    changed = changed.replace('display eq "crm-users"', 'display eq "nobody"')
    (synced.folder / "new.yaml").write_text(changed, encoding="utf-8")
    crm = {each["userName"] for each in synced("seat", "list", "crm", "--json").json if each["held"]}
    everybody = [each for each in synced("user", "list", "--json").out.splitlines()]

    preview = ["plan", "corp", "--impact", "--config", str(synced.folder / "new.yaml")]
    shown = synced(*preview, "--json", code=3).json
    assert (shown["status"], shown["dry_run"], shown["complete"], shown["held"]) == ("pending", True, True, [])
    by_kind: dict[str, set[str]] = {}
    for each in shown["changes"]:
        by_kind.setdefault(each["kind"], set()).add(each["subject"])
    assert by_kind["deactivate"] == {one.uid for one in gone}
    lost = {(each["subject"], each["before"]) for each in shown["changes"] if each["kind"] in ("revoke", "unseat")}
    assert {name for name, what in lost if what == "crm"} == crm
    assert {(name, "role crm-user") for name in crm} <= lost
    out = synced(*preview, code=3).out
    assert "Would take away" in out and gone[0].uid in out

    assert [each for each in synced("user", "list", "--json").out.splitlines()] == everybody
    assert synced("plan", "corp", "--json").json["status"] == "clean"


def test_an_unchanged_configuration_has_no_impact(synced: Cli) -> None:
    assert synced("plan", "corp", "--impact", "--json").json["changes"] == []


def test_rules_have_a_plan_of_their_own(synced: Cli) -> None:
    assert "syncd plan rules" in synced("plan", "rules", "--impact", code=None).err
