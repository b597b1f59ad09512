"""The owner: handed over by herself in one step, and shut out or renamed by nobody below her."""

from __future__ import annotations

from typing import Any

from syncd.core.state import Grant
from web_service import Service


def direct(role: str) -> Grant:
    return Grant("role", role, "direct", "root")


def hand_over(service: Service, owner: str, token: str = "", **body: Any) -> Any:
    return service.ask("POST", f"/api/v1/users/{owner}/hand-over", body, token)


def test_handed_over_by_its_owner_and_by_nobody_for_her(service: Service) -> None:
    owner, ann = service.made_by("local", "boss", direct("owner")), service.made_by("local", "ann", direct("admin"))
    held = service.made_by("local", "cy")
    service.ask("POST", f"/api/v1/users/{held}/suspend")
    as_owner, as_ann = service.make_token(user=owner), service.make_token(user=ann)
    refused = hand_over(service, owner, as_ann, to=ann)
    assert (refused.status_code, "by its owner" in refused.text) == (403, True)
    for body, status in (
        ({"to": owner}, 409),
        ({"to": held}, 409),
        ({"to": "nobody"}, 404),
        ({"to": ann, "keep": "king"}, 422),
    ):
        assert hand_over(service, owner, as_owner, **body).status_code == status
    assert service.roles(owner) == {"owner"}
    done = hand_over(service, owner, as_owner, to=ann, reason="retires")
    assert (done.status_code, done.json()["id"]) == (200, ann)
    assert (service.roles(owner), service.roles(ann)) == ({"admin"}, {"admin", "owner"})
    assert hand_over(service, owner, as_owner, to=ann).status_code == 409, "she has nothing to hand over any more"
    assert hand_over(service, ann, to=owner, keep=None).status_code == 200, "an application that may do everything"
    assert (service.roles(owner), service.roles(ann)) == ({"admin", "owner"}, {"admin"})


def test_nobody_below_an_owner_shuts_her_out_or_takes_her_name(service: Service) -> None:
    owner, other = (service.made_by("local", name, direct("owner")) for name in ("boss", "chief"))
    ann = service.make_token(user=service.made_by("local", "ann", direct("admin")))
    plain = service.make_token(allow=["users:write"])
    for token in (ann, plain):
        for what in ("suspend", "deactivate"):
            refused = service.ask("POST", f"/api/v1/users/{owner}/{what}", token=token)
            assert (refused.status_code, "only an owner may" in refused.text) == (403, True), refused.text
        assert service.ask("DELETE", f"/api/v1/users/{owner}", token=token).status_code == 403
        for body in ({"userName": "mine"}, {"emails": [{"value": "ann@example.org"}]}):
            assert service.ask("PATCH", f"/api/v1/users/{owner}", body, token).status_code == 403
        assert service.ask("PATCH", f"/api/v1/users/{owner}", {"title": token[-4:]}, token).status_code == 200
    as_owner = service.make_token(user=other)
    assert service.ask("POST", f"/api/v1/users/{owner}/suspend", token=as_owner).status_code == 200
    last = service.ask("POST", f"/api/v1/users/{other}/suspend", token=as_owner)
    assert (last.status_code, "last active owner" in last.text) == (403, True)
