"""What makes a password good enough, and who may have one here. Pure: nothing is hashed or kept.

Length counts, not kinds of characters (NIST SP 800-63B section 3.1.1.2). What is tried first is refused: common words with
digits around them, her own name, one character over and over, rows of keys. Text is prepared as RFC 8265 section 4.2 says
(OpaqueString), when it is set and when it is verified, so that two keyboards that spell it differently mean the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from syncd.core.actor import ADMIN_SOURCE
from syncd.core.resource import fold
from syncd.core.secret import Secret
from syncd.core.state import User

MAX_LENGTH = 256  # characters; what is longer costs time and protects nobody better
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "qwertzuiop", "asdfghjkl", "yxcvbnm", "zxcvbnm")
_COMMON = frozenset(
    (
        *(
            "password",
            "passwort",
            "passwd",
            "pass",
            "motdepasse",
            "contrasena",
            "haslo",
            "heslo",
            "kennwort",
            "wachtwoord",
        ),
        *("admin", "administrator", "root", "user", "test", "guest", "login", "master", "secret", "geheim", "changeme"),
        *(
            "welcome",
            "willkommen",
            "hello",
            "hallo",
            "bienvenue",
            "letmein",
            "iloveyou",
            "trustnoone",
            "access",
            "default",
        ),
        *(
            "monkey",
            "dragon",
            "sunshine",
            "princess",
            "football",
            "baseball",
            "superman",
            "batman",
            "starwars",
            "pokemon",
        ),
        *(
            "spring",
            "summer",
            "autumn",
            "winter",
            "sommer",
            "herbst",
            "january",
            "monday",
            "company",
            "temporary",
            "syncd",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """`forbidden`: further passwords, folded. `beside_provider`: also who signs in elsewhere may have one here.

    `attempts_per_minute`: that are looked at, for one user. `reset_for`: how long a token to choose a new one lasts.
    """

    min_length: int = 12
    forbidden: frozenset[str] = frozenset()
    beside_provider: bool = False
    attempts_per_minute: int = 10
    reset_for: timedelta = timedelta(hours=1)


def prepared(password: Secret) -> str:
    """The text that is hashed and compared."""
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in password.reveal())
    return unicodedata.normalize("NFC", spaced)


def faults(password: Secret, policy: PasswordPolicy, about: Iterable[str] = ()) -> tuple[str, ...]:
    """What is wrong with it, in words for whoever chose it; never the password. `about`: her names and addresses."""
    return tuple(_faults(prepared(password), policy, about))


def _faults(text: str, policy: PasswordPolicy, about: Iterable[str]) -> Iterator[str]:
    if len(text) < policy.min_length:
        yield f"it has {len(text)} characters, fewer than {policy.min_length}"
    if len(text) > MAX_LENGTH:
        yield f"it has {len(text)} characters, more than {MAX_LENGTH}"
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in text):
        yield "it has a control character"
    folded = fold(text)
    if folded in policy.forbidden or _letters(folded) in _COMMON or _repeats(folded, _COMMON):
        yield "it is among the first that are tried: a common word"
    elif len(set(folded)) < min(5, policy.min_length):
        yield "it has fewer than 5 different characters"
    elif _is_row(folded):
        yield "it is a row of keys, letters or digits"
    if any(part in folded for part in _parts(about)):
        yield "it contains the name or address of the user"


def _letters(text: str) -> str:
    return "".join(each for each in text if each.isalpha())


def _repeats(text: str, words: frozenset[str]) -> bool:
    """Whether the letters are one common word over and over."""
    letters = _letters(text)
    return any(len(letters) > len(word) and letters == word * (len(letters) // len(word)) for word in words)


def _is_row(text: str) -> bool:
    """Every step but two goes to the neighbour on the alphabet, the digits or a row of keys, or stays."""
    steps = [one == two or any(one + two in row or two + one in row for row in _ROWS) for one, two in pairwise(text)]
    return bool(steps) and steps.count(False) <= 2


def _parts(about: Iterable[str]) -> Iterator[str]:
    for each in about:
        for part in fold(each).replace("@", " ").replace(".", " ").split():
            if len(part) >= 4:
                yield part


def names_of(user: User) -> tuple[str, ...]:
    """What of her a password must not contain."""
    told = [user.values.get(path) for path in ("userName", "displayName", "name.givenName", "name.familyName")]
    return tuple(str(each) for each in told if each)


def barred(user: User, policy: PasswordPolicy, sends_passwords: Callable[[str], bool]) -> str | None:
    """Why this user may have no password here; None: she may. `sends_passwords`: sources whose passwords are kept."""
    elsewhere = sorted({link.source for link in user.links if link.source != ADMIN_SOURCE})
    if policy.beside_provider or any(map(sends_passwords, elsewhere)) or not elsewhere:
        return None
    return (
        f"{user.name} comes from source {', '.join(elsewhere)} and signs in there: a password here would go round it "
        "(`passwords: {beside_provider: true}` allows it)"
    )
