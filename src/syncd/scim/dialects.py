"""What providers send that RFC 7644 does not have, each turned into RFC form by one named function.

Only what has one possible meaning is tolerated. A tolerance is its function's name; its docstring says who sends it and
where that is recorded; it counts as used if it changed something. `TOLERANCES` is the table, in the order in which they
are tried; a caller may give fewer. Nothing here judges: what stays wrong is refused by patch.py or core/resource.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from syncd.core.schema import Attribute, Mutability, Resolved, ResourceType, Type
from syncd.errors import SyncdError, TooLarge
from syncd.scim import path as paths
from syncd.scim.messages import ABSENT, Operation
from syncd.scim.patch import Patch, at


@dataclass(frozen=True, slots=True)
class _Context:
    type: ResourceType
    patch: Patch  # what is stored, or what the operations before made of it


_OnOperation = Callable[[Operation, _Context], tuple[Operation, ...]]
_OnValue = Callable[[Resolved, Any], Any]


# ---------------------------------------------------------------- whole operations


def operation_in_any_case(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """Entra: `Add`, `Replace`, `Remove` (Microsoft's page on SCIM compatibility problems)."""
    return (replace(operation, op=operation.kind),)


def value_as_json_text(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """scim-for-keycloak: the whole `value` is a string of JSON (Captain-P-Goldfish/scim-for-keycloak#172)."""
    parsed = _json_object(operation.value) if operation.path is None else None
    return (operation if parsed is None else replace(operation, value=parsed),)


def dotted_and_urn_keys(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """Entra with aadOptscim062020: `{"name.givenName": .., "urn:..:User:department": ..}` without a path."""
    if operation.path is not None or operation.kind == "remove" or not isinstance(operation.value, Mapping):
        return (operation,)
    plain: dict[str, Any] = {}
    apart: list[Operation] = []
    for key, value in operation.value.items():
        name = key.partition("[")[0].strip()
        found = context.type.resolve(name)
        if found is None or (name == key and found.parent is None and (found.extension in (None, found.path))):
            plain[key] = value
        else:
            apart.append(replace(operation, path=key, value=value))
    return ((replace(operation, value=plain),) if plain or not apart else ()) + tuple(apart)


def extension_without_urn(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """Entra's older form: path `manager` for the enterprise extension's (Microsoft's documentation)."""
    path = operation.path
    name = "" if path is None else path.partition("[")[0].partition(".")[0].strip()
    if path is None or context.type.resolve(name) is not None:
        return (operation,)
    homes = [schema.id for schema, _ in context.type.extensions if schema.attribute(name) is not None]
    return (replace(operation, path=f"{homes[0]}:{path.strip()}") if len(homes) == 1 else operation,)


def remove_with_value(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """Entra by default, JumpCloud, authentik: `remove members` with the list of those to take out as its value.

    Becomes a remove with a filter for each; an empty list removes nothing. (scim2-models: remove_value_as_filter.)
    """
    target = None if operation.path is None else context.type.resolve(operation.path.strip())
    value = operation.value
    if operation.kind != "remove" or target is None or value is ABSENT or value is None:
        return (operation,)
    if not target.attribute.multi_valued or target.attribute.type is not Type.COMPLEX:
        return (operation,)
    filters = [_as_filter(target.attribute, element) for element in (value if isinstance(value, list) else [value])]
    if None in filters:
        return (operation,)
    return tuple(replace(operation, path=f"{target.path}[{text}]", value=ABSENT) for text in dict.fromkeys(filters))


def _as_filter(attribute: Attribute, element: Any) -> str | None:
    """The condition that an element is this one; None if that cannot be said."""
    if isinstance(element, str) and element:
        element = {"value": element}
    if not isinstance(element, Mapping):
        return None
    parts = {sub.name: part for key, part in element.items() if (sub := attribute.sub(key)) and part not in (None, "")}
    if attribute.sub("value") is not None:
        if "value" not in parts:
            return None
        # The value says which; the type too where one value may stand twice. A member's display may be out of date.
        names = ("value",) if attribute.name == "members" else ("value", "type")
        parts = {name: parts[name] for name in names if name in parts}
    if not parts or not all(isinstance(part, str | bool) for part in parts.values()):
        return None
    return " and ".join(f"{name} eq {orjson.dumps(part).decode()}" for name, part in parts.items())


def empty_means_remove(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """Entra: `Add` or `Replace` of the manager with `""` takes the manager away.

    As research/scim.md 2.1 records it; scim2-server 0.8.3 answers 400 (3.1).
    """
    target = None if operation.path is None else context.type.resolve(operation.path.strip())
    if (
        target is None
        or operation.kind == "remove"
        or operation.value not in ("", [""], [{"value": ""}], {"value": ""})
    ):
        return (operation,)
    if target.attribute.multi_valued or target.attribute.type is not Type.COMPLEX:
        return (operation,)
    return (replace(operation, op="remove", value=ABSENT),)


def repeated_read_only(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """Okta's group rename holds the group's `id` in its value, authentik's too (goauthentik/authentik#23950).

    Dropped if it is the stored one; another id is left to be refused.
    """
    if operation.path is not None or not isinstance(operation.value, Mapping):
        return (operation,)
    kept = {
        key: value
        for key, value in operation.value.items()
        if key.lower() not in ("id", "schemas", "meta")
        or (key.lower() == "id" and value != context.patch.document.get("id"))
    }
    if len(kept) == len(operation.value):
        return (operation,)
    return (replace(operation, value=kept),) if kept else ()


def value_path_creates(operation: Operation, context: _Context) -> tuple[Operation, ...]:
    """Entra: `Add` or `Replace emails[type eq "work"].value` on a user without such an e-mail (ssoready/ssoready#249).

    Becomes an add of an element made of the filter's terms, if these are equalities joined by `and` and do not speak of
    the very part that is set. RFC 7644 3.5.2.3 has noTarget.
    """
    if operation.path is None or "[" not in operation.path or operation.kind == "remove" or operation.value is ABSENT:
        return (operation,)
    path = paths.parse(operation.path, context.type)
    if path.where is None or context.patch.selects(path):
        return (operation,)
    element = paths.equal_terms(path.where, path.attribute)
    given: Any = {path.sub.attribute.name: operation.value} if path.sub is not None else operation.value
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if element is None or not isinstance(given, Mapping) or (path.sub and path.sub.attribute.name in element):
        return (operation,)
    if path.sub is not None and operation.value in (None, "", []):
        return ()  # nothing is there and nothing is to be there
    return (replace(operation, op="add", path=path.attribute.path, value=[{**element, **given}]),)


# ---------------------------------------------------------------- values


def boolean_as_text(attribute: Resolved, value: Any) -> Any:
    """Entra by default: `"False"` for false, in lists too (buildbuddy-io/buildbuddy#10578)."""
    if attribute.attribute.type is Type.BOOLEAN and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def null_reference(attribute: Resolved, value: Any) -> Any:
    """Entra: members come with `"$ref": null` (scimmyjs/scimmy#34)."""
    if isinstance(value, Mapping) and "$ref" in value and value["$ref"] is None:
        return {key: part for key, part in value.items() if key != "$ref"}
    return value


def list_for_single_value(attribute: Resolved, value: Any) -> Any:
    """Microsoft's own example sends the manager as a list of one."""
    single = not attribute.attribute.multi_valued and isinstance(value, list) and len(value) == 1
    return value[0] if single else value


def bare_value(attribute: Resolved, value: Any) -> Any:
    """Entra: the manager's id as a string where `{"value": id}` is meant (apache/directory-scimple#1244)."""
    complex_with_value = attribute.attribute.type is Type.COMPLEX and attribute.attribute.sub("value") is not None
    return {"value": value} if complex_with_value and isinstance(value, str) and value else value


def role_as_json_text(attribute: Resolved, value: Any) -> Any:
    """Entra's AppRoleAssignmentsComplex: a role's `value` is text holding JSON with id, value and displayName.

    Seen in buildbuddy-io/buildbuddy#10578; Entra only ever adds them.
    """
    if attribute.path != "roles" or not isinstance(value, Mapping):
        return value
    inner = _json_object(value.get("value"))
    if inner is None or not isinstance(inner.get("value"), str):
        return value
    shown = {"display": inner["displayName"]} if isinstance(inner.get("displayName"), str) else {}
    return {**shown, **value, "value": inner["value"]}


def _json_object(text: Any) -> dict[str, Any] | None:
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        parsed = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    return parsed if isinstance(parsed, dict) else None


# ---------------------------------------------------------------- whole documents (POST, PUT)


def legacy_schemas(document: Mapping[str, Any], context: _Context) -> dict[str, Any]:
    """URNs that no part of the document belongs to, beside or instead of ours.

    Entra adds `http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group` to every group; OneLogin's
    template has SCIM 1.0's `urn:scim:schemas:core:1.0` (scim.dev).
    """
    known = {context.type.schema.id.lower()} | {schema.id.lower() for schema, _ in context.type.extensions}
    held = {key.lower() for key in document}
    result = dict(document)
    for key, schemas in document.items():
        if key.lower() == "schemas" and isinstance(schemas, list) and all(isinstance(item, str) for item in schemas):
            kept = [item for item in schemas if item.lower() in known or item.lower() in held]
            if "urn:scim:schemas:core:1.0" in schemas and context.type.schema.id not in kept:
                kept.insert(0, context.type.schema.id)
            result[key] = kept
    return result


def echoed_read_only(document: Mapping[str, Any], context: _Context) -> dict[str, Any]:
    """Okta's PUT sends back `id`, `meta`, `groups` as it read them; RFC 7644 3.5.1 has readOnly values ignored."""
    found = {key: context.type.resolve(key) for key in document}
    return {
        key: value
        for key, value in document.items()
        if (named := found[key]) is None or named.attribute.mutability is not Mutability.READ_ONLY
    }


# ---------------------------------------------------------------- the table

_FORMS: Final[tuple[_OnOperation, ...]] = (
    operation_in_any_case,
    value_as_json_text,
    repeated_read_only,
    dotted_and_urn_keys,
    extension_without_urn,
    empty_means_remove,
    remove_with_value,
)
_VALUES: Final[tuple[_OnValue, ...]] = (
    list_for_single_value,
    bare_value,
    role_as_json_text,
    null_reference,
    boolean_as_text,
)
_DOCUMENTS: Final[tuple[Callable[[Mapping[str, Any], _Context], dict[str, Any]], ...]] = (
    legacy_schemas,
    echoed_read_only,
)
TOLERANCES: Final[tuple[str, ...]] = tuple(
    each.__name__ for each in (*_FORMS, *_VALUES, value_path_creates, *_DOCUMENTS)
)


def patch_in_rfc_form(
    operations: Sequence[Operation],
    document: Mapping[str, Any],
    resource_type: ResourceType,
    tolerances: frozenset[str] = frozenset(TOLERANCES),
) -> tuple[tuple[Operation, ...], frozenset[str]]:
    """The operations in RFC form, and the names of the tolerances that this took.

    `document` is what is stored, for the forms that depend on it. Raises what a wrong path raises.
    """
    context = _Context(resource_type, Patch(document, resource_type))
    used: set[str] = set()
    current = tuple(operations)
    for form in _FORMS:
        if form.__name__ in tolerances:
            current = tuple(new for old in current for new in _noting(form, old, context, used))
    current = tuple(_values_of_operation(operation, resource_type, tolerances, used) for operation in current)
    if value_path_creates.__name__ in tolerances:
        current = _with_created_elements(current, context, used)
    return current, frozenset(used)


def document_in_rfc_form(
    document: Mapping[str, Any], resource_type: ResourceType, tolerances: frozenset[str] = frozenset(TOLERANCES)
) -> tuple[dict[str, Any], frozenset[str]]:
    """The body of a POST or PUT in RFC form, and the names of the tolerances that this took."""
    context = _Context(resource_type, Patch({}, resource_type))
    used: set[str] = set()
    current = dict(document)
    for form in _DOCUMENTS:
        if form.__name__ in tolerances:
            changed = form(current, context)
            if changed != current:
                used.add(form.__name__)
            current = changed
    return _values_of_object(current, resource_type, tolerances, used), frozenset(used)


def _noting(form: _OnOperation, operation: Operation, context: _Context, used: set[str]) -> tuple[Operation, ...]:
    result = form(operation, context)
    if result != (operation,):
        used.add(form.__name__)
    return result


def _with_created_elements(
    operations: tuple[Operation, ...], context: _Context, used: set[str]
) -> tuple[Operation, ...]:
    """Each operation is seen against the document as those before it leave it, or two parts would make two elements."""
    candidates = [i for i, each in enumerate(operations) if each.kind != "remove" and "[" in (each.path or "")]
    if not candidates:
        return operations
    result: list[Operation] = []
    for index, operation in enumerate(operations[: candidates[-1] + 1]):
        try:
            rewritten = _noting(value_path_creates, operation, context, used)
            for each in rewritten:
                context.patch.apply(each)
        except TooLarge as exc:
            raise TooLarge(f"{at(operation)}: {exc}") from exc
        except SyncdError:
            # The patch will meet the same fault, and says which operation it is.
            return (*result, *operations[index:])
        result.extend(rewritten)
    return (*result, *operations[candidates[-1] + 1 :])


def _values_of_operation(
    operation: Operation, resource_type: ResourceType, tolerances: frozenset[str], used: set[str]
) -> Operation:
    if operation.kind == "remove" or operation.value is ABSENT:
        return operation
    if operation.path is None:
        if not isinstance(operation.value, Mapping):
            return operation
        return replace(operation, value=_values_of_object(operation.value, resource_type, tolerances, used))
    try:
        path = paths.parse(operation.path, resource_type)
    except SyncdError:
        return operation  # refused by the patch, which says where
    target = path.sub or path.attribute
    return replace(operation, value=_value(target, operation.value, tolerances, used, element=path.where is not None))


def _values_of_object(
    found: Mapping[str, Any], resource_type: ResourceType, tolerances: frozenset[str], used: set[str]
) -> dict[str, Any]:
    """Each member's value, an extension's members too."""
    return {key: _member(key, value, resource_type, tolerances, used) for key, value in found.items()}


def _member(key: str, value: Any, resource_type: ResourceType, tolerances: frozenset[str], used: set[str]) -> Any:
    found = resource_type.resolve(key)
    if found is None or key.lower() == "schemas":
        return value
    if found.path == found.extension and isinstance(value, Mapping):
        return {
            name: _member(f"{found.path}:{name}", part, resource_type, tolerances, used) for name, part in value.items()
        }
    return _value(found, value, tolerances, used)


def _value(to: Resolved, value: Any, tolerances: frozenset[str], used: set[str], *, element: bool = False) -> Any:
    if to.attribute.multi_valued and not element and isinstance(value, list):
        return [_value(to, item, tolerances, used, element=True) for item in value]
    for form in _VALUES:
        if form.__name__ in tolerances:
            changed = form(to, value)
            if changed is not value:
                used.add(form.__name__)
            value = changed
    if isinstance(value, Mapping) and to.attribute.type is Type.COMPLEX:
        return {key: _part(to, key, part, tolerances, used) for key, part in value.items()}
    return value


def _part(to: Resolved, key: str, value: Any, tolerances: frozenset[str], used: set[str]) -> Any:
    sub = to.attribute.sub(key)
    return (
        value if sub is None else _value(Resolved(f"{to.path}.{sub.name}", sub, to.attribute), value, tolerances, used)
    )
