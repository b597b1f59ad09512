"""LDIF change records (RFC 2849) as one writes them for ldapmodify; every value in base64, so that none needs care."""

from __future__ import annotations

from base64 import b64encode

from syncd import sample


def add(dn: str, **attributes: str | tuple[str, ...]) -> str:
    lines = [_line("dn", dn), "changetype: add\n"]
    for name, values in attributes.items():
        lines += [_line(name, value) for value in ((values,) if isinstance(values, str) else values)]
    return "".join(lines) + "\n"


def person(uid: str, unit: str, key: str | None = None, **different: str) -> str:
    """A new inetOrgPerson below `unit`; `key` becomes its entryUUID."""
    own = {"uid": uid, "cn": uid, "sn": uid, "givenName": "New", "mail": f"{uid}@example.org"}
    keyed = {"entryUUID": key} if key else {}
    classes = ("inetOrgPerson", "shadowAccount") if "shadowExpire" in different else ("inetOrgPerson",)
    return add(f"uid={uid},{unit}", objectClass=classes, **{**own, "employeeType": "Employee", **keyed, **different})


def delete(dn: str) -> str:
    return _line("dn", dn) + "changetype: delete\n\n"


def move(dn: str, rdn: str, under: str | None = None) -> str:
    """modrdn: another name, and with `under` another place."""
    superior = _line("newsuperior", under) if under else ""
    return _line("dn", dn) + "changetype: modrdn\n" + _line("newrdn", rdn) + "deleteoldrdn: 1\n" + superior + "\n"


def modify(dn: str, *operations: tuple[str, ...]) -> str:
    """Each operation is (add|delete|replace, attribute, values...)."""
    lines = [_line("dn", dn), "changetype: modify\n"]
    for kind, attribute, *values in operations:
        lines += [f"{kind}: {attribute}\n", *(_line(attribute, value) for value in values), "-\n"]
    return "".join(lines) + "\n"


def unit_of(person: sample.Person) -> str:
    return f"ou={sample.escape_value(person.department)},{sample.PEOPLE}"


def _line(name: str, value: str) -> str:
    return f"{name}:: {b64encode(value.encode()).decode()}\n"
