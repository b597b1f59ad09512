"""Asks a directory for groups below none of the source's bases, where a complete read missed them (core/snapshot.py: Surveyed).

Those that were read before and are gone are asked for by key before anything is decided, since one that only moved takes
nothing with it; members of groups that are read, by name, after that. What they mean is said by reconcile/beyond.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import structlog

from syncd.core.snapshot import Beyond, Source, Surveyed
from syncd.errors import SyncdError
from syncd.reconcile.believing import Word
from syncd.reconcile.beyond import Outside
from syncd.store import linked
from syncd.store.engine import Database

log = structlog.get_logger()


@dataclass(slots=True)
class Survey:
    """Of one read. Told of its groups' members by `outside.members`."""

    database: Database
    workspace: str
    source: Source
    word: Word
    outside: Outside = field(default_factory=Outside)
    unanswered: bool = False  # whether groups that are gone are elsewhere was asked, and not answered

    def look_for(self, gone: Collection[str], key_attribute: str | None) -> None:
        """`gone`: keys of groups that were linked and not read. They may be in the directory all the same."""
        if not gone or not isinstance(self.source, Surveyed):
            return
        try:
            found = self.source.groups_beyond(gone, (), key_attribute)
        except SyncdError as exc:
            self.unanswered = True
            self.word.notes.append(
                f"whether groups that are gone moved below no base was not answered, so they stay: {exc}"
            )
            return
        asked = set(gone)
        self.outside.moved = {each.key: each for each in found if each.key is not None and each.key in asked}

    def moved(self, key: str) -> Beyond | None:
        return self.outside.moved.get(key)

    def stays(self, key: str) -> bool:
        """Whether a group that is gone stays as it was, whatever the ladder says."""
        return self.unanswered or key in self.outside.moved

    def look_around(self, key_attribute: str | None) -> tuple[str, ...] | None:
        """Groups below no base that are told of; None if the directory did not answer. Notes are taken."""
        if not isinstance(self.source, Surveyed):
            return None
        outside = self.outside
        try:
            found = self.source.groups_beyond((), outside.within, key_attribute) if outside.within else ()
        except SyncdError:
            return None
        outside.strays = [each for each in found if each.key not in outside.moved]
        with self.database.reading() as conn:
            links = linked.whole_links(conn, self.workspace, self.source.name, "group", outside.moved)
            names = {link.key: str(link.values.get("displayName") or link.dn or link.key) for _, link in links}
        outside.accepted = bool(outside.moved) and self.word.given(outside.went(names))
        told = outside.told(names)
        if told:
            self.word.notes += outside.notes(self.source.name, names)
            log.warning("groups_outside", source=self.source.name, groups=len(told))
        return tuple(told)
