"""What this server says of itself (RFC 7643 sections 5 to 7, RFC 7644 section 4), made from the schemas it enforces.

Every statement is true of this release: clients believe it. Sub-attributes that RFC 7643 section 5 requires are present
even where `supported` is false: without them authentik uses neither PATCH nor filter (goauthentik/authentik#25056).
`base_url` is the public URL of the SCIM endpoint without a trailing slash.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from syncd.core.catalogue import CATALOGUE
from syncd.core.cursor import TIMEOUT_S
from syncd.core.provider import PROVIDER, SERVICE_PROVIDER_CONFIG
from syncd.core.schema import ResourceType, Schema
from syncd.core.types import Types
from syncd.scim.references import MAX_OPERATIONS

MAX_RESULTS: Final = 1000
DEFAULT_RESULTS: Final = 100  # of a list whose request has no count
MAX_PAYLOAD_BYTES: Final = 1_048_576
MAX_BULK_BYTES: Final = 4_194_304

# RFC 9967 section 4. What else happens is kept as events too, but nobody can have those sent yet.
SECURITY_EVENTS: Final = {"asyncRequest": "request", "eventUris": ["urn:ietf:params:scim:event:misc:asyncresp"]}


# draft-ietf-scim-roles-entitlements-01: the endpoints, and what a user's `roles` and `entitlements` may be.
ROLES_AND_ENTITLEMENTS: Final = {
    "roles": {"supported": True, "multipleRolesSupported": True, "primarySupported": True, "typeSupported": True},
    "entitlements": {
        "supported": True,
        "multipleEntitlementsSupported": True,
        "primarySupported": True,
        "typeSupported": True,
    },
}
_ON_REQUEST: Final = {"securityEvents": SECURITY_EVENTS, "RolesAndEntitlements": ROLES_AND_ENTITLEMENTS}


def service_provider_config(
    base_url: str, asked: frozenset[str] = frozenset(), passwords: bool = False
) -> dict[str, Any]:
    """The body of `/ServiceProviderConfig`. `asked`: attributes named by the request, in lower case; `passwords`: whether
    those that the connection sends are kept.

    What is younger than RFC 7643 is shown to who asks for it: scim2-client 0.13 breaks off at attributes that it does not
    know, before its first request.
    """
    return {name: shown for name, shown in _ON_REQUEST.items() if name.lower() in asked} | {
        "schemas": [SERVICE_PROVIDER_CONFIG.id],
        "patch": {"supported": True},
        "bulk": {"supported": True, "maxOperations": MAX_OPERATIONS, "maxPayloadSize": MAX_BULK_BYTES},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": {"supported": passwords},
        "sort": {"supported": True},
        "etag": {"supported": True},
        # RFC 9865 section 4. Index is the default: older clients expect it where they name no method.
        "pagination": {
            "cursor": True,
            "index": True,
            "defaultPaginationMethod": "index",
            "defaultPageSize": DEFAULT_RESULTS,
            "maxPageSize": MAX_RESULTS,
            "cursorTimeout": TIMEOUT_S,
        },
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "OAuth Bearer Token",
                "description": "A token made by `syncd token create`, sent as Authorization: Bearer.",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": True,
            },
            {
                "type": "oauth2",
                "name": "OAuth 2.0 Client Credentials",
                "description": "An access token of /oauth/token for what `syncd token create --client` made.",
                "specUri": "https://www.rfc-editor.org/info/rfc6749",
                "primary": False,
            },
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base_url}/ServiceProviderConfig"},
    }


def resource_types(types: Types, base_url: str, catalogue: bool = False) -> list[dict[str, Any]]:
    """The resources of `/ResourceTypes`, for a ListResponse.

    `catalogue`: with Role and Entitlement. They are left out otherwise, and found by name: clients try to write whatever
    is listed (scim2-tester 0.5 POSTs to each type), and there is no word for a type that can only be read.
    """
    return [_resource_type(each, base_url) for each in (*types.all, *(CATALOGUE if catalogue else ()))]


def resource_type(types: Types, name: str, base_url: str) -> dict[str, Any] | None:
    """The body of `/ResourceTypes/{name}`; None: there is none (404)."""
    return next((_resource_type(each, base_url) for each in (*types.all, *CATALOGUE) if each.name == name), None)


def schemas(types: Types, base_url: str, catalogue: bool = False) -> list[dict[str, Any]]:
    """The resources of `/Schemas` for a ListResponse: core schemas and extensions, each once, then those of discovery itself
    (RFC 7643 section 7: there is one for every URN that a resource has). `catalogue`: as above."""
    return [_schema(each, base_url) for each in _all_schemas((*types.all, *(CATALOGUE if catalogue else ())))]


def schema(types: Types, urn: str, base_url: str) -> dict[str, Any] | None:
    """The body of `/Schemas/{urn}`, the URN in any case; None: there is none (404)."""
    found = (
        _schema(each, base_url) for each in _all_schemas((*types.all, *CATALOGUE)) if each.id.lower() == urn.lower()
    )
    return next(found, None)


def _all_schemas(types: Iterable[ResourceType]) -> tuple[Schema, ...]:
    found: dict[str, Schema] = {}
    for each in types:
        for item in (each.schema, *(extension for extension, _ in each.extensions)):
            found.setdefault(item.id, item)
    return (*found.values(), *PROVIDER)


def _schema(item: Schema, base_url: str) -> dict[str, Any]:
    return item.to_scim() | {"meta": {"resourceType": "Schema", "location": f"{base_url}/Schemas/{item.id}"}}


def _resource_type(item: ResourceType, base_url: str) -> dict[str, Any]:
    location = f"{base_url}/ResourceTypes/{item.name}"
    return item.to_scim() | {"meta": {"resourceType": "ResourceType", "location": location}}
