"""Where a server is: every address behind a URL. A host name with several is several servers."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from syncd.ldap.config import socket_path


class Unusable(Exception):
    """Why one server is of no use now. `later`: another time it may be."""

    def __init__(self, why: str, later: bool) -> None:
        super().__init__(why)
        self.later = later


@dataclass(frozen=True, slots=True)
class Address:
    """One of the addresses behind a URL: what `socket.getaddrinfo` gives, without the canonical name."""

    url: str
    family: int
    kind: int
    protocol: int
    at: Any

    @property
    def text(self) -> str:
        return str(self.at) if isinstance(self.at, str) else str(self.at[0])


def addresses(url: str) -> tuple[Address, ...]:
    """Every address of the URL's host, in the resolver's order. Raises Unusable."""
    path = socket_path(url)
    if path is not None:
        return (Address(url, socket.AF_UNIX, socket.SOCK_STREAM, 0, path),)
    parts = urlsplit(url)
    port = parts.port or (636 if parts.scheme == "ldaps" else 389)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as exc:
        if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_AGAIN:
            raise Unusable("the host name could not be looked up now; is the name server reachable?", True) from exc
        raise Unusable("the host name is not known", False) from exc
    return tuple(dict.fromkeys(Address(url, family, kind, number, at) for family, kind, number, _, at in found))
