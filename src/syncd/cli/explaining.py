"""One user as text for people: what store/describe.py returns, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from syncd.cli.session import cell, when
from syncd.core.state import UNTIL_LIFTED
from syncd.reconcile.render import fill, plain, table

Json = dict[str, Any]
_WAYS = 3  # by which she is in a group too, shown at most


def brief(user: Json) -> RenderableType:
    """Who this is, and access by name."""
    shown = table("", "")
    fill(shown, ((name, cell(value)) for name, value in _facts(user) if value not in (None, "", [])))
    shown.show_header = False
    return Group(_headline(user), shown)


def whole(user: Json) -> RenderableType:
    """Every grant with its reason; what is held, waited for and scheduled."""
    parts: list[RenderableType] = [_headline(user)]
    access = [("role", each) for each in user["roles"]]
    access += [("permission", each) for each in user["permissions"] if each["role"] is None]
    access += [("data scope", {**each, "value": f"{each['kind']}={each['value']}"}) for each in user["data_scopes"]]
    access += [("seat", each) for each in user["seats"]]
    access += [("seat", more) for each in user["seats"] for more in each["also"]]
    shown = table("what", "which", "why", "since", "run", title="Access")
    fill(shown, ((kind, *_grant(each)) for kind, each in access))
    parts.append(shown if access else Text("no access: nothing grants any"))
    if user["denials"]:
        denied = table("denied", "which", "by", "would come from", title="Denied, whatever gives it")
        fill(denied, ((e["kind"], *_grant(e)[:2], ", ".join(e["taken"]) or "nothing") for e in user["denials"]))
        parts.append(denied)
    if user["withheld"]:
        kept = table(
            "not given", "which", "would come by", "source that may not grant it", title="Withheld (`may_grant`)"
        )
        columns = ("kind", "value", "through")
        fill(kept, ((*(e[column] for column in columns), ", ".join(e["sources"])) for e in user["withheld"]))
        parts.append(kept)
    through = {each["role"] for each in user["permissions"] if each["role"]}
    if through:
        roles = table("role", "permits", title="What the roles permit")
        fill(roles, ((role, ", ".join(_permitted(user, role))) for role in sorted(through)))
        parts.append(roles)
    if user["groups"]:
        groups = table("group", "source", "how", title="Groups")
        fill(groups, ((each["display"], each["source"], _how(user, each)) for each in user["groups"]))
        parts.append(groups)
    links = table("source", "says", "entry", "since", title="Where this comes from")
    fill(
        links, ((each["source"], _says(each), each["dn"] or each["key"], when(each["since"])) for each in user["links"])
    )
    parts.append(links)
    contested = [each for each in user["owners"] if each["aside"]]
    if contested:
        values = table("attribute", "shown", "of", "because", "kept aside", title="Values that several sources state")
        fill(values, (_contested(user, each) for each in contested))
        parts.append(values)
    if user["scheduled"]:
        coming = table("when", "what", "because", title="Scheduled next")
        fill(coming, ((when(each["at"]) or "open", each["what"], each["because"]) for each in user["scheduled"]))
        parts.append(coming)
    if user["held"]:
        held = table("held", "by", "why", "digest", title="Held until an admin decides (`syncd runs approve DIGEST`)")
        fill(held, ((each["kind"], each["guard"], each["why"], each["digest"][:12]) for each in user["held"]))
        parts.append(held)
    return Group(*parts)


def _contested(user: Json, each: Json) -> tuple[str, str, str, str, str]:
    aside = ", ".join(f"{other['source']}: {_text(other['value'])}" for other in each["aside"])
    attribute = each["attribute"]
    return attribute.rpartition(":")[2], _text(user["values"].get(attribute)), each["source"], each["why"], aside


def _headline(user: Json) -> Text:
    name = f" ({user['displayName']})" if user["displayName"] else ""
    line = Text(plain(f"{user['userName']}{name}: "))
    line.append(user["status"], style="green" if user["status"] == "active" else "bold yellow")
    if user["suspended"]:
        line.append(plain(f" · held by an admin: {user['suspended_because']}"))
    if user["status"] in ("suspended", "inactive", "deleted"):
        line.append(" · no access and no seat while this lasts")
    return line


def _facts(user: Json) -> Iterator[tuple[str, Any]]:
    yield "id", user["id"]
    for path, value in user["values"].items():
        if path.endswith(":manager.value"):
            yield "manager", user["manager"]
            continue
        yield path.rpartition(":")[2], _text(value)
    yield "roles", sorted({each["value"] for each in user["roles"]})
    yield "data scopes", [f"{each['kind']}={each['value']}" for each in user["data_scopes"]]
    yield "seats", [each["value"] for each in user["seats"]]
    yield "waiting for", [f"{each['value']} ({each['position']} of {each['queue']})" for each in user["waiting"]]
    yield "idle seats", [f"{each} (comes back with the next sign-in)" for each in user["reclaimed"]]
    yield "groups", [each["display"] for each in user["groups"]]
    yield "sources", [each["source"] for each in user["links"]]
    yield "password", _password(user["password"])
    yield "new address", _new_address(user["email_change"])
    yield "last sign-in", _signed_in(user["sign_ins"])
    yield "failed attempts", _failed(user["sign_ins"])
    yield "created", user["created_at"]
    yield "version", user["version"]


def _password(kept: Json | None) -> str:
    if kept is None:
        return ""
    return f"set {when(kept['set_at'])} by {kept['source']}{', to be changed' if kept['must_change'] else ''}"


def _new_address(waiting: Json | None) -> str:
    if waiting is None:
        return ""
    state = "to be confirmed until" if waiting["state"] == "pending" else "not confirmed until"
    mail = f"; the mail is {waiting['mail']}" if waiting["mail"] not in (None, "sent") else ""
    server = f": {waiting['mail_error']}" if waiting["mail_error"] else ""
    return f"{waiting['address']} ({state} {when(waiting['expires_at'])}{mail}{server})"


def _signed_in(known: Json) -> str:
    if known["last_at"] is None:
        return ""
    factor = {True: ", with a second factor", False: ", without a second factor", None: ""}[known["second_factor"]]
    return f"{when(known['last_at'])}{_from(known['last_address'])}{factor}"


def _failed(known: Json) -> str:
    if not known["failed_attempts"]:
        return ""
    return f"{known['failed_attempts']}, the last {when(known['failed_at'])}{_from(known['failed_address'])}"


def _from(address: str | None) -> str:
    return f" from {address}" if address else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    return str(value.get("value", value)) if isinstance(value, dict) else str(value)


def _grant(each: Json) -> tuple[str, str, str, str]:
    derived = each["origin"] in ("rule", "group")  # their reason says all
    why = each["why"] if derived else f"{each['origin']} by {each['name']}"
    if not derived and each["why"]:
        why += f": {each['why']}"
    if each.get("expires"):
        why += f" (until {when(each['expires'])})"
    return each["value"], why or f"rule {each['name']}", when(each["since"]), each["run"] or ""


def _permitted(user: Json, role: str) -> Iterable[str]:
    return sorted({each["value"] for each in user["permissions"] if each["role"] == role})


def _how(user: Json, group: Json) -> str:
    """`alice -> crm-admins (via emea-sales)`; further groups in between come after it, upwards, then other ways."""
    ways = [f"via {' > '.join(via)}" for via in group["also"]]
    other = f"also {'; '.join(ways[:_WAYS])}" if ways else ""
    more = f"; {len(ways) - _WAYS} more" if len(ways) > _WAYS else ""
    if group["type"] == "direct":
        return f"member{other and f', {other}'}{more}"
    return f"{user['userName']} -> {group['display']} (via {' > '.join(group['via'])}{other and f'; {other}'}{more})"


def _says(link: Json) -> str:
    said = "enabled" if link["enabled"] else f"disabled: {link['because']}" if link["because"] else "disabled"
    if link["stage"]:
        reads = link["missing_reads"]
        said = f"{link['stage']} (missing since {when(link['missing_since'])}, {reads} read{'s' * (reads != 1)})"
        if not reads:  # nobody missed her: a connection said so
            said = f"{link['stage']} (since {when(link['missing_since'])})"
    for name, text in (("starts_at", "starts"), ("ends_at", "ends"), ("locked_until", "locked out until")):
        if link[name]:
            until_lifted = name == "locked_until" and link[name] == UNTIL_LIFTED
            said += f", {text} {'it is lifted there' if until_lifted else when(link[name])}"
    return said if link["authoritative"] else f"{said} (not authoritative)"
