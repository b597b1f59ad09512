"""Webhooks from the door to a real receiver: what is told, to whom, signed how, again when, and in which order."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.deliver.conftest import SECRET, Post
from door_stage import owner, rule, user
from receiver import Got, wait_for
from syncd.core.actor import Actor
from syncd.core.change import UserEdit
from syncd.core.seats import Pool
from syncd.core.state import Grant
from syncd.deliver import signing
from syncd.deliver.courier import MARGIN, Pauses
from syncd.errors import Conflict, NotFound
from syncd.store import deliveries, retention
from syncd.store import tables as t

DOCUMENT = Path(__file__).parents[3] / "docs" / "offboarding.md"


def verifier() -> tuple[Callable[..., str], type[Exception]]:
    """The one of docs/offboarding.md, as it stands there."""
    [code] = [each for each in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S) if "def verify" in each]
    found: dict[str, Any] = {}
    exec(code, found)
    return found["verify"], found["NotFromSyncd"]


VERIFY, NOT_FROM_SYNCD = verifier()


def verified(post: Post, got: Got, *secrets: str) -> str:
    return VERIFY(secrets or (SECRET,), got.headers, got.body, post.stage.now.timestamp())


# -- what is told ------------------------------------------------------------------------------------------------------------


def test_who_loses_access_is_told_and_acknowledged(post: Post) -> None:
    stage = post.stage
    stage.configure(pools={"desk": Pool("desk", 5)})
    seat = Grant("seat", "desk", "direct", "root")
    role = Grant("role", "viewer", "direct", "root")
    stage.do(user("boss", grant=(owner(),)), user("u1", grant=(seat, role)), user("u2", grant=(seat, role)))
    post.start()
    post.suspend("u1")
    post.acknowledged(1)
    [got] = post.receiver.got
    assert verified(post, got) == got.id == post.ledger()[0].id
    assert got.headers["content-type"] == "application/json" and got.headers["user-agent"].startswith("syncd/")
    assert got.said["type"] == "user.suspended"
    assert got.said["timestamp"] == "2026-05-04T12:00:00Z"
    assert got.said["data"]["user"] == {"id": "u1", "workspace": "default", "status": "suspended", "version": 2}
    assert got.said["data"]["end_sessions"] is True
    assert got.said["data"]["lost"] == {"roles": [], "permissions": [], "data_scopes": [], "seats": ["desk"]}
    assert b"badge" not in got.body, "a reason that somebody typed goes nowhere"
    post.lift("u1")
    stage.do(UserEdit("u2", "local", revoke=(role.id, seat.id)))
    post.acknowledged(2)
    assert post.receiver.got[1].said["type"] == "user.access_revoked"
    assert post.receiver.got[1].said["data"]["end_sessions"] is False
    assert post.receiver.got[1].said["data"]["lost"]["roles"] == ["viewer"]
    assert post.receiver.got[1].said["data"]["lost"]["seats"] == ["desk"]
    stage.restate("u2", enabled=False).check()
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}))
    post.acknowledged(4)
    assert sorted(post.receiver.types()[2:]) == ["user.deactivated", "user.deleted"]


def test_what_takes_nothing_away_is_told_to_nobody(lite: Post) -> None:
    stage = lite.stage
    twice = [Grant("role", "viewer", "direct", name) for name in ("root", "ann")]
    stage.do(user("u1", grant=tuple(twice)), user("u2", enabled=False))
    stage.restate("u1", values={"title": "chair"}).check()
    stage.do(UserEdit("u1", "local", revoke=(twice[0].id,)))  # which she has by another way
    stage.do(UserEdit("u1", "local", facts={"locked_until": stage.now + timedelta(hours=1)}))
    stage.restate("u2", enabled=True).check()
    assert lite.ledger() == []


def test_a_changed_rule_and_a_lost_seat_are_told(lite: Post) -> None:
    stage = lite.stage
    stage.configure(
        rules=(rule("staff", 'title eq "chair"', roles=("member",), seats=("desk",)),), pools={"desk": Pool("desk", 1)}
    )
    stage.do(user("u1", values={"title": "chair"}))
    stage.restate("u1", values={"title": "bench"}).check()
    lite.start()
    lite.acknowledged(1)
    assert lite.receiver.got[0].said["data"]["lost"] == {
        **{"roles": ["member"], "permissions": [], "data_scopes": [], "seats": ["desk"]}
    }


def test_a_permission_that_denies_takes_something_away(lite: Post) -> None:
    allowed, denied = (Grant("permission", value, "direct", "root") for value in ("crm.view", "!crm.view"))
    lite.stage.do(user("u1", grant=(allowed,)))
    lite.stage.do(UserEdit("u1", "local", grant=(denied,)))
    lite.start()
    lite.acknowledged(1)
    assert lite.receiver.got[0].said["data"]["lost"]["permissions"] == ["crm.view"]
    lite.stage.do(UserEdit("u1", "local", revoke=(denied.id,)))
    assert lite.ledger("outstanding") == []


def test_sessions_are_revoked_without_anything_else(post: Post) -> None:
    stage = post.stage
    stage.do(user("u1", name="rosa"))
    actor = Actor("cli", "root", "default")
    with stage.database.writing() as conn:
        deliveries.revoke_sessions(conn, stage.workspace, actor, "u1", "a laptop was stolen", stage.now, stage.ids)
    post.start()
    post.acknowledged(1)
    assert post.receiver.got[0].said["type"] == "user.sessions_revoked"
    assert post.receiver.got[0].said["data"]["end_sessions"] is True
    assert stage.activity("sessions_revoke") == [("sessions_revoke", "rosa", "a laptop was stolen")]
    with pytest.raises(NotFound), stage.database.writing() as conn:
        deliveries.revoke_sessions(conn, stage.workspace, actor, "nobody", "", stage.now, stage.ids)


# -- until it is acknowledged ----------------------------------------------------------------------------------------------


def test_it_comes_again_until_it_is_acknowledged(post: Post) -> None:
    post.stage.do(user("u1"))
    post.receiver.answer = lambda _: (500, {}, "database \x07 down")
    post.start()
    post.suspend("u1")
    post.failed()
    [told] = post.ledger("outstanding")
    assert (told.last_status, told.last_error) == (500, "answered 500: database ? down")
    assert told.next_at is not None
    assert timedelta(seconds=8) <= told.next_at - post.stage.now <= timedelta(seconds=12)
    post.stage.later(seconds=13)
    post.failed(attempts=2)
    assert (again := post.ledger("outstanding")[0].next_at) is not None
    assert timedelta(seconds=16) <= again - post.stage.now <= timedelta(seconds=24)
    post.receiver.answer = lambda _: 200
    post.stage.later(seconds=25)
    post.acknowledged(1)
    first, second, third = post.receiver.got
    assert first.id == second.id == third.id and first.body == second.body == third.body
    assert verified(post, third) == third.id
    with pytest.raises(NOT_FROM_SYNCD, match="too old"):
        VERIFY([SECRET], first.headers, first.body, first_sent(first) + signing.WINDOW_S + 1)


def first_sent(got: Got) -> int:
    return int(got.headers["webhook-timestamp"])


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ((302, {"Location": "http://127.0.0.1:1/"}, ""), 302, "answered 302, a redirect: give the address"),
        ((404, {}, ""), 404, "answered 404"),
        ((400, {}, "x" * 5000), 400, "answered 400: xxx"),
    ],
)
def test_only_2xx_acknowledges(lite: Post, answer: Any, status: int, error: str) -> None:
    lite.stage.do(user("u1"))
    lite.receiver.answer = lambda _: answer
    lite.start()
    lite.suspend("u1")
    lite.failed()
    [told] = lite.ledger("outstanding")
    assert told.last_status == status
    assert told.last_error is not None and told.last_error.startswith(error) and len(told.last_error) < 400
    assert len(lite.receiver.got) == 1


def test_who_does_not_answer_in_time_has_not_acknowledged(lite: Post) -> None:
    lite.stage.do(user("u1"))
    going_on = threading.Event()
    lite.receiver.answer = lambda _: 200 if going_on.wait(20) else 500
    lite.start(timeout_s=0.2)
    lite.suspend("u1")
    lite.failed()
    assert lite.ledger("outstanding")[0].last_error == "no answer within 0.2 s"
    going_on.set()


def test_nobody_there(lite: Post) -> None:
    lite.stage.do(user("u1"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lite.start(url=f"http://127.0.0.1:{free.getsockname()[1]}/")
        lite.suspend("u1")
        lite.failed()
    [told] = lite.ledger("outstanding")
    assert told.last_status is None and told.last_error is not None and "ConnectError" in told.last_error


def test_retry_after_is_obeyed_up_to_the_longest_pause(lite: Post) -> None:
    lite.stage.do(user("u1"), user("u2"))
    lite.receiver.answer = lambda got: (429, {"Retry-After": "120" if got.user == "u1" else "999999999999"}, "")
    lite.start()
    lite.suspend("u1", "u2")
    lite.failed()
    pauses = sorted(each.next_at - lite.stage.now for each in lite.ledger("outstanding") if each.next_at)
    assert pauses == [timedelta(seconds=120), timedelta(minutes=10)]


def test_pauses_double_up_to_the_longest() -> None:
    pauses = Pauses(timedelta(seconds=5), timedelta(hours=1))
    assert [pauses.after(n, 0.5).total_seconds() for n in (1, 2, 3, 10, 11, 10**6)] == [5, 10, 20, 2560, 3600, 3600]
    assert pauses.after(1, 0) == timedelta(seconds=4) and pauses.after(1, 1) == timedelta(seconds=6)
    assert pauses.longest >= pauses.after(10**6, 1)


# -- order --------------------------------------------------------------------------------------------------------------------


def test_of_one_user_in_order_while_others_go_on(post: Post) -> None:
    stage = post.stage
    stage.do(user("u1"), user("u2"))
    post.receiver.answer = lambda got: 503 if got.user == "u1" else 200
    post.suspend("u1")
    post.lift("u1")
    stage.do(UserEdit("u1", "local", facts={"deleted_at": stage.now}))
    post.suspend("u2")
    post.start()
    post.acknowledged(1)
    wait_for(lambda: any(each.last_error for each in post.ledger("outstanding")), post.ledger)
    assert {each.user: each.said["type"] for each in post.receiver.got} == {
        "u1": "user.suspended",
        "u2": "user.suspended",
    }
    post.receiver.answer = lambda _: 200
    stage.later(minutes=11)
    post.acknowledged(3)
    mine = [each.said for each in post.receiver.got if each.user == "u1"]
    assert [each["type"] for each in mine] == ["user.suspended", "user.suspended", "user.deleted"]
    assert [each["data"]["user"]["version"] for each in mine] == [2, 2, 4]


def test_two_couriers_send_nothing_twice(post: Post) -> None:
    people = [f"u{n:02d}" for n in range(30)]
    post.stage.do(*(user(id) for id in people))
    post.suspend(*people)
    post.start()
    post.start()
    post.acknowledged(30)
    assert sorted(each.user for each in post.receiver.got) == people


def test_a_receiver_that_comes_back_gets_all_that_waited_at_once(lite: Post) -> None:
    people = [f"u{n:02d}" for n in range(9)]
    lite.stage.do(*(user(id) for id in people))
    lite.receiver.answer = lambda _: 503
    lite.start()
    lite.suspend(*people)
    lite.failed()
    lite.receiver.answer = lambda _: 200
    lite.stage.later(seconds=8)  # of nine pauses from 8 s to 12 s the shortest may be over
    with lite.stage.database.writing() as conn:
        deliveries.retry(conn, "default", lite.ledger()[0].id, lite.stage.now)
    lite.acknowledged(9)


def test_what_is_refused_for_itself_is_not_hurried_by_others(lite: Post) -> None:
    lite.stage.do(user("u1"), user("u2"), user("u3"))
    lite.receiver.answer = lambda got: 422 if got.user == "u1" else 503
    lite.start()
    lite.suspend("u2")
    lite.failed()
    lite.suspend("u1")
    wait_for(lambda: any(each.last_status == 422 for each in lite.ledger()), lite.ledger)
    lite.receiver.answer = lambda got: 422 if got.user == "u1" else 200
    lite.suspend("u3")
    lite.acknowledged(2)
    [told] = lite.ledger("outstanding")
    assert (told.user_id, told.attempts) == ("u1", 1)


# -- whatever happens -------------------------------------------------------------------------------------------------------


def test_what_was_on_its_way_when_everything_ended_is_sent_again(post: Post) -> None:
    stage = post.stage
    stage.do(user("u1"))
    post.suspend("u1")
    with stage.database.writing() as conn:  # a courier that is killed after this
        until = stage.now + MARGIN
        [taken] = deliveries.take(conn, "default", "app", stage.now, until, 8, timedelta(hours=2))
    with stage.database.writing() as conn:
        assert deliveries.take(conn, "default", "app", stage.now, until, 8, timedelta(hours=2)) == []
    stage.later(seconds=MARGIN.total_seconds())
    post.start()
    post.acknowledged(1)
    assert [each.id for each in post.receiver.got] == [taken.id]
    assert post.ledger()[0].attempts == 2


def test_the_end_waits_for_what_is_on_its_way(lite: Post) -> None:
    lite.stage.do(user("u1"))
    arrived, going_on = threading.Event(), threading.Event()

    def answer(_: Got) -> int:
        arrived.set()
        return 200 if going_on.wait(20) else 500

    lite.receiver.answer = answer
    courier = lite.start()
    lite.suspend("u1")
    assert arrived.wait(20)
    ending = threading.Thread(target=courier.stop)
    ending.start()
    going_on.set()
    ending.join(20)
    assert not ending.is_alive()
    assert [each.state for each in lite.ledger()] == ["acknowledged"]


def test_a_clock_that_was_ahead_delays_nothing(lite: Post) -> None:
    lite.stage.do(user("u1"))
    lite.stage.later(days=300)
    lite.suspend("u1")
    lite.stage.later(days=-300)
    lite.start()
    lite.acknowledged(1)


def test_secrets_are_changed_without_a_gap(lite: Post) -> None:
    new = signing.written(b"n" * 32)
    lite.stage.do(user("u1"), user("u2"))
    lite.suspend("u1")
    lite.start(secrets=(new, SECRET))
    lite.acknowledged(1)
    [got] = lite.receiver.got
    assert verified(lite, got, SECRET) == verified(lite, got, new) == verified(lite, got, new, SECRET) == got.id
    lite.stop()
    lite.start(secrets=(new,))
    lite.suspend("u2")
    lite.acknowledged(2)
    with pytest.raises(NOT_FROM_SYNCD, match="no secret"):
        verified(lite, lite.receiver.got[1], SECRET)
    assert verified(lite, lite.receiver.got[1], new) == lite.receiver.got[1].id
    for changed in ({"webhook-id": "other"}, {"webhook-timestamp": "x"}, {"webhook-signature": ""}):
        with pytest.raises(NOT_FROM_SYNCD):
            VERIFY([new], {**lite.receiver.got[1].headers, **changed}, got.body, lite.stage.now.timestamp())


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification, version 1.0."""
    key = signing.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    told = signing.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    for wrong in ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_!"):
        with pytest.raises(ValueError, match="syncd deliveries secret"):
            signing.key_of(wrong)


# -- the ledger -------------------------------------------------------------------------------------------------------------


def test_people_may_hurry_it_or_give_it_up_on_record(post: Post) -> None:
    stage = post.stage
    stage.do(user("u1", name="rosa"), user("u2"), user("u3"))
    post.receiver.answer = lambda _: 500
    post.start()
    post.suspend("u1", "u2")
    post.failed()
    post.stop()
    one, other = post.ledger("outstanding")
    actor = Actor("cli", "root", "default")
    with stage.database.writing() as conn:
        assert deliveries.retry(conn, "default", one.id, stage.now).next_at == stage.now
        assert deliveries.discard(conn, actor, [other.id], None, "the old application", stage.now, stage.ids) == 1
    assert [each.state for each in post.ledger()] == ["outstanding", "discarded"]
    assert stage.activity("delivery_discard") == [("delivery_discard", "u2", "the old application")]
    with pytest.raises(NotFound), stage.database.writing() as conn:
        deliveries.discard(conn, actor, [other.id], None, "", stage.now, stage.ids)
    with pytest.raises(Conflict), stage.database.writing() as conn:
        deliveries.retry(conn, "default", other.id, stage.now)
    with stage.database.reading() as conn:
        [owed] = deliveries.owed(conn, ["default", "other"])["default"]
    assert (owed.webhook, owed.outstanding, owed.since, owed.why) == ("app", 1, stage.now, "answered 500")
    with stage.database.writing() as conn:
        assert deliveries.discard(conn, actor, [], "app", "", stage.now, stage.ids) == 1
        assert deliveries.owed(conn, ["default"]) == {}


def test_an_event_is_kept_as_long_as_it_is_owed(lite: Post) -> None:
    stage, policy = lite.stage, retention.Retention()
    stage.do(user("u1"))
    with stage.database.writing() as conn:
        conn.execute(t.outbox.delete())
    lite.suspend("u1")
    stage.later(days=100)

    def old(kind: str) -> int:
        with stage.database.reading() as conn:
            return len(retention.old(conn, kind, policy, stage.now))

    assert (old("outbox_undelivered"), old("deliveries")) == (0, 0)
    lite.start()
    lite.acknowledged(1)
    assert (old("outbox_undelivered"), old("deliveries")) == (1, 0)
    stage.later(days=8)
    assert (old("outbox_undelivered"), old("deliveries")) == (1, 1)
