"""Whether the actor may make these edits: judged at the door, so that every way to it (a request, one of a bulk, a program)
meets the same answer. An edge asks beforehand whether anything of the kind is allowed; here each attribute counts.

What follows from an edit by rule (a role, a seat) needs no permission: nobody asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from syncd.core.actor import Actor
from syncd.core.change import Edit, GroupEdit, UserEdit
from syncd.core.permission import ALL, outside
from syncd.core.state import Link
from syncd.errors import Forbidden, too_narrow
from syncd.store.drafts import Verdict

Asked = tuple[str, str, Iterable[str]]  # resource, verb, the attributes it changes


def beyond(actor: Actor, edits: Sequence[Edit], verdict: Verdict) -> Forbidden | None:
    """The refusal if the edits of this verdict go beyond what the actor may do."""
    if ALL in actor.allow:
        return None
    fresh = frozenset([edit.id for edit in edits if isinstance(edit, GroupEdit) and edit.create])
    for edit in edits:
        for resource, verb, paths in (*_asked(edit, verdict, actor.door), *_membership(edit, fresh)):
            allowed = actor.limited_to(resource, verb)
            if allowed is None:
                continue
            if verb != "update":
                return too_narrow(f"this token lacks the permission {resource}:{verb}; nothing was changed")
            if lacking := outside(allowed, paths):
                names = " and ".join(f"{resource}:{verb}:{path}" for path in lacking[:5])
                return too_narrow(
                    f"this token lacks the permission {names} (or {resource}:{verb}); nothing was changed"
                )
    return None


def _asked(edit: Edit, verdict: Verdict, door: str) -> Iterator[Asked]:
    """The paths are gone through only for a token that may change some attributes and not others."""
    return _of_user(edit, verdict, door) if isinstance(edit, UserEdit) else _of_group(edit, verdict)


def _kinds(edit: Edit) -> set[str]:
    if not (edit.grant or edit.revoke):
        return set()
    return {*(each.kind for each in edit.grant), *(each[0] for each in edit.revoke)}


def _of_user(edit: UserEdit, verdict: Verdict, door: str) -> Iterator[Asked]:
    """Over SCIM roles are an attribute of the user; elsewhere they are things of their own."""
    kinds = _kinds(edit)
    if door != "scim":
        yield from (("seats" if kind == "seat" else "roles", "write", ()) for kind in sorted(kinds))
        kinds = set()
    if edit.priorities:
        yield "seats", "write", ()
    if edit.create:
        yield "users", "create", ()
    elif _deletes(edit):
        yield "users", "delete", ()
    else:
        yield "users", "update", _changed_of_user(edit, verdict, bool(kinds))


def _changed_of_user(edit: UserEdit, verdict: Verdict, roles: bool) -> Iterator[str]:
    before = next((before for before, after in verdict.users if after.id == edit.id), None)
    yield from _changed(edit, before.links if before else ())
    yield from edit.facts
    if roles:
        yield "roles"


def _of_group(edit: GroupEdit, verdict: Verdict) -> Iterator[Asked]:
    pairs = ((before, before or after) for before, after in verdict.groups)
    before = next((before for before, known in pairs if known is not None and known.id == edit.id), None)
    yield from (("seats" if kind == "seat" else "roles", "write", ()) for kind in sorted(_kinds(edit)))
    if edit.create or edit.delete:
        yield "groups", "create" if edit.create else "delete", ()
    else:
        yield "groups", "update", _changed(edit, (before.link,) if before and before.link else ())


def _membership(edit: Edit, fresh: frozenset[str]) -> Iterator[Asked]:
    """Members join and leave by edits of their own; a group that is made comes with those it is made with."""
    if isinstance(edit, UserEdit) and _deletes(edit):
        return
    if {*edit.join, *edit.leave} - fresh:
        yield "groups", "update", ("members",)


def _deletes(edit: UserEdit) -> bool:
    return edit.facts.get("deleted_at") is not None or (edit.link is not None and edit.link.stage == "deleted")


def _changed(edit: Edit, links: Sequence[Link]) -> Iterator[str]:
    """Attributes that the source's link says otherwise than before."""
    if edit.link is None:
        return
    dropped = edit.drop_link if isinstance(edit, UserEdit) else None
    own = next((each for each in links if each.source == edit.source and each.key in (edit.link.key, dropped)), None)
    if own is None and isinstance(edit, GroupEdit):
        own = next((each for each in links if each.source == edit.source), None)
    own = own or Link(edit.source, edit.id)
    if edit.link.key != own.key:
        yield "externalId"
    if edit.link.enabled != own.enabled:
        yield "active"
    for path in edit.link.values.keys() | own.values.keys():
        if edit.link.values.get(path) != own.values.get(path):
            yield path
