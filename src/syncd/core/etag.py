"""Entity tags of versions: `W/"7"` (RFC 7232 section 2.3), and which a header names."""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"|([^",\s]+)')  # no two parts can take the same character


def etag(version: int) -> str:
    return f'W/"{version}"'


def names(header: str, version: int) -> bool:
    """Whether a list of entity tags names the version. Weak and strong are the same here: SCIM's own example has a weak one
    in If-Match (RFC 7644 section 3.5.2.1), which RFC 7232 would never let match. A tag without quotes is taken as it is; `*`
    without them names any version."""
    wanted = str(version)
    return any(quoted == wanted or bare in ("*", wanted) for quoted, bare in _TAG.findall(header))
