"""Ask an LDAP directory for a few people, with what its groups say of each: a handful of searches instead of all entries.

Somebody known is looked for by the filter, at her last DN, by her stable key in every base, and by her key in the whole tree.
Then, and only if a neighbour of hers is found by the same search, she is gone. A group that she is to leave is asked for by
`(!(member=DN))`: a server that does not let us see who is in it answers neither that nor its opposite (Undefined, RFC
4511 section 4.5.1.7), and then nothing is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from syncd.core.lookup import Answer, Elsewhere, GroupsOf, Known, Question, TooWide
from syncd.core.snapshot import Beyond, Entry, SetAside
from syncd.errors import IncompleteRead, InvalidValue
from syncd.ldap import dn, keys, narrow
from syncd.ldap.client import NotNow
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.dynamic import ByUsers
from syncd.ldap.entries import GROUP_ATTRIBUTES, Part
from syncd.ldap.seen import Seen
from syncd.ldap.source import LdapReading
from syncd.ldap.values import primary_group_of, unique_member

MOST = 200  # people looked up at once; more are cheaper to read with everybody else
_MEMBERS = frozenset({"member", "uniquemember", "memberuid"})
_DYNAMIC = "(memberURL=*)"
_FEW = 50  # keys within one filter
MOST_NAMES = 200  # members below no base that are looked at, one by one
_SIZE_LIMIT = 4  # sizeLimitExceeded: there are more


class LdapLookup(LdapReading):
    """One look-up over one connection: `answer` once."""

    def answer(self, question: Question) -> Answer:
        """Raises TooWide."""
        config = self.config
        wanted = narrow.narrowed(question.filter.bound, question.names)
        if wanted is None:
            raise TooWide("this filter names nothing that the directory can be asked for")
        self._asked: list[str] = []
        self._aside: list[SetAside] = []
        self._outside: dict[str, Elsewhere] = {}
        self._gone: set[str] = set()
        self._unsure: dict[str, str] = {}
        people: dict[str, Entry] = {}
        groups: dict[str, GroupsOf] = {}
        strangers: tuple[Elsewhere, ...] = ()
        try:
            self._meet_one()
            self.entries.key_attribute = config.key_attribute or question.key_attribute
            for entry in self._users(wanted):
                people[entry.key] = entry
                if len(people) > MOST:
                    raise TooWide(f"this filter matches more than {MOST} entries")
            missing = {each.key: each for each in question.known if each.key not in people}
            for entry in self._known(missing):
                people[entry.key] = entry
            self._look_elsewhere(missing, people, question)
            known = {each.key: each for each in question.known}
            if config.groups is not None:
                groups = {key: self._groups_of(entry, known.get(key)) for key, entry in people.items()}
            if not people and not missing:
                strangers = tuple(self._strangers(wanted))
            self.look_for_canaries()
        except IncompleteRead as exc:
            self.because.append(str(exc))
            self._gone.clear()
        finally:
            self.ended = True
            self.over(not self.because)
        if config.groups is not None and config.groups.by is not None:
            people = {key: ByUsers(config).take(entry) for key, entry in people.items()}
        return Answer(
            users=tuple(people.values()),
            groups=groups,
            outside=self._outside,
            strangers=strangers,
            gone=frozenset(self._gone if not self.because else ()),
            unsure=self._unsure,
            set_aside=tuple(self._aside),
            certificate=self.certificate(),
            asked=tuple(self._asked),
            scope=f"below {' or '.join(config.users.base)}, and matches {config.users.filter}",
        )

    def shows(self, name: str, keys: Sequence[str], key_attribute: str | None) -> bool:
        """Instead of an answer: the entry of this DN, or one of those with these keys anywhere in the tree."""
        self._asked = []
        self._meet_one()
        self.entries.key_attribute = self.config.key_attribute or key_attribute
        known = keys if self.entries.key_attribute else ()
        return self.session.sees(name) or any(self._anywhere(key) is not None for key in known)

    def groups_beyond(self, wanted: Collection[str], names: Collection[str], key_attribute: str | None) -> list[Beyond]:
        """Instead of an answer: groups below no base, by key anywhere, or at these names (the first `MOST_NAMES`)."""
        self._asked = []
        self._meet_one()
        attribute = self.entries.key_attribute = self.config.key_attribute or key_attribute
        search, server = self.config.groups, self.server
        assert server is not None
        if search is None or search.by is not None:
            return []
        found: dict[str, Beyond] = {}
        shown = (attribute,) if attribute else ("objectClass",)

        def look(base: str, scope: str, condition: str) -> None:
            page = self.session.search(base, scope, condition, shown)
            for raw in page.entries if page.code == 0 else ():
                name, attributes = raw.dn.decode("utf-8", "replace"), keys.fold_names(raw.attributes)
                key = keys.key_of(attribute, attributes) if attribute and attribute.lower() in attributes else None
                if not self._is_in_a_base(name, search) and not _is_within_any(name, search.left_out):
                    found[name] = Beyond(name, key)

        for some in _batches(sorted(wanted)) if attribute else ():
            by_key = narrow.any_of([self._key_test(key) for key in some])
            for context in server.contexts:
                look(context, "subtree", narrow.all_of([search.filter, by_key]))
        for name in [each for each in names if _is_within_any(each, server.contexts)][:MOST_NAMES]:
            look(name, "base", search.filter)
        return sorted(found.values(), key=lambda each: each.name)

    def _meet_one(self) -> None:
        """A server that is busy is left for another one, as at the beginning of a whole read."""
        while True:
            try:
                self.meet()
                return
            except NotNow as exc:
                why = str(exc)
            self.elsewhere(why)

    # -- people ------------------------------------------------------------------------------------------------------

    def _users(self, wanted: str) -> Iterator[Entry]:
        search = self.config.users
        for base in search.base:
            yield from self._entries_of("users", search, base, narrow.all_of([search.filter, wanted]))

    def _known(self, missing: dict[str, Known]) -> Iterator[Entry]:
        """At the DN each had last, then by key: an entry that moved is found, and one that took its place is not it."""
        for known in [each for each in missing.values() if each.dn]:
            assert known.dn is not None
            search = replace(self.config.users, scope="base")
            if not self._is_in_a_base(known.dn):
                continue
            for entry in self._entries_of("users", search, known.dn, search.filter, may_be_absent=True):
                if entry.key == known.key:
                    missing.pop(known.key)
                    yield entry
        search = self.config.users
        for some in _batches(sorted(missing)):
            by_key = narrow.any_of([self._key_test(key) for key in some])
            for base in search.base:
                for entry in self._entries_of("users", search, base, narrow.all_of([search.filter, by_key])):
                    missing.pop(entry.key, None)
                    yield entry

    def _look_elsewhere(self, missing: dict[str, Known], people: dict[str, Entry], question: Question) -> None:
        """Those who are in no base: somewhere else, or nowhere, or it cannot be told."""
        for key, known in missing.items():
            where = self._anywhere(key)
            if where is not None:
                self._outside[key] = where
            elif (doubt := self._doubt(known, people, question)) is not None:
                self._unsure[key] = doubt
            else:
                self._gone.add(key)

    def _anywhere(self, key: str) -> Elsewhere | None:
        assert self.server is not None
        for context in self.server.contexts:
            page = self.session.search(context, "subtree", self._key_test(key), ("objectClass",), size_limit=2)
            self._note(context, "subtree", self._key_test(key))
            if page.code == 0 and page.entries:
                name = page.entries[0].dn.decode("utf-8", "replace")
                return Elsewhere(name, self._why_out_of_scope(name))
        return None

    def _why_out_of_scope(self, name: str) -> str:
        users = self.config.users
        if not self._is_in_a_base(name):
            return f"it is not below {' or '.join(users.base)} (scope {users.scope})"
        return f"it does not match {users.filter}"

    def _doubt(self, known: Known, people: dict[str, Entry], question: Question) -> str | None:
        """Why silence is no proof that she is gone; None if it is."""
        neighbour = question.neighbour(known)
        if neighbour is None:
            return "nobody else below the same entry is known, by whom this search could be proved"
        if neighbour.key in people:
            return None
        search = self.config.users
        by_key = narrow.all_of([search.filter, self._key_test(neighbour.key)])
        for base in search.base:
            if any(entry.key == neighbour.key for entry in self._entries_of("users", search, base, by_key)):
                return None
        return "the same search does not find somebody next to her either, who was there at the last read"

    def _strangers(self, wanted: str) -> Iterator[Elsewhere]:
        """Whom the filter would mean if the source read them."""
        assert self.server is not None
        for context in self.server.contexts:
            page = self.session.search(context, "subtree", wanted, ("objectClass",), size_limit=3)
            self._note(context, "subtree", wanted)
            for raw in page.entries if page.code in (0, _SIZE_LIMIT) else ():
                name = raw.dn.decode("utf-8", "replace")
                yield Elsewhere(name, self._why_out_of_scope(name))

    # -- groups ------------------------------------------------------------------------------------------------------

    def _groups_of(self, user: Entry, known: Known | None) -> GroupsOf:
        search = self.config.groups
        assert search is not None
        if search.by is not None:
            return self._groups_she_names(user, known)
        naming = narrow.any_of(list(_naming(user)))
        attributes = self._group_attributes(search)
        named = {
            entry.key: entry
            for base in search.base
            for entry in self._entries_of(
                "groups", search, base, narrow.all_of([search.filter, naming]), attributes, again=True
            )
        }
        finds_her = user.dn.encode()
        for base in search.base:
            dynamic = narrow.all_of([search.filter, _DYNAMIC])
            for entry in self._entries_of("groups", search, base, dynamic, attributes, again=True):
                if finds_her in entry.attributes.get("member", ()):
                    named[entry.key] = entry
        leaving = set(known.groups) - named.keys() if known else set()
        left: set[str] = set()
        for some in _batches(sorted(leaving)):
            not_naming = narrow.all_of(
                [search.filter, narrow.any_of([self._key_test(key) for key in some]), f"(!{naming})"]
            )
            whole = (*attributes, "uniqueMember")  # no filter finds a name with a bit string after it
            for base in search.base:
                for entry in self._entries_of("groups", search, base, not_naming, whole, again=True):
                    if finds_her in entry.attributes.get("member", ()) or _is_unique_member(user, entry):
                        named[entry.key] = entry
                    else:
                        left.add(entry.key)
        silent = leaving - left - named.keys()
        because = f"{len(silent)} of her groups do not say whether she is still in them" if silent else None
        return GroupsOf(tuple(named.values()), frozenset(left), because)

    def _groups_she_names(self, user: Entry, known: Known | None) -> GroupsOf:
        """Her own entry says all of it, if it says anything: an attribute that is hidden looks like none."""
        named = ByUsers(self.config)
        named.take(user)
        groups = {entry.key: entry for entry in named.groups()}
        left = frozenset(known.groups) - groups.keys() if known else frozenset()
        if left and not named.shown:
            because = "her entry shows no group, which may be hidden: the next whole read tells"
            return GroupsOf(tuple(groups.values()), frozenset(), because)
        return GroupsOf(tuple(groups.values()), left)

    def _group_attributes(self, search: SearchConfig) -> tuple[str, ...]:
        key = (self.entries.key_attribute,) if self.entries.key_attribute else ()
        every = ("objectClass", *key, *GROUP_ATTRIBUTES, *search.attributes, *self.wanted)
        return tuple({name.lower(): name for name in every if name.lower() not in _MEMBERS}.values())

    # -- searches ----------------------------------------------------------------------------------------------------

    def _entries_of(
        self,
        part: Part,
        search: SearchConfig,
        base: str,
        text: str,
        attributes: tuple[str, ...] | None = None,
        *,
        may_be_absent: bool = False,
        again: bool = False,
    ) -> Iterator[Entry]:
        """`again`: entries that came before come once more, as the groups of two people."""
        self._note(base, search.scope, text)
        if again:
            self.entries.seen = Seen()
        for item in self._search(part, replace(search, filter=text), base, attributes, may_be_absent):
            if isinstance(item, SetAside):
                self._aside.append(item)
            else:
                yield item

    def _note(self, base: str, scope: str, text: str) -> None:
        said = f"{text} below {base}" if scope == "subtree" else f"{text} at {base}" if scope == "base" else text
        self._asked.append(said)

    def _key_test(self, key: str) -> str:
        assert self.entries.key_attribute is not None
        return keys.filter_of(self.entries.key_attribute, key)

    def _is_in_a_base(self, name: str, search: SearchConfig | None = None) -> bool:
        search = search or self.config.users
        return _is_within_any(name, search.base, search.scope)


def outside_of(config: LdapConfig, names: Collection[str]) -> list[str]:
    """Those of these names that are DNs below none of the bases."""
    both = [each for each in (config.users, config.groups) if each is not None]

    def known(name: str) -> bool:
        return any(_is_within_any(name, each.base, each.scope) or _is_within_any(name, each.left_out) for each in both)

    return sorted(name for name in names if "=" in name and not known(name))


def _is_within_any(name: str, bases: Iterable[str], scope: str = "subtree") -> bool:
    try:
        return any(dn.is_within(name, base, scope) for base in bases)
    except InvalidValue:
        return False


def _is_unique_member(user: Entry, group: Entry) -> bool:
    try:
        here = dn.normalize(user.dn)
        said = (value.decode("utf-8", "replace") for value in group.attributes.get("uniquemember", ()))
        return any("#" in value and dn.normalize(unique_member(value)) == here for value in said)
    except InvalidValue:
        return True  # nobody can tell: it keeps her


def _naming(user: Entry) -> Iterator[str]:
    """All the ways in which a group names this user."""
    name = narrow.escaped(user.dn)
    yield f"(member={name})"
    yield f"(uniqueMember={name})"
    for uid in user.attributes.get("uid", ()):
        yield f"(memberUid={narrow.escaped(uid.decode('utf-8', 'replace'))})"
    try:
        primary = primary_group_of(user.attributes)
    except InvalidValue:
        return  # said when she is mapped, and set aside
    if primary is not None:
        yield f"(objectSid={narrow.escaped_bytes(primary)})"


def _batches(keys: list[str]) -> Iterable[list[str]]:
    return (keys[at : at + _FEW] for at in range(0, len(keys), _FEW))
