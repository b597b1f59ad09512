"""Whether a whole read is believed, beside those before it.

What is not believed counts as incomplete, so that nothing is taken away by absence (core/canary.py). A changed base, filter,
mapping or server may show fewer: then every loss waits for a person anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from syncd.core.canary import Bad, Before, Seen, branches_gone, doubts
from syncd.core.guards import Limits
from syncd.core.snapshot import Certificate, SetAside, Sighted, Source
from syncd.core.workspace import SourcePolicy, Workspace
from syncd.errors import SyncdError
from syncd.reconcile.diff import Linked


def what_changed(workspace: Workspace, source: str, state: Any, certificate: Certificate, owns: bool) -> str | None:
    """Rule 4: why every loss of this run waits for approval. `owns`: people or groups are linked to the source."""
    if state is None or state.digest is None:
        return f"by which base, filter and mapping source {source} was read before is not known" if owns else None
    if state.digest != workspace.source(source).digest:
        return f"the base, filter or mapping of source {source} changed"
    known, now_is = state.server_identity, certificate.server_identity
    if known is not None and now_is is not None and known != now_is:
        return f"another server answers for source {source}: {now_is} instead of {known}"
    known, now_is = state.key_attribute, certificate.key_attribute
    if known is not None and now_is is not None and known != now_is:
        return f"source {source} names its entries by {now_is} instead of {known}"
    return None


@dataclass(slots=True)
class Word:
    """Somebody's, that a read which shows fewer entries than those before it is right (`--accept-fewer`). It is noted of what
    it was needed for."""

    by: str | None
    notes: list[str]
    said: list[str] = field(default_factory=list)

    def given(self, what: str) -> bool:
        if self.by is None:
            return False
        self.said.append(f"accepted by {self.by}: {what}")
        self.notes.append(self.said[-1])
        return True


def usable(certificate: Certificate, bad: Bad, set_aside: Sequence[SetAside]) -> Certificate:
    """Incomplete, if too much of it could not be read or mapped: then it is the mapping, or the source."""
    read = certificate.users_read + certificate.groups_read
    mapped = len(set_aside) - certificate.set_aside  # of those that were read
    doubt = bad.doubt(len(set_aside), read - max(0, mapped))
    if doubt is None:
        return certificate
    first = set_aside[0]
    return replace(certificate, because=(*certificate.because, f"{doubt}, such as {first.entry}: {first.why}"))


def believed(
    certificate: Certificate,
    before: Before,
    policy: SourcePolicy,
    source: Source,
    users: Mapping[str, Linked],
    gone: Set[str],
    changed: bool,
    word: Word,
) -> Certificate:
    """Incomplete, if this read looks blind and nobody gave his word. `users`: whom the store linked, by key; `gone`: those of
    them who were not read; `changed`: base, filter, mapping or server."""
    if not certificate.complete:
        return certificate
    now = Seen(certificate.users_read, certificate.groups_read, certificate.own_entry)
    if changed:
        found = list(doubts(now, replace(before, users=None, groups=None, most=None), policy.fewer))
    else:
        hidden = _hidden_branches(source, users, gone, policy.limits, certificate.key_attribute)
        found = [*doubts(now, before, policy.fewer), *hidden]
    if not found or word.given("; ".join(found)):
        return certificate
    accept = f"; if that is right: syncd sync {source.name} --accept-fewer"
    return replace(certificate, because=tuple(f"{each}{accept}" for each in found))


def _hidden_branches(
    source: Source, users: Mapping[str, Linked], missing: Set[str], limits: Limits, key_attribute: str | None
) -> Iterator[str]:
    """Of branches that lost everybody, those whose own entry is not shown either, nor any of the people elsewhere: where so few
    are gone that no limit would hold them."""
    gone = {key for key in missing if not users[key].absent}
    if not gone or not isinstance(source, Sighted):
        return
    known = [(key, old.dn_key) for key, old in users.items() if old.dn_key and not old.absent]
    if len(gone) > min(limits.of(kind).allowed(len(known)) for kind in ("suspend", "deactivate")):
        return
    for above, keys in branches_gone((name, key, key not in gone) for key, name in known):
        try:
            shown = source.sees(above, keys[:3], key_attribute)
        except SyncdError as exc:
            yield f"{len(keys):,} people below {above} are gone, and whether it is there was not answered: {exc}"
            continue
        if not shown:
            yield f"{above} is not visible any more, and {len(keys):,} people were below it"
