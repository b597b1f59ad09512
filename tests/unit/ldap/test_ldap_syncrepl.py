"""RFC 4533's controls and messages: what is well-formed is read, and nothing else is believed."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.ldap import ber, syncrepl
from syncd.ldap.syncrepl import Keys, Named, NewCookie, Over, PhaseOver

KEY = uuid.UUID("8c38fb29-18f1-45d2-9f55-7203301850c5")
STATE, DONE, INFO = (f"1.3.6.1.4.1.4203.1.9.1.{number}" for number in (2, 3, 4))
TRUE, FALSE = b"\x01\x01\xff", b"\x01\x01\x00"


def octets(content: bytes) -> bytes:
    return ber.element(ber.OCTETS, content)


def sequence(*parts: bytes) -> bytes:
    return ber.element(ber.SEQUENCE, b"".join(parts))


def entry(state: bytes | None) -> dict[str, Any]:
    controls = {} if state is None else {STATE: {"value": state}}
    return {"type": "searchResEntry", "raw_dn": b"uid=a", "raw_attributes": {"uid": [b"a"]}, "controls": controls}


def info(value: bytes, name: str = INFO) -> dict[str, Any]:
    return {"type": "intermediateResponse", "responseName": name, "responseValue": value}


def done(value: bytes | None, code: int = 0) -> dict[str, Any]:
    controls = None if value is None else {DONE: {"value": value}}
    return {"type": "searchResDone", "result": code, "description": "d", "message": "m\0", "controls": controls}


def test_a_request_is_mode_and_cookie() -> None:
    assert syncrepl.request(syncrepl.REFRESH_ONLY, None) == sequence(b"\x0a\x01\x01")
    assert syncrepl.request(syncrepl.REFRESH_AND_PERSIST, b"c") == sequence(b"\x0a\x01\x03", octets(b"c"))


@pytest.mark.parametrize("state", range(4))
@pytest.mark.parametrize("cookie", [None, b"", b"c" * 300])
def test_an_entry_has_a_state_a_key_and_may_have_a_cookie(state: int, cookie: bytes | None) -> None:
    value = sequence(bytes([10, 1, state]), octets(KEY.bytes), *([octets(cookie)] if cookie is not None else []))
    assert syncrepl.told(entry(value)) == Named(state, str(KEY), b"uid=a", {"uid": [b"a"]}, cookie)


@given(st.lists(st.uuids(), max_size=5), st.sampled_from([None, False, True]), st.none() | st.binary(max_size=9))
def test_id_sets_say_who_is_there_or_deleted(ids: list[uuid.UUID], deletes: bool | None, cookie: bytes | None) -> None:
    parts = [] if cookie is None else [octets(cookie)]
    parts += [] if deletes is None else [TRUE if deletes else FALSE]
    keys = ber.element(ber.SET, b"".join(octets(each.bytes) for each in ids))
    said = syncrepl.told(info(ber.element(0xA3, b"".join(parts) + keys)))
    assert said == Keys(bool(deletes), tuple(map(str, ids)), cookie)


def test_phases_end_and_cookies_are_renewed() -> None:
    assert syncrepl.told(info(ber.element(0x80, b"c"))) == NewCookie(b"c")
    assert syncrepl.told(info(ber.element(0xA1, b""))) == PhaseOver(False, True, None)
    assert syncrepl.told(info(ber.element(0xA2, octets(b"c") + FALSE))) == PhaseOver(True, False, b"c")


def test_the_end_says_what_of_those_who_were_not_named() -> None:
    assert syncrepl.told(done(sequence(TRUE))) == Over(0, "d", "m", False, None)
    assert syncrepl.told(done(sequence(octets(b"c")))) == Over(0, "d", "m", True, b"c")
    over = syncrepl.told(done(None, 4096))
    assert over == Over(4096, "d", "m", None, None) and isinstance(over, Over) and over.outcome == "d (4096): m"


@pytest.mark.parametrize(
    "answer",
    [
        entry(None),
        entry(b""),
        entry(sequence(b"\x0a\x01\x04", octets(KEY.bytes))),
        entry(sequence(b"\x0a\x01\x01", octets(KEY.bytes[:15]))),
        entry(sequence(b"\x0a\x01\x01", octets(KEY.bytes), TRUE)),
        info(b""),
        info(ber.element(0x80, b"c"), "1.2.3"),
        info(ber.element(0xA4, b"")),
        info(ber.element(0xA1, TRUE + TRUE)),
        info(ber.element(0xA3, b"")),
        info(ber.element(0xA3, ber.element(ber.SET, TRUE))),
        info(ber.element(0xA3, ber.element(ber.SET, octets(b"short")))),
        done(b"\x04\x00"),
        done(sequence(octets(b"c"), TRUE, TRUE)),
        {"type": "extendedResp"},
    ],
)
def test_what_is_not_of_the_protocol_is_malformed(answer: dict[str, Any]) -> None:
    with pytest.raises(ber.Malformed):
        syncrepl.told(answer)


@given(st.integers(0, 255), st.binary(max_size=300))
def test_an_element_is_what_elements_reads(tag: int, content: bytes) -> None:
    assert ber.elements(ber.element(tag, content)) == [(tag, content)]
