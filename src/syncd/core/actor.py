"""Who asks. Every change in the activity record names one, and the door judges what an actor may do by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

ADMIN_SOURCE = "local"  # people at the command line, the console or the API state their facts under this source


@dataclass(frozen=True, slots=True)
class Actor:
    """`source` owns the facts this actor states; `allow` is a token's `resource:verb` list, `*` for everything."""

    door: str  # "scim" | "run" | "cli" | "api" | "console" | "timer"
    name: str
    workspace: str
    source: str = ADMIN_SOURCE
    allow: frozenset[str] = frozenset({"*"})
    token_id: str | None = None
    run_id: str | None = None
    expires_at: datetime | None = None
    method: str = ""  # of the request it makes
    txn: str | None = None  # of that request, if it is asynchronous (RFC 9967)

    def may(self, permission: str) -> bool:
        """True if `allow` holds `permission` (`users:read`), its resource's wildcard (`users:*`) or `*`."""
        resource = permission.partition(":")[0]
        return "*" in self.allow or permission in self.allow or f"{resource}:*" in self.allow
