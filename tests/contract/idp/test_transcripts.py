"""Every transcript under its provider's policy, under the default, and without each tolerance that it takes."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.scim import dialects

from .conftest import TRANSCRIPTS, Stage, Stages, policy_of

TOLERATED = [
    name
    for name, transcript in TRANSCRIPTS.items()
    if "/lifecycle" not in name  # of what lifecycles send there are transcripts of their own
    if any(step.get("tolerances") for step in transcript["steps"])
]
ON_BOTH = {name for name in TRANSCRIPTS if "/lifecycle" in name} | {each.transcript for each in dialects.ALL}
ON_SQLITE = pytest.mark.parametrize("service", ["sqlite"], indirect=True, scope="module")


@pytest.mark.parametrize("name", sorted(ON_BOTH))
def test_what_a_provider_sends_is_answered_and_done(stages: Stages, name: str) -> None:
    _played(stages(name), name)


@ON_SQLITE
@pytest.mark.parametrize("name", [name for name in TRANSCRIPTS if name not in ON_BOTH])
def test_so_are_the_other_forms_of_it(stages: Stages, name: str) -> None:
    _played(stages(name), name)


@ON_SQLITE
@pytest.mark.parametrize("name", [name for name in TRANSCRIPTS if name != "entra/patch_unknown_extension"])
def test_the_default_policy_takes_it_too(stages: Stages, name: str) -> None:
    _played(stages(name, dialects.TOLERANT), name)


def _played(stage: Stage, name: str) -> None:
    for step in TRANSCRIPTS[name]["steps"]:
        stage.play(step)
    stage.see(TRANSCRIPTS[name].get("effect", {}))


@ON_SQLITE
@pytest.mark.parametrize("name", TOLERATED)
def test_without_its_tolerances_it_is_refused_and_changes_nothing(stages: Stages, name: str) -> None:
    """Under `rfc` with the error of RFC 7644, under a policy that lacks one of them with the error of that one."""
    stage = stages(name)
    own = policy_of(stage.provider)
    for index, step in enumerate(TRANSCRIPTS[name]["steps"]):
        taken = set(step.get("tolerances", ()))
        assert taken <= own
        assert ("under_rfc" in step) == bool(taken - dialects.POLICIES["rfc"])
        cases = [(own - {each}, _refusal(each, step)) for each in sorted(taken)]
        if "under_rfc" in step:
            cases.append((dialects.POLICIES["rfc"], step["under_rfc"]))
        before = stage.everything() if cases else None
        for tolerances, wanted in cases:
            refused = wanted["status"] >= 400
            asked = stage if refused else _before(stages, name, index)  # it is taken literally, and done
            asked.under(tolerances)
            found, _ = asked.ask(step)
            asked.expect(found, wanted)
        assert before is None or stage.everything() == before
        stage.under(own)
        stage.play(step)


def _before(stages: Stages, name: str, index: int) -> Stage:
    stage = stages(name)
    for earlier in TRANSCRIPTS[name]["steps"][:index]:
        stage.play(earlier)
    return stage


def _refusal(tolerance: str, step: dict[str, Any]) -> dict[str, Any]:
    refused = dialects.TOLERANCES[tolerance].refused
    if refused is None:
        return dict(step["otherwise"])
    return {"status": refused.status, "scimType": refused.scim_type}


@ON_SQLITE
@pytest.mark.parametrize("name", TOLERATED)
def test_a_strict_policy_takes_what_is_its_own_and_says_of_the_rest_what_to_do(stages: Stages, name: str) -> None:
    stage = stages(name)
    own = policy_of(stage.provider)
    for step in TRANSCRIPTS[name]["steps"]:
        taken = [dialects.TOLERANCES[each] for each in step.get("tolerances", ())]
        for strict in (dialects.POLICIES["rfc"], dialects.POLICIES["interop-strict"]):
            refused = [each for each in taken if each.name not in strict and each.refused is not None]
            stage.under(strict)
            if refused:
                found, _ = stage.ask(step)
                assert found.status_code == 400, found.text
                said = found.json()["detail"]
                assert any(each.instead in said and f"allow {each.name}" in said for each in refused), said
        stage.under(own if taken else strict)
        stage.play(step)
    stage.see(TRANSCRIPTS[name].get("effect"))


def test_every_transcript_says_where_it_was_seen_and_every_preset_has_some() -> None:
    assert all(each["about"] and each["seen"] and each["steps"] and each["effect"] for each in TRANSCRIPTS.values())
    assert {name.partition("/")[0] for name in TRANSCRIPTS} == {*dialects.PROVIDERS, "rfc", "others"}


def test_a_preset_holds_what_its_transcripts_take_and_no_more() -> None:
    for provider in dialects.PROVIDERS:
        taken = {
            tolerance
            for name, transcript in TRANSCRIPTS.items()
            for step in transcript["steps"]
            for tolerance in step.get("tolerances", ())
            if name.startswith(f"{provider}/")
        }
        assert dialects.POLICIES[provider] == taken | dialects.POLICIES["rfc"], provider


@pytest.mark.parametrize("tolerance", dialects.ALL, ids=lambda each: each.name)
def test_the_transcript_that_a_tolerance_names_takes_it(tolerance: dialects.Tolerance) -> None:
    steps = TRANSCRIPTS[tolerance.transcript]["steps"]
    assert any(tolerance.name in step.get("tolerances", ()) for step in steps)
