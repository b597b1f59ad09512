"""Mail as values: which letters there are, what they can say, and to which address a user is written. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

_ALL: Final = frozenset({"application", "recipient"})
_LEAVING: Final = frozenset({"name", "user_name", "date", "hand_over_to", "handover"})
# What a template of each kind may name.
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "leaving": _ALL | _LEAVING,
    "staying": _ALL | {"name", "user_name", "date"},
    "handover": _ALL | _LEAVING,
    "invitation": _ALL | {"link", "expires", "inviter"},
    "reset": _ALL | {"name", "user_name", "link", "expires"},
    "email_change": _ALL | {"name", "user_name", "address", "link", "expires"},
    "email_changing": _ALL | {"name", "user_name", "address", "asked_by", "expires"},
    "test": _ALL,
}
# RFC 5321 section 4.5.3.1; no comments, no quotes, no spaces: what people have.
_ATOM: Final = r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]"
_LABEL: Final = r"[^\s@<>()\[\],;:\\\".\x00-\x1f\x7f]{1,63}"
_ADDRESS: Final = re.compile(rf"{_ATOM}{{1,64}}@(?:{_LABEL}\.)*{_LABEL}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """One mail, ready to be written. `values` hold what concerns people, and sometimes a link that is a secret."""

    id: str
    kind: str
    address: str
    language: str
    at: datetime
    values: Mapping[str, str] = field(repr=False)


def is_address(text: str) -> bool:
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None


def address_of(values: Mapping[str, Any]) -> str | None:
    """Where this user is written to: the primary address, else the one at work, else the first; None if she has none."""
    listed = values.get("emails")
    found = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list | tuple) else []
    ranked = sorted(found, key=lambda each: (each.get("primary") is not True, each.get("type") != "work"))
    return next((str(each["value"]) for each in ranked if is_address(str(each.get("value", "")))), None)


def language_of(values: Mapping[str, Any]) -> str:
    return (
        str(values.get("preferredLanguage") or values.get("locale") or "").replace("_", "-").partition(",")[0].strip()
    )


def shown_name(values: Mapping[str, Any]) -> str:
    """How people call her."""
    both = " ".join(str(values[part]) for part in ("name.givenName", "name.familyName") if values.get(part))
    return str(values.get("displayName") or values.get("name.formatted") or both or values.get("userName") or "")
