"""How a connection's programs prove who they are, and how much they may ask: what auth.py judges a request by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
# Signatures by a key of their own: with a shared secret whoever can check a token could make one, `none` is no signature,
# and RSA as PKCS #1 v1.5 stays because that is what identity providers send.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """Who else may issue tokens for a connection (RFC 7519), and what such a token must say."""

    issuer: str
    audience: tuple[str, ...]
    jwks_url: str
    claims: Mapping[str, str]
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    allow: frozenset[str] = frozenset({"*"})
    leeway_s: int = 60
    ca_file: str | None = None

    def meant_by(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these claims is for this connection. Of a claim that is a list, such as roles, one text is
        enough; `sub` is none (RFC 7519 section 4.1.2)."""
        if isinstance(claims.get("sub"), list):
            return False
        mine = claims.get("iss") == self.issuer and bool(_texts(claims.get("aud")) & set(self.audience))
        return mine and all(value in _texts(claims.get(name)) for name, value in self.claims.items())


@dataclass(frozen=True, slots=True)
class Shows:
    """What a connection is shown where clients differ in what they bear."""

    roles_and_entitlements: bool = False  # named by discovery without being asked for
    member_display: bool = True  # a member's name, without being asked for
    patched_group: bool = False  # a PATCH of a group is answered with the whole group
    security_events: bool = False  # named by /ServiceProviderConfig without being asked for
    empty_members: bool = False  # a group without members has an empty list of them, rather than none (RFC 7643 2.5)


@dataclass(frozen=True, slots=True)
class Access:
    """`networks` (): from anywhere. `rate_per_s`: requests of one connection to one web process."""

    networks: tuple[Network, ...] = ()
    rate_per_s: float = 1000
    issuer: TrustedIssuer | None = field(default=None)

    def admits(self, address: Address | None) -> bool:
        return not self.networks or (address is not None and any(address in network for network in self.networks))


def address_of(host: str | None) -> Address | None:
    """What the server says of who asks; an IPv4 address that came by an IPv6 socket is the IPv4 address."""
    try:
        found = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _texts(claim: object) -> set[str]:
    return {each for each in (claim if isinstance(claim, list) else [claim]) if isinstance(each, str)}
