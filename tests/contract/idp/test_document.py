"""docs/scim.md shows the tolerances and policies that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from syncd import wire
from syncd.core import cursor, filter_text
from syncd.core.connection import Access
from syncd.core.schema import ENTERPRISE_USER
from syncd.scim import dialects, discovery, groups, later, messages, patch, references, statements
from syncd.store import requests

from .conftest import Stages

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


def test_the_limits_that_it_names_are_those_that_there_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").split("\n## Limits\n", 1)[1].split("\n## ", 1)[0]
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    named = {
        "the address and the headers of a request, each and together": (wire.HEAD_BYTES,),
        "the time in which all of a request is sent": (wire.REQUEST_S,),
        "a body": (discovery.MAX_PAYLOAD_BYTES, discovery.MAX_BULK_BYTES),
        "operations": (messages.MAX_OPERATIONS, references.MAX_OPERATIONS),
        "operations of one PATCH on long lists": (patch.MAX_VALUES_SEEN,),
        'conditions of members in one PATCH of a group, other than `value eq "..."`': (groups.MAX_CONDITIONS,),
        "`attributes`, `excludedAttributes`": (messages.MAX_NAMES,),
        "JSON": (messages.MAX_DEPTH,),
        "userName, externalId, a group's displayName": (statements.INDEXED_BYTES,),
        "a filter": (filter_text.MAX_LENGTH, filter_text.MAX_COMPARISONS, filter_text.MAX_DEPTH),
        "a page": (discovery.MAX_RESULTS, discovery.DEFAULT_RESULTS),
        "a cursor": (cursor.TIMEOUT_S,),
        "`Prefer: wait=N`": (later.MAX_WAIT_S,),
        "asynchronous requests that wait, of one connection": (requests.WAITING, requests.WAITING_BYTES // 1024**2),
        "requests": (int(Access().rate_per_s),),
    }
    assert rows.keys() - {"of"} == named.keys()
    for what, numbers in named.items():
        assert [number for number in numbers if f"{number:,}" not in rows[what]] == [], what


@pytest.mark.parametrize("service", ["sqlite"], indirect=True, scope="module")
def test_onelogin_s_template_of_the_guide_makes_a_user_and_what_it_leaves_empty_is_nothing(stages: Stages) -> None:
    guide = DOCUMENT.with_name("identity-providers.md").read_text(encoding="utf-8")
    template = guide.split("```json\n", 1)[1].split("```", 1)[0]
    stage = stages("onelogin/template")

    def made(**known: str) -> dict[str, Any]:
        body = re.sub(r"\{\$\w+\.(\w+)\}", lambda macro: known.get(macro[1], ""), template)
        answer = stage.send("POST", "/Users", json.dumps(json.loads(body)).encode())
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = stage.send("GET", f"/Users/{answer.json()['id']}").json()
        return found

    ada = made(scimusername="ada", firstname="Ada", phone="+44 20", department="Engines", title="Analyst")
    assert (ada["userName"], ada["title"], ada["name"]) == ("ada", "Analyst", {"givenName": "Ada"})
    assert (ada["phoneNumbers"], ada[ENTERPRISE_USER]) == (
        [{"value": "+44 20", "type": "work"}],
        {"department": "Engines"},
    )
    assert made(scimusername="bob").keys() == {"schemas", "id", "meta", "userName", "active"}
