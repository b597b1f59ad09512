"""Letters from a change to a real mail server: what they say, to whom, over TLS, refused, tried again, given up."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from door_stage import Stage, owner, policy, user
from post_office import PostOffice, post_office
from receiver import wait_for
from servers.slapd import authority
from syncd.core.actor import Actor
from syncd.core.mail import Envelope, address_of, is_address, language_of, shown_name
from syncd.core.offboarding import MANAGER
from syncd.core.secret import Secret
from syncd.core.state import Grant
from syncd.deliver import letters, postman
from syncd.deliver.courier import Pauses
from syncd.deliver.postman import Postman, Server
from syncd.errors import Conflict, NotFound
from syncd.store import mails, offboarding, retention
from syncd.store import tables as t
from syncd.store.mails import Mail, Sending
from syncd.timers import Timers

DAY = timedelta(days=1)
ROOT = Actor("cli", "root", "default")


@dataclass
class Office:
    """Rosa and her manager Clara, and a postman on the test's clock."""

    stage: Stage
    server: PostOffice
    templates: letters.Templates = field(default_factory=lambda: letters.read(None))
    _postmen: list[Postman] = field(default_factory=list)

    def start(self, port: int = 0, **more: Any) -> Postman:
        made = Postman(
            self.stage.database,
            {"default": self.stage.workspace},
            Server("127.0.0.1", port or self.server.port, "none", "syncd <syncd@example.org>", timeout_s=5),
            self.templates,
            Sending("Example CRM", "https://syncd.example.org", UTC),
            lambda: self.stage.now,
            pauses=Pauses(timedelta(minutes=1), timedelta(hours=1)),
            poll_s=0.02,
            **more,
        )
        self._postmen.append(made)
        made.start()
        return made

    def stop(self) -> None:
        for each in self._postmen:
            each.stop()
        self._postmen.clear()

    def tick(self) -> None:
        Timers(self.stage.database, {"default": self.stage.workspace}, lambda: self.stage.now, self.stage.ids).tick()

    def leave(self, at: datetime | None = None) -> None:
        with self.stage.database.writing() as conn:
            rosa = self.stage.user("rosa")
            offboarding.schedule(
                conn, self.stage.workspace, ROOT, rosa, at, None, "moves on", self.stage.now, self.stage.ids
            ).check()
        self.tick()

    def list(self, state: str | None = None) -> list[Mail]:
        with self.stage.database.reading() as conn:
            return mails.listed(conn, "default", state)

    def ended(self, *states: str) -> None:
        wait_for(lambda: [each.state for each in self.list()] == list(states), self.list)


def _office(url: str) -> Iterator[Office]:
    stage = Stage(url)
    stage.configure(sources={"corp": policy()}, warn_before=(3 * DAY, DAY), mails=True)
    clara = {"displayName": "Clara Z", "emails": [{"value": "clara@example.org"}], "preferredLanguage": "de-AT"}
    role = Grant("role", "member", "direct", "root")
    stage.do(user("boss", grant=(owner(),)), user("clara", values=clara))
    stage.do(user("rosa", "corp", values={MANAGER: "clara", "displayName": "Rosa & Co"}, grant=(role,)))
    stage.do(user("karl", values={MANAGER: "rosa"}))
    with post_office() as server:
        made = Office(stage, server)
        yield made
        made.stop()
    stage.close()


@pytest.fixture
def office(database_url: str) -> Iterator[Office]:
    yield from _office(database_url)


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Office]:
    yield from _office(f"sqlite:///{tmp_path / 'syncd.db'}")


def test_a_manager_is_written_to(office: Office) -> None:
    office.start()
    office.leave(office.stage.now + 2 * DAY)
    office.ended("sent")
    [told] = office.server.taken
    assert told["Subject"] == "Rosa & Co leaves on 2026-05-06 12:00 UTC"
    assert (told["To"], told["From"]) == ("clara@example.org", "syncd <syncd@example.org>")
    assert told["Auto-Submitted"] == "auto-generated" and told["Date"] is not None
    assert told["Message-ID"] == f"<{office.list()[0].id}@example.org>"
    text = office.server.text()
    assert "Hello Clara Z" in text and "Example CRM ends on 2026-05-06 12:00 UTC" in text
    assert "roles: member" in text and "people she manages: karl" in text
    with office.stage.database.writing() as conn:
        rosa = office.stage.user("rosa")
        offboarding.cancel(conn, office.stage.workspace, ROOT, rosa, "", office.stage.now, office.stage.ids).check()
    office.ended("sent", "sent")
    assert office.server.taken[1]["Subject"] == "Rosa & Co stays"
    office.leave()
    office.ended("sent", "sent", "sent")
    assert office.server.taken[2]["Subject"] == "Rosa & Co has left: what is handed over"
    assert "people she manages: karl" in office.server.text()


def test_nothing_is_written_where_no_server_is(lite: Office) -> None:
    lite.stage.configure(mails=False)
    lite.leave()
    assert lite.list() == []


def test_what_has_no_reason_or_address_any_more_is_not_sent(lite: Office) -> None:
    lite.leave(lite.stage.now + 2 * DAY)
    lite.leave(lite.stage.now + 40 * DAY)
    lite.start()
    lite.ended("void")
    assert lite.list()[0].last_error == "the date has changed since"
    lite.stage.restate("clara", values={"emails": None}).check()
    lite.leave()
    lite.ended("void", "void")
    assert lite.list()[1].last_error == "clara has no e-mail address"
    assert lite.server.asked == []


def test_a_refused_address_is_shown_and_not_tried_again(lite: Office) -> None:
    lite.server.refuse = lambda _: "550 5.1.1 no such \x07 user"
    lite.start()
    lite.leave()
    lite.ended("refused")
    [told] = lite.list()
    assert (told.last_code, told.attempts) == (550, 1)
    assert told.last_error is not None and told.last_error.startswith("550 5.1.1 no such")
    lite.server.refuse = lambda _: None
    with lite.stage.database.writing() as conn:
        assert mails.retry(conn, "default", told.id, lite.stage.now).state == "waiting"
    lite.ended("sent")
    with pytest.raises(Conflict), lite.stage.database.writing() as conn:
        mails.retry(conn, "default", told.id, lite.stage.now)
    with pytest.raises(NotFound), lite.stage.database.reading() as conn:
        mails.find(conn, "default", "nothing")


def test_a_text_that_is_refused_for_good(lite: Office) -> None:
    lite.server.refuse_text = "554 looks like spam"
    lite.start()
    lite.leave()
    lite.ended("refused")
    assert lite.list()[0].last_error == "554 looks like spam"


def test_what_is_refused_for_now_is_tried_again_and_in_the_end_given_up(office: Office) -> None:
    office.server.refuse = lambda _: "451 come back later"
    office.start(give_up=timedelta(hours=2))
    office.leave()
    wait_for(lambda: office.list()[0].last_error is not None, office.list)
    [told] = office.list("waiting")
    assert (told.last_code, told.attempts) == (451, 1)
    office.stage.later(minutes=2)
    wait_for(lambda: office.list()[0].attempts == 2 and office.list()[0].last_error is not None, office.list)
    office.stage.later(hours=2)
    office.ended("failed")
    with office.stage.database.reading() as conn:
        seen = mails.standing(conn, ["default", "other"], office.stage.now)
    assert seen == {"default": mails.MailSeen(0, None, 1)}


def test_a_server_that_is_away_delays(lite: Office) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lite.start(port=free.getsockname()[1])
        lite.leave()
        wait_for(lambda: lite.list()[0].last_error is not None, lite.list)
    assert lite.list()[0].state == "waiting"
    lite.stop()
    lite.stage.later(minutes=2)
    with lite.stage.database.reading() as conn:
        assert mails.standing(conn, ["default"], lite.stage.now)["default"].waiting == 1
    lite.start()
    lite.ended("sent")


def test_what_was_on_its_way_when_everything_ended_is_sent_again_under_its_id(office: Office) -> None:
    office.leave()
    sending = Sending("Example CRM", "https://syncd.example.org", UTC)
    now, until = office.stage.now, office.stage.now + timedelta(minutes=5)
    with office.stage.database.writing() as conn:  # a postman that is killed after this
        [taken] = mails.take(conn, {"default": office.stage.workspace}, sending, now, until, 9, DAY)
        assert mails.take(conn, {"default": office.stage.workspace}, sending, now, until, 9, DAY) == []
    office.stage.later(minutes=5)
    office.start()
    office.ended("sent")
    assert office.server.taken[0]["Message-ID"] == f"<{taken.id}@example.org>"
    assert office.list()[0].attempts == 2


def test_mail_that_nobody_wants_any_more_and_how_long_it_is_kept(lite: Office) -> None:
    lite.leave()
    [told] = lite.list()
    with lite.stage.database.writing() as conn:
        assert mails.end(conn, "default", [told.id, "nothing"], mails.DISCARDED, lite.stage.now) == 1
    lite.start()
    lite.ended("discarded")

    def old() -> int:
        with lite.stage.database.reading() as conn:
            return len(retention.old(conn, "mails", retention.Retention(), lite.stage.now))

    assert old() == 0
    lite.stage.later(days=8)
    assert old() == 1
    assert lite.server.asked == []


def test_no_value_is_stored_but_dates_and_ids(lite: Office) -> None:
    lite.leave(lite.stage.now + 2 * DAY)
    [row] = lite.stage.rows(t.mails)
    assert (row.to_id, row.about_id, row.said) == ("clara", "rosa", {"ends_at": 1778068800})


# -- the server ---------------------------------------------------------------------------------------------------------------


def sent(server: Server, address: str = "ann@example.org") -> postman.Outcome:
    envelope = Envelope("m1", "test", address, "", datetime(2026, 5, 4, tzinfo=UTC), {"application": "CRM"})
    return asyncio.run(postman.hand_in(server, letters.read(None), envelope))


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # aiosmtpd's, of a server that offers it under TLS from the start
def test_over_tls_with_a_password(tmp_path: Path) -> None:
    tls = authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    for mode in ("tls", "starttls"):
        with post_office(**{mode: context}, password="right") as office:

            def server(password: str = "right", ca: Path | None = tls.ca, mode: Any = mode) -> Server:
                return Server(
                    *("localhost", office.port, mode, "syncd@example.org", None, "syncd", Secret(password)),
                    str(ca) if ca else None,
                    5,
                )

            assert sent(server()).fate == "sent"
            assert asyncio.run(postman.reach(server())) is None
            wrong = sent(server("wrong"))
            assert (wrong.fate, wrong.code, wrong.server) == (None, 535, True)
            stranger = sent(server(ca=None))
            assert stranger.fate is None and "certificate" in (stranger.error or "").lower()
            assert len(office.taken) == 1
    with post_office() as plain:
        assert "STARTTLS" in (sent(Server("127.0.0.1", plain.port, "starttls", "s@example.org")).error or "")
        assert plain.taken == [], "nothing goes in clear where TLS was asked for"


def test_addresses_and_names() -> None:
    for good in ("a@b", "ann.lee+x@mail.example.org", "jörg@bücher.example"):
        assert is_address(good), good
    for bad in (
        "",
        "a",
        "@b",
        "a@",
        "a b@c",
        "a@b\n.c",
        "a@b..c",
        "<a@b>",
        "a@b,c@d",
        f"{'x' * 65}@b",
        "a@" + "x" * 300,
    ):
        assert not is_address(bad), bad
    emails = [
        {"value": "home@x.org"},
        {"value": "work@x.org", "type": "work"},
        {"value": "best@x.org", "primary": True},
    ]
    assert address_of({"emails": emails}) == "best@x.org"
    assert address_of({"emails": emails[:2]}) == "work@x.org"
    assert address_of({"emails": [{"value": "no address"}]}) is None and address_of({}) is None
    assert language_of({"locale": "de_AT"}) == "de-AT"
    assert shown_name({"name.givenName": "Ann", "name.familyName": "Lee", "userName": "a"}) == "Ann Lee"


def test_letters_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "test.de.txt").write_text("Subject: Hallo von $application\n\nGruß, 5 $$\n")
    (tmp_path / "test.html").write_text("<p>$application</p>")
    found = letters.read(tmp_path)

    def written(language: str, application: str = "A & B") -> Any:
        at = datetime(2026, 5, 4, tzinfo=UTC)
        envelope = Envelope("m1", "test", "ann@example.org", language, at, {"application": application})
        return letters.letter(found, envelope, "syncd <s@example.org>", "help@example.org")

    german, other = written("de-AT"), written("fr", "A & B\nBcc: eve@example.org")
    assert german["Subject"] == "Hallo von A & B" and german["Reply-To"] == "help@example.org"
    assert "Gruß, 5 $" in german.get_body(("plain",)).get_content()
    assert german.get_body(("html",)).get_content().strip() == "<p>A &amp; B</p>"
    assert "Bcc" not in other and "works" in other["Subject"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("test.txt", "Hello\n", "does not begin with a line `Subject"),
        ("test.txt", "Subject: x\n\n$link\n", "no value $link; there are $application, $recipient"),
        ("test.txt", "Subject: x\n\n5 $\n", "a $ that begins no name"),
        ("tset.txt", "Subject: x\n\ny\n", "there is no mail 'tset'"),
        ("My Letter.txt", "Subject: x\n\ny\n", "is called like no template"),
    ],
)
def test_mistakes_in_letters_are_told_at_the_start(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as caught:
        letters.read(tmp_path)
    assert says in str(caught.value) and name in str(caught.value)
