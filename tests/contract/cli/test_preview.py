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


def test_a_rule_that_denies_is_seen_before_it_is_saved_and_held_until_approved(synced: Cli) -> None:
    crm = {each["userName"] for each in synced("seat", "list", "crm", "--json").json}
    deny = "\n  - {name: nobody, mode: deny, when: userName pr, roles: [crm-user], seats: [crm]}\nworkspaces:"
    (synced.folder / "new.yaml").write_text(CONFIG.replace("\nworkspaces:", deny), encoding="utf-8")
    preview = ("plan", "corp", "--impact", "--config", str(synced.folder / "new.yaml"), "--json")
    changes = synced(*preview, code=3).json["changes"]
    lost = {(each["subject"], each["before"]) for each in changes if each["kind"] == "revoke"}
    assert lost == {(name, "role crm-user") for name in crm}
    assert {each["why"].partition(":")[0] for each in changes if each["kind"] == "revoke"} == {"denied by rule nobody"}

    (synced.folder / "syncd.yaml").write_text(CONFIG.replace("\nworkspaces:", deny), encoding="utf-8")
    who = sorted(crm)[0]
    synced("user", "grant", who, "--permission", "nav.crm")
    assert "crm-user" in [each["value"] for each in synced("user", "show", who, "--json").json["roles"]], (
        "not unguarded"
    )
    held = synced("sync", "rules", "--json", code=4).json["held"]
    assert {each["kind"] for each in held} == {"role", "seat"}
    for each in held:
        synced("runs", "approve", each["digest"])
    out = synced("explain", who).out
    assert "Denied, whatever gives it" in out and "rule nobody" in out
    found = synced("user", "show", who, "--json").json
    assert "crm-user" not in [each["value"] for each in found["roles"]]
    assert [each["value"] for each in found["seats"] + found["waiting"]] == ["internal"]
    synced("user", "grant", who, "--role", "crm-user", "--override", "--expires", "7d", "--reason", "hand-over week")
    assert "override by" in synced("explain", who).out
    assert "only for a time" in synced("user", "grant", who, "--role", "crm-user", "--override", code=2).err
