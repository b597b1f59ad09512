"""Numbers of things as people say them. Pure."""

from __future__ import annotations


def counted(n: int, what: str) -> str:
    """`1 entry`, `12,000 entries`."""
    if n == 1:
        return f"1 {what}"
    return f"{n:,} {what[:-1]}ies" if what.endswith("y") else f"{n:,} {what}s"


def are(n: int, what: str) -> str:
    """`1 item is`, `42 items are`."""
    return f"{counted(n, what)} {'is' if n == 1 else 'are'}"
