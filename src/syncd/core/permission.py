"""What a token may do: `resource:verb`, or `resource:verb:attribute`; `*` is everything, `users:*` all of users.

`write` is create, update and delete together. An attribute narrows `read` and `update` to itself and its parts, and several
may be named: `users:read users:update:active` is a token that can block people and change nothing else. Asking without an
attribute asks whether anything of the kind is allowed; which attributes is judged where they are known (store/commit.py for
what is written, scim/endpoint.py for what is shown, filtered and sorted by).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from syncd.core.resource import shown
from syncd.core.schema import GROUP, USER, ResourceType
from syncd.errors import InvalidValue

ALL = "*"
WRITES = ("create", "update", "delete")
VERBS = ("read", "write", *WRITES)
NARROWED = ("read", "update")  # verbs that an attribute may narrow
TYPES: Mapping[str, ResourceType] = {"users": USER, "groups": GROUP}
METRICS_READ = "metrics:read"  # of all workspaces
# What the JSON API has beside users and groups; nothing of these can be narrowed to an attribute.
OTHERS: Mapping[str, tuple[str, ...]] = {
    "roles": ("read", "write"),  # write: give and take back roles, permissions and data scopes
    "seats": ("read", "write"),
    "activity": ("read",),
    "runs": ("read", "write"),  # write: approve and discard what a guard held
    "sources": ("read",),
    "tokens": ("read", "write"),
    "deliveries": ("read", "write"),  # write: hurry what the application has not acknowledged, or give it up
    "passwords": ("verify", "write"),  # write: set, reset and remove those of people who are no more than the bearer
    "sign-ins": ("read", "write"),  # write: report them; a failure too many locks
}
PLAIN = (
    *(f"{resource}:{verb}" for resource in TYPES for verb in VERBS),
    *(f"{resource}:{verb}" for resource, verbs in OTHERS.items() for verb in verbs),
)


def understood(text: str) -> str:
    """A permission in its canonical spelling. Raises InvalidValue, saying what can be chosen."""
    if text in (ALL, METRICS_READ, *PLAIN) or text in {f"{resource}:*" for resource in (*TYPES, *OTHERS)}:
        return text
    resource, verb, attribute = _split(text)
    if attribute is None or resource not in TYPES or verb not in VERBS:
        raise InvalidValue(
            f"a token cannot be allowed {shown(text)}: choose of {ALL}, {', '.join(PLAIN)}, {METRICS_READ}; read and "
            "update may name an attribute, such as users:update:active"
        )
    if verb not in NARROWED:
        raise InvalidValue(f"{shown(text)}: only {' and '.join(NARROWED)} can be narrowed to an attribute")
    found = TYPES[resource].resolve(attribute)
    if found is None and not attribute.lower().startswith("urn:"):  # an extension may be a workspace's own
        raise InvalidValue(f"{shown(text)}: {TYPES[resource].name} has no attribute {shown(attribute)}")
    return f"{resource}:{verb}:{found.path if found else attribute}"


@lru_cache(4096)  # tokens are few, and each request asks the same of them
def overlaps(allow: frozenset[str], asked: str) -> bool:
    """Whether something of what is asked is allowed; with an attribute, that attribute."""
    if ALL in allow or asked in allow:
        return True
    resource, verb, attribute = _split(asked)
    for each in allow:
        of, can, only = _split(each)
        if (
            of == resource
            and _verbs(can) & _verbs(verb)
            and (attribute is None or only is None or _in(only, attribute))
        ):
            return True
    return False


@lru_cache(4096)
def limited_to(allow: frozenset[str], resource: str, *verbs: str) -> frozenset[str] | None:
    """Attributes of the resource to which these verbs are narrowed; None: all of them, () if it may do nothing."""
    found: set[str] = set()
    for each in allow:
        of, can, only = _split(each)
        if of != resource and each != ALL:
            continue
        if each == ALL or _verbs(can) & _verbs(*verbs):
            if only is None:
                return None
            found.add(only)
    return frozenset(found)


def limited(allow: frozenset[str], asked: str) -> bool:
    """Whether what is asked is allowed for some attributes only."""
    resource, verb, _ = _split(asked)
    return limited_to(allow, resource, verb) is not None


def exceeding(allow: frozenset[str], wanted: Iterable[str]) -> list[str]:
    """Of these permissions those that go beyond `allow`, sorted: what its bearer cannot hand on.

    `*` does not include `metrics:read`, which tells of other workspaces too.
    """
    return sorted(each for each in wanted if each not in allow and not _included(allow, each))


def _included(allow: frozenset[str], wanted: str) -> bool:
    if wanted in (ALL, METRICS_READ):
        return False
    resource, verb, attribute = _split(wanted)
    for each in _verbs(verb):
        limits = limited_to(allow, resource, each)
        if limits is not None and (attribute is None or outside(limits, [attribute])):
            return False
    return True


def outside(attributes: Collection[str] | None, paths: Iterable[str]) -> list[str]:
    """Of these canonical paths those that lie outside `attributes` (None: nothing does), sorted."""
    if attributes is None:
        return []
    return sorted({path for path in paths if not any(_in(each, path) for each in attributes)})


def named(permission: str) -> str:
    """A permission as a refusal names it, with the wider one that people know."""
    resource, verb, _ = _split(permission)
    return f"{permission} (part of {resource}:write)" if verb in WRITES else permission


def _in(attribute: str, path: str) -> bool:
    return path == attribute or path.startswith((f"{attribute}.", f"{attribute}:"))


def _split(text: str) -> tuple[str, str, str | None]:
    resource, _, rest = text.partition(":")
    verb, _, attribute = rest.partition(":")
    return resource, verb, attribute or None


def _verbs(*verbs: str) -> frozenset[str]:
    found: set[str] = set()
    for verb in verbs:
        found |= {"read", *WRITES} if verb == "*" else set(WRITES) if verb == "write" else {verb}
    return frozenset(found)
