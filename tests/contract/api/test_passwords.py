"""Passwords over the API: set, verified, reset; never told, never kept in clear, and nobody signs in as someone above her."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
from sqlalchemy import select

from syncd.core.password import PasswordPolicy
from syncd.core.secret import Secret
from syncd.core.signins import SignInPolicy
from syncd.core.state import Grant
from syncd.passwords import Passwords
from syncd.store import passwords
from syncd.store import tables as t
from web_service import CHEAP, Service

GOOD, BETTER = "correct horse battery", "staple of the evening"


def ask(service: Service, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
    return service.ask(method, f"/api/v1{path}", body, **more)


def person(service: Service, name: str = "ann", *grants: Grant, source: str = "local") -> str:
    return service.made_by(source, name, *grants)


def set_password(service: Service, id: str, text: str = GOOD, **more: Any) -> httpx.Response:
    return ask(service, "PUT", f"/users/{id}/password", {"password": text, **more})


def verify(service: Service, id: str, text: str = GOOD, **more: Any) -> dict[str, Any]:
    answer = ask(service, "POST", f"/users/{id}/verify-password", {"password": text, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def everything(service: Service) -> str:
    with service.database.reading() as conn:
        return "\n".join(repr(tuple(row)) for table in t.metadata.sorted_tables for row in conn.execute(select(table)))


def test_set_and_verified_and_nothing_of_it_is_told_or_kept(service: Service) -> None:
    id = person(service)
    version = ask(service, "GET", f"/users/{id}").json()["version"]
    assert verify(service, id)["valid"] is False, "she has none yet"
    assert set_password(service, id, must_change=True).status_code == 204
    told = verify(service, id, address="192.0.2.7")
    assert (told["valid"], told["may_sign_in"], told["must_change"], told["failed_attempts"]) == (True, True, True, 0)
    assert verify(service, id, GOOD + "!") | {"must_change": False} == {
        **told,
        **{"valid": False, "may_sign_in": False, "must_change": False, "failed_attempts": 1},
    }
    shown = ask(service, "GET", f"/users/{id}").json()
    assert shown["version"] == version
    assert (shown["password"]["source"], shown["password"]["must_change"]) == ("local", True)
    assert shown["sign_ins"]["last_address"] == "192.0.2.7"
    assert GOOD not in everything(service)
    assert "argon2" not in ask(service, "GET", f"/users/{id}/explain").text + ask(service, "GET", "/users").text
    assert ask(service, "DELETE", f"/users/{id}/password").status_code == 204
    assert ask(service, "DELETE", f"/users/{id}/password").status_code == 404
    assert verify(service, id)["valid"] is False


def test_by_name_an_unknown_one_is_answered_like_a_wrong_password(service: Service) -> None:
    id = person(service, "Ann@Example.org")
    set_password(service, id)
    right = ask(service, "POST", "/verify-password", {"userName": "ann@example.ORG", "password": GOOD}).json()
    assert (right["user_id"], right["may_sign_in"]) == (id, True)
    unknown = ask(service, "POST", "/verify-password", {"userName": "nobody", "password": GOOD})
    assert unknown.status_code == 200
    assert (unknown.json()["user_id"], unknown.json()["valid"]) == (None, False)
    other = service.make_token(workspace="other")
    away = ask(service, "POST", "/verify-password", {"userName": "ann@example.org", "password": GOOD}, token=other)
    assert away.json()["valid"] is False


def test_wrong_ones_lock_and_a_locked_account_tells_nothing(service: Service) -> None:
    service.workspaces["default"] = replace(
        service.workspaces["default"],
        sign_ins=SignInPolicy(lock_after=3),
        passwords=PasswordPolicy(attempts_per_minute=50),
    )
    service.web = service.application()
    id = person(service)
    set_password(service, id)
    for _ in range(3):
        told = verify(service, id, "wrong wrong wrong")
    assert (told["status"], told["failed_attempts"]) == ("locked", 3)
    assert (verify(service, id)["valid"], verify(service, id)["may_sign_in"]) == (False, False)
    service.later(minutes=16)
    assert verify(service, id)["may_sign_in"]


def test_a_second_factor_follows_and_the_first_does_not_end_the_row(service: Service) -> None:
    id = person(service)
    set_password(service, id)
    ask(service, "POST", f"/users/{id}/sign-ins", {"outcome": "failure", "second_factor": True})
    told = verify(service, id, final=False)
    assert (told["may_sign_in"], told["failed_attempts"]) == (True, 1)
    assert ask(service, "GET", f"/users/{id}").json()["sign_ins"]["last_at"] is None


def test_more_attempts_than_the_policy_has_are_not_looked_at(service: Service) -> None:
    id, other = person(service), person(service, "bob")
    path = f"/users/{id}/verify-password"
    answers = [ask(service, "POST", path, {"password": "wrong wrong wrong"}) for _ in range(11)]
    assert [each.status_code for each in answers] == [200] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert ask(service, "POST", f"/users/{other}/verify-password", {"password": "w"}).status_code == 200
    by_name = {"userName": "ann", "password": GOOD}
    assert ask(service, "POST", "/verify-password", by_name).status_code == 429, "one bucket, whatever she is called by"


def test_what_is_not_good_enough_or_not_for_her(service: Service) -> None:
    id, fed = person(service, "annabel"), person(service, "bob", source="corp")
    refused = set_password(service, id, "annabel")
    assert refused.status_code == 422
    assert len(refused.json()["errors"]) == 2 and "annabel" not in refused.text
    assert (set_password(service, fed).status_code, "corp" in set_password(service, fed).text) == (403, True)
    assert ask(service, "POST", f"/users/{fed}/password-reset").status_code == 403
    assert set_password(service, "nobody").status_code == 404
    wrong = set_password(service, id, BETTER, current=GOOD)
    assert wrong.status_code == 403
    set_password(service, id)
    assert set_password(service, id, BETTER, current=GOOD).status_code == 204
    assert verify(service, id, BETTER)["valid"]
    gone = person(service, "cy")
    ask(service, "DELETE", f"/users/{gone}")
    assert set_password(service, gone).status_code == 409


def test_nobody_signs_in_as_someone_above_her(service: Service) -> None:
    def direct(role: str) -> Grant:
        return Grant("role", role, "direct", "root")

    owner = person(service, "boss", direct("owner"))
    admin, member = person(service, "ann", direct("admin")), person(service, "bob", direct("member"))
    as_admin = service.make_token(user=admin)
    as_member = service.make_token(user=member)
    plain = service.make_token(allow=["passwords:write", "passwords:verify"])
    body = {"password": GOOD}
    for target, token, status in [
        (owner, as_admin, 403),
        (owner, plain, 403),
        (admin, as_member, 403),
        (member, as_admin, 204),
        (member, plain, 204),
        (owner, "", 204),
    ]:
        assert ask(service, "PUT", f"/users/{target}/password", body, token=token).status_code == status
        reset = ask(service, "POST", f"/users/{target}/password-reset", token=token)
        assert reset.status_code == (201 if status == 204 else 403)
    assert ask(service, "DELETE", f"/users/{owner}/password", token=as_admin).status_code == 403
    changed = {"password": BETTER, "current": GOOD}
    assert ask(service, "PUT", f"/users/{owner}/password", changed, token=plain).status_code == 204, "she knows her own"


def test_a_reset_is_for_one_use_and_one_hour(service: Service) -> None:
    id = person(service)
    first = ask(service, "POST", f"/users/{id}/password-reset", headers={"Idempotency-Key": "k"})
    again = ask(service, "POST", f"/users/{id}/password-reset", headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.json()["token"]) == (201, None), "a secret is shown once"
    second = ask(service, "POST", f"/users/{id}/password-reset").json()["token"]
    old = {"token": first.json()["token"], "password": GOOD}
    assert ask(service, "POST", "/password-resets", old).status_code == 404, "a newer one was made"
    assert ask(service, "POST", "/password-resets", {"token": second, "password": "short"}).status_code == 422
    other = service.make_token(workspace="other")
    assert ask(service, "POST", "/password-resets", {"token": second, "password": GOOD}, token=other).status_code == 404
    done = ask(service, "POST", "/password-resets", {"token": second, "password": GOOD})
    assert (done.status_code, done.json()["userName"]) == (200, "ann")
    assert ask(service, "POST", "/password-resets", {"token": second, "password": GOOD}).status_code == 404
    assert verify(service, id)["valid"]
    late = ask(service, "POST", f"/users/{id}/password-reset").json()["token"]
    service.later(hours=1)
    assert ask(service, "POST", "/password-resets", {"token": late, "password": BETTER}).status_code == 404
    assert second not in everything(service) and late not in everything(service)


def test_a_hash_of_yesterdays_parameters_is_made_anew(service: Service) -> None:
    id = person(service)
    set_password(service, id)
    service.web = service.application()

    def hash_() -> str:
        with service.database.reading() as conn:
            kept = passwords.find(conn, "default", id)
            assert kept is not None
            return kept.hash

    old = hash_()
    with service.database.writing() as conn:
        passwords.renew(conn, "default", id, old, Passwords(type(CHEAP)(1, 128, 1)).hash_now(Secret(GOOD)))
    dearer = hash_()
    assert verify(service, id)["valid"]
    assert hash_() not in (old, dearer)
    assert verify(service, id)["valid"]
