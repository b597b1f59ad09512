"""The description of the API (OpenAPI 3.1), made from the table of operations and the very models that validate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from syncd.api.endpoint import MEDIA_TYPE
from syncd.api.model import Nothing
from syncd.api.operation import AUTHENTICATED, Answer, Call, Operation
from syncd.api.problem import MEDIA_TYPE as PROBLEM
from syncd.api.problem import Problem
from syncd.store.read import Connection

_REF: Final = "#/components/schemas/{model}"
_SAID: Final = {
    400: "No JSON, a header that means nothing, or a value that cannot be.",
    401: "No token, or none that is valid.",
    403: "The token lacks the permission, or a rule of safety refuses it.",
    404: "There is no such thing.",
    405: "Not at this path.",
    409: "It contradicts the current state.",
    412: "If-Match names another version.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    422: "The message is not valid: `errors` says where.",
    429: "Too many requests, or more is lost at once than a guard lets through: see Retry-After.",
    503: "The database is not available.",
}
_ALWAYS: Final = (400, 401, 403, 422, 429, 503)
_DRY: Final = {
    "name": "X-Dry-Run",
    "in": "header",
    "description": "`true`: answer as it would be, and change nothing.",
    "schema": {"type": "string", "enum": ["true", "false"]},
}
_ONCE: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Repeated within a day with the same request, it is answered the same and done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]+$"},
}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "Only if it is still at this version (an ETag).",
    "schema": {"type": "string"},
}


class Described(BaseModel):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow", frozen=True)

    openapi: str


def describing(operations: Sequence[Operation]) -> Operation:
    """The operation that answers the description of these and of itself."""

    def handle(call: Call, conn: Connection) -> Answer:
        return Answer(described())

    @cache
    def described() -> Described:
        return Described(**description((*operations, own)))

    own = Operation("GET", "/openapi.json", AUTHENTICATED, handle, "This description", answer=Described)
    return own


def description(operations: Sequence[Operation]) -> dict[str, Any]:
    refs, schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, refs, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "syncd",
            "version": version("syncd"),
            "description": "People, roles, groups and seats of one workspace: the one of the token.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, operations))],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`syncd token create`"}},
        },
    }


_Key = tuple[type[Any], JsonSchemaMode]


def _schemas(operations: Iterable[Operation]) -> tuple[dict[_Key, Any], dict[str, Any]]:
    wanted: dict[_Key, None] = {(Problem, "serialization"): None}
    for each in operations:
        wanted |= {(model, "validation"): None for model in (each.body, each.query) if model is not Nothing}
        if each.answer is not None:
            wanted[each.answer, "serialization"] = None
    refs, found = models_json_schema(list(wanted), ref_template=_REF)
    return dict(refs), found.get("$defs", {})


def _operation(each: Operation, refs: dict[_Key, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if each.streams:
        content: dict[str, Any] = {media.partition(";")[0]: {"schema": {"type": "string"}} for media in each.streams}
        answers["200"] = {"description": each.summary, "content": content}
    elif each.answer is None:
        done = {202: "Accepted.", 204: "Done."}
        status = each.status if each.status in done else 204
        answers[str(status)] = {"description": done[status]}
    else:
        shown = {"description": each.summary, "content": {each.media: {"schema": refs[each.answer, "serialization"]}}}
        if each.versioned:
            shown["headers"] = {"ETag": {"description": "The version.", "schema": {"type": "string"}}}
        answers[str(each.status)] = shown
    for status in _errors(each):
        content = {PROBLEM: {"schema": refs[Problem, "serialization"]}}
        answers[str(status)] = {"description": _SAID[status], "content": content}
    described: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "tags": [_tag(each)],
        "parameters": list(_parameters(each, refs, schemas)),
        "responses": answers,
    }
    if each.permission != AUTHENTICATED:
        described["description"] = f"Needs the permission `{each.permission}`."
    if each.body is not Nothing:
        required = any(field.is_required() for field in each.body.model_fields.values())
        content = {MEDIA_TYPE: {"schema": refs[each.body, "validation"]}}
        described["requestBody"] = {"required": required, "content": content}
    return described


def _errors(each: Operation) -> list[int]:
    found = {*_ALWAYS, *each.errors}
    if "{" in each.path:
        found.add(404)
    if each.body is not Nothing:
        found |= {413, 415}
    if each.writes:
        found.add(409)
    if each.versioned and each.writes:
        found.add(412)
    return sorted(found)


def _parameters(each: Operation, refs: dict[_Key, Any], schemas: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", each.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    if each.query is not Nothing:
        schema = schemas[refs[each.query, "validation"]["$ref"].rpartition("/")[2]]
        for name, field in schema["properties"].items():
            required = name in schema.get("required", ())
            described = {"name": name, "in": "query", "required": required, "schema": _without_null(field)}
            if "description" in field:
                described["description"] = field["description"]
            yield described
    if each.writes:
        yield _DRY
    if each.method == "POST" and each.once:
        yield _ONCE
    if each.versioned and each.writes:
        yield _IF_MATCH


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is there or not; it is never null."""
    shown = {name: value for name, value in field.items() if name not in ("description", "title")}
    kinds = [kind for kind in shown.pop("anyOf", []) if kind != {"type": "null"}]
    if shown.get("default", ...) is None:
        del shown["default"]
    return shown | kinds[0] if len(kinds) == 1 else shown | ({"anyOf": kinds} if kinds else {})


def _tag(each: Operation) -> str:
    return each.path.split("/")[1].removesuffix(".json")
