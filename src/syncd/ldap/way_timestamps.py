"""What changed by modifyTimestamp, for servers without a better way: each time the key, the name and the timestamp of everybody
are read, and whole only those that were written since.

Rules: times are those of the server alone; the latest it ever showed is where the next read goes on, and everything of the
minutes before it that is not known yet is read again (clocks of several writers differ). A timestamp counts whole seconds, so
whoever was written in the latest ones is read once more. Whoever does not show up is gone; whoever has another name moved.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from syncd.core.snapshot import OnlyThese, Reported, Still
from syncd.errors import FullReadNeeded, IncompleteRead, InvalidValue
from syncd.ldap import accounts, keys, narrow
from syncd.ldap.config import KEY_ATTRIBUTES
from syncd.ldap.conversation import Conversation, require_whole_tree
from syncd.ldap.values import generalized_time, only_one
from syncd.ldap.ways import NotOffered, NotThisKind, State

MOST_CHANGED = 5_000  # entries; beyond that, reading everything is cheaper
OVERLAP = timedelta(minutes=5)
UNSURE = timedelta(seconds=2)
_STAMP = "modifyTimestamp"
_AT_ONCE = 50  # keys in one search
_NEVER = datetime(1, 1, 1, tzinfo=UTC)

Seen = dict[str, list[str | bool]]  # key -> its timestamp, and whether nothing can have been written after it unseen


class _Swept(NamedTuple):
    kind: str
    key: str
    dn: str
    at: datetime
    stamp: str


class Timestamps:
    name = "modifyTimestamp"
    key_attribute: str | None = None

    def begin(self, with_: Conversation) -> State:
        server = with_.server
        assert server is not None
        if server.flavour == accounts.ACTIVE_DIRECTORY:
            raise NotThisKind("an Active Directory has its own ways")
        if not server.paging:
            raise NotOffered("the server has no paging")
        swept = list(_sweep(with_, with_.config.key_attribute))
        latest = max((each.at for each in swept), default=_NEVER)
        return _state([each for each in swept if latest - each.at < OVERLAP], latest, {})

    def changes(self, with_: Conversation, state: State) -> Generator[Reported, None, State]:
        latest = datetime.fromisoformat(state["latest"])
        after = datetime.fromisoformat(state["after"])
        known: Seen = state["seen"]
        window: list[_Swept] = []
        users = 0
        try:
            for each in _sweep(with_, with_.entries.key_attribute):
                yield Still(each.key, each.dn)
                users += each.kind == "user"
                if each.at > after:
                    window.append(each)
                    latest = max(latest, each.at)
        except NotOffered as exc:
            raise FullReadNeeded(str(exc)) from exc
        if not users:
            raise IncompleteRead("users: no entry matches below any base")
        changed = sorted({each.key for each in window if known.get(each.key) != [each.stamp, True]})
        if len(changed) > MOST_CHANGED:
            raise FullReadNeeded(f"{len(changed):,} entries were written within the last minutes")
        attribute = with_.entries.key_attribute
        assert attribute is not None
        for at in range(0, len(changed), _AT_ONCE):
            some = narrow.any_of([keys.filter_of(attribute, key) for key in changed[at : at + _AT_ONCE]])
            yield from with_.having(some)
        for kind in dict.fromkeys(search.kind for search in with_.searches()):
            yield OnlyThese(kind)
        return _state([each for each in window if latest - each.at < OVERLAP], latest, known)

    def doubt(self, with_: Conversation) -> str | None:
        return "a change to what the server makes up as it is asked (memberOf, say) is found by whole reads only"


def _state(window: list[_Swept], latest: datetime, known: Seen) -> State:
    """`known`: of the last read. An entry of the latest seconds is sure when it shows the same a second time."""
    if len(window) > MOST_CHANGED:  # as after a directory was loaded: too many to be looked at again
        return {"latest": latest.isoformat(), "after": latest.isoformat(), "seen": {}}
    seen: Seen = {}
    for each in window:
        again = known.get(each.key, [""])[0] == each.stamp
        seen[each.key] = [each.stamp, again or each.at < latest - UNSURE]
    after = latest - OVERLAP if latest > _NEVER + OVERLAP else latest
    return {"latest": latest.isoformat(), "after": after.isoformat(), "seen": seen}


def _sweep(with_: Conversation, attribute: str | None) -> Iterator[_Swept]:
    """Raises NotOffered if an entry does not show its key or its timestamp."""
    asked = (attribute,) if attribute else KEY_ATTRIBUTES
    for search in with_.searches():
        for page in with_.pages(search.base, search.scope, search.filter, (*asked, _STAMP)):
            require_whole_tree(page.references)
            for entry in page.entries:
                attributes = keys.fold_names(entry.attributes)
                attribute = attribute or keys.choose([attributes])
                name = entry.dn.decode("utf-8", "replace")
                if attribute is None or not attributes.get(attribute.lower()):
                    continue  # a whole read sets it aside
                try:
                    key, stamp = keys.key_of(attribute, attributes), only_one(_STAMP, attributes)
                    if stamp is None:
                        raise InvalidValue("it is missing, or may not be read")
                    at = generalized_time(_STAMP, stamp)
                except InvalidValue as exc:
                    raise NotOffered(f"{_STAMP} of {name}: {exc}") from exc
                yield _Swept(search.kind, key, name, at, stamp.decode("ascii", "replace"))
