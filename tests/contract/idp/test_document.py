"""docs/scim.md shows the tolerances and policies that there are."""

from __future__ import annotations

from pathlib import Path

from syncd.scim import dialects

DOCUMENT = Path(__file__).parents[3] / "docs" / "scim.md"


def section() -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.split("\n## Tolerances\n", 1)[1].split("\n## ", 1)[0].splitlines()


def row(tolerance: dialects.Tolerance) -> str:
    refused = f"400 `{tolerance.refused.scim_type}`" if tolerance.refused else "taken literally"
    if tolerance.meant is not None:
        refused = "the value is replaced whole"
    presets = [name for name in dialects.PROVIDERS if name in tolerance.policies]
    held = "all but interop-strict" if tolerance.name in dialects.POLICIES["rfc"] else ", ".join(presets)
    if tolerance.name not in dialects.TOLERANT:
        held += " only, not tolerant"
    transcript = f"[{tolerance.transcript}](../tests/contract/idp/{tolerance.transcript}.json)"
    return f"| `{tolerance.name}` | {tolerance.what} | {held} | {refused} | {transcript} | {tolerance.seen} |"


def test_the_table_of_tolerances_is_the_data() -> None:
    shown = [line for line in section() if line.startswith("| `") and line.count("|") > 5]
    assert shown == [row(each) for each in dialects.ALL]


def test_every_policy_is_explained() -> None:
    text = "\n".join(section())
    assert [name for name in dialects.NAMES if f"`{name}`" not in text] == []
