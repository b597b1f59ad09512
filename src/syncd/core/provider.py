"""The schemas of what the server says of itself: ServiceProviderConfig, ResourceType and Schema (RFC 7643 section 8.7.2).

As the verified errata of RFC 7643 have them: `schemaExtensions` is a list (7522). Beyond the figure stands what sections 5 to 7
name and it lacks: `etag`, the `type` of an authentication scheme, the type `binary`, `primary` of section 8.5; and what is
younger: `pagination` (RFC 9865 section 4), `securityEvents` (RFC 9967). `RolesAndEntitlements` of the draft has parts within
parts, which no schema can say (section 2.3.8). A type without extensions has no `schemaExtensions` (section 6): not required.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from syncd.core.schema import Attribute, Mutability, Returned, Schema, Type, Uniqueness


def _told(name: str, description: str, type: Type = Type.STRING, **characteristics: Any) -> Attribute:
    return Attribute(name, type, description=description, mutability=Mutability.READ_ONLY, **characteristics)


def _words(of: type[StrEnum]) -> tuple[str, ...]:
    return tuple(each.value for each in of)


def _required(name: str, description: str, type: Type = Type.STRING, **characteristics: Any) -> Attribute:
    return _told(name, description, type, required=True, **characteristics)


def _link(name: str, description: str, *to: str, required: bool = False) -> Attribute:
    return _told(name, description, Type.REFERENCE, required=required, case_exact=True, reference_types=to)


def _parts(name: str, description: str, *parts: Attribute, **characteristics: Any) -> Attribute:
    return _told(name, description, Type.COMPLEX, sub_attributes=parts, **characteristics)


_SUPPORTED = _required("supported", "Whether the server does it.", Type.BOOLEAN)


def _feature(name: str, description: str, *limits: Attribute) -> Attribute:
    return _parts(name, description, _SUPPORTED, *limits, required=True)


SERVICE_PROVIDER_CONFIG: Final = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig",
    "Service Provider Configuration",
    "What this server does of the standard",
    (
        _link("documentationUri", "URL of the documentation for people.", "external"),
        _feature("patch", "PATCH."),
        _feature(
            "bulk",
            "Several operations in one request.",
            _required("maxOperations", "How many operations a request may have.", Type.INTEGER),
            _required("maxPayloadSize", "How many bytes a request may have.", Type.INTEGER),
        ),
        _feature(
            "filter",
            "Lists of what meets a condition.",
            _required("maxResults", "How many resources an answer has at most.", Type.INTEGER),
        ),
        _feature("changePassword", "Passwords that clients set."),
        _feature("sort", "Lists in an order that is asked for."),
        _feature("etag", "Versions of resources."),
        _parts(
            "pagination",
            "How lists are read page by page.",
            _required("cursor", "Whether by cursor.", Type.BOOLEAN),
            _required("index", "Whether by startIndex.", Type.BOOLEAN),
            _told(
                "defaultPaginationMethod", "Which one where neither is asked for.", canonical_values=("cursor", "index")
            ),
            _told("defaultPageSize", "How many resources a page has unasked.", Type.INTEGER),
            _told("maxPageSize", "How many it has at most.", Type.INTEGER),
            _told("cursorTimeout", "For how many seconds a cursor is good.", Type.INTEGER),
        ),
        _parts(
            "authenticationSchemes",
            "How clients say who they are.",
            _required(
                "type",
                "The scheme.",
                canonical_values=("oauth", "oauth2", "oauthbearertoken", "httpbasic", "httpdigest"),
            ),
            _required("name", "Its common name."),
            _required("description", "What it is."),
            _link("specUri", "URL of its specification.", "external"),
            _link("documentationUri", "URL of its documentation.", "external"),
            _told("primary", "Whether it is the preferred one; at most one is.", Type.BOOLEAN),
            required=True,
            multi_valued=True,
        ),
        _parts(
            "securityEvents",
            "Asynchronous requests and events.",
            _told("asyncRequest", "When a request may be asynchronous.", canonical_values=("none", "long", "request")),
            _told("eventUris", "The events there are.", multi_valued=True, case_exact=True),
            returned=Returned.REQUEST,
        ),
    ),
)

RESOURCE_TYPE: Final = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:ResourceType",
    "ResourceType",
    "A kind of resource",
    (
        _told("id", "The same as its name."),
        _required("name", "Its name, such as User."),
        _told("description", "What it is."),
        _link("endpoint", "Its path below the base URL, such as /Users.", "uri", required=True),
        _link("schema", "URN of its core schema.", "uri", required=True),
        _parts(
            "schemaExtensions",
            "Its extensions.",
            _link("schema", "URN of the extension.", "uri", required=True),
            _required("required", "Whether each resource of this type has it.", Type.BOOLEAN),
            multi_valued=True,
        ),
    ),
)

_CHARACTERISTICS = (
    _required("name", "The attribute's name.", case_exact=True),
    _required("type", "What its values are.", canonical_values=_words(Type)),
    _required("multiValued", "Whether it is a list.", Type.BOOLEAN),
    _told("description", "What it is.", case_exact=True),
    _told("required", "Whether a resource must have it.", Type.BOOLEAN),
    _told("canonicalValues", "Values that are suggested.", multi_valued=True, case_exact=True),
    _told("caseExact", "Whether its values differ by case.", Type.BOOLEAN),
    _told("mutability", "Who may change it when.", case_exact=True, canonical_values=_words(Mutability)),
    _told("returned", "When it is shown.", case_exact=True, canonical_values=_words(Returned)),
    _told(
        "uniqueness", "Among which resources a value is unique.", case_exact=True, canonical_values=_words(Uniqueness)
    ),
    _told("referenceTypes", "What its URLs point to.", multi_valued=True, case_exact=True),
)

SCHEMA: Final = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:Schema",
    "Schema",
    "Attributes and how they behave",
    (
        _required("id", "The schema's URN.", returned=Returned.ALWAYS),
        _required("name", "A name for people."),
        _told("description", "What it describes."),
        _parts(
            "attributes",
            "Its attributes.",
            *_CHARACTERISTICS,
            _parts("subAttributes", "The parts of a complex attribute.", *_CHARACTERISTICS, multi_valued=True),
            required=True,
            multi_valued=True,
        ),
    ),
)
PROVIDER: Final = (SERVICE_PROVIDER_CONFIG, RESOURCE_TYPE, SCHEMA)
