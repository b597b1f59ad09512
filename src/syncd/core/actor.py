"""Who asks. Every change in the activity record names one, and the door judges what an actor may do by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from syncd.core import permission as permissions

ADMIN_SOURCE = "local"  # people at the command line, the console or the API state their facts under this source
RULES = "rules"  # the reserved source: what a changed rule set comes to, and whose state holds its digest


@dataclass(frozen=True, slots=True)
class Actor:
    """`source` owns the facts this actor states; `allow`: a token's permissions (core/permission.py)."""

    door: str  # "scim" | "run" | "cli" | "api" | "console" | "timer"
    name: str
    workspace: str
    source: str = ADMIN_SOURCE
    allow: frozenset[str] = frozenset({"*"})
    token_id: str | None = None
    run_id: str | None = None
    expires_at: datetime | None = None
    user: str | None = None  # the id of the user who bears the token: SCIM's /Me
    method: str = ""  # of the request it makes
    address: str | None = None  # from which it asks, over a network
    txn: str | None = None  # of that request, if it is asynchronous (RFC 9967)

    def may(self, permission: str) -> bool:
        """Whether it may do something of that kind, such as `users:update`; with an attribute, that one's."""
        return permissions.overlaps(self.allow, permission)

    def limited_to(self, resource: str, *verbs: str) -> frozenset[str] | None:
        """The attributes to which these verbs on `resource` (`users`) are narrowed; None: none is left out."""
        return permissions.limited_to(self.allow, resource, *verbs)
