"""Every tolerance and every policy, as data. docs/scim.md shows this table; a test holds the two equal.

A preset of a provider holds what its transcripts in tests/contract/idp need, and no more. `tolerant`, the default, holds
every form with one possible meaning, whoever sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from syncd.errors import InvalidFilter, InvalidPath, InvalidSyntax, InvalidValue, Mutability, NoTarget
from syncd.scim.dialects import bodies, operations, values
from syncd.scim.dialects.tolerance import Tolerance

DEFAULT: Final = "tolerant"
STRICT: Final = "interop-strict"
RFC: Final = "rfc"
PROVIDERS: Final = ("entra", "okta", "onelogin", "ping", "jumpcloud", "google", "authentik", "keycloak", "sailpoint")
NAMES: Final = (DEFAULT, RFC, STRICT, *PROVIDERS)
_EVERY: Final = (DEFAULT,)
_ALL_BUT_STRICT: Final = (DEFAULT, RFC, *PROVIDERS)

_ENTRA: Final = "https://learn.microsoft.com/entra/identity/app-provisioning/use-scim-to-provision-users-and-groups"
_ENTRA_FLAG: Final = "https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-config-problem-scim-compatibility"
_OKTA: Final = "https://developer.okta.com/docs/reference/scim/scim-20/"
_INTEROP: Final = "draft-zollner-scim-interop-profile-01"

# In the order in which they are tried.
BODIES: Final = (
    Tolerance(
        bodies.missing_schemas,
        "no `schemas`, null or an empty list: the one that the URL asks for is meant",
        (*_EVERY, "okta", "authentik"),
        "okta/push_empty_group_without_schemas",
        "jelhub/scimgateway#113; goauthentik/authentik#7460",
        InvalidSyntax,
        '"schemas" is missing: send a list with the URN of the message or resource',
    ),
    Tolerance(
        bodies.scim_1_schema,
        "the URNs of SCIM 1.0, `urn:scim:schemas:core:1.0` and `urn:scim:schemas:extension:enterprise:1.0`, stand for today's",
        (*_EVERY, "onelogin"),
        "onelogin/create_user_from_template",
        "https://developers.onelogin.com/scim",
        InvalidSyntax,
        "there is a URN of SCIM 1.0: send urn:ietf:params:scim:schemas:core:2.0:User or ...:Group",
    ),
    Tolerance(
        bodies.another_patch_urn,
        "in the `schemas` of a PATCH a URN of drafts for the message's own: `urn:ietf:params:scim:schemas:core:2.0:PatchOp`",
        (*_EVERY, "entra"),
        "entra/urn_of_drafts",
        "thomaspoignant/scim-patch#207",
        InvalidSyntax,
        'the URN of this message is urn:ietf:params:scim:api:messages:2.0:PatchOp: send it in "schemas"',
    ),
    Tolerance(
        bodies.no_operations,
        "a PATCH with an empty list of operations changes nothing",
        (*_EVERY, "entra"),
        "entra/no_operations",
        "scimmyjs/scimmy#59",
        InvalidSyntax,
        '"Operations" is empty: send at least one',
    ),
)
SCHEMAS: Final = Tolerance(
    bodies.unknown_schemas,
    "URNs in `schemas` that are no schema of the resource are ignored (RFC 7644 3.3 permits it)",
    _ALL_BUT_STRICT,
    "entra/create_group",
    _ENTRA,
    InvalidSyntax,
    '"schemas" names a schema that this resource does not have: leave it out',
)
ATTRIBUTES: Final = Tolerance(
    bodies.unknown_attributes,
    "attributes that the schemas do not have are ignored (RFC 7644 3.3 permits it)",
    _ALL_BUT_STRICT,
    "okta/create_user",
    _OKTA,
    InvalidSyntax,
    "is no attribute that /Schemas shows: leave it out",
)
CORE: Final = Tolerance(
    operations.core_schema_as_extension,
    "attributes of the core schema in an object under its URN, as an extension's are",
    (*_EVERY, "ping"),
    "ping/update_user_in_core_schema",
    "limosa-io/laravel-scim-server",
    InvalidSyntax,
    "attributes of the core schema are in no object of their own: put them beside the others",
)
KEYS: Final = Tolerance(
    operations.dotted_and_urn_keys,
    "in a resource, or a value without a path, keys that are paths: `name.givenName`, `urn:...:User:department`",
    (*_EVERY, "entra"),
    "entra/flag_patch_many_attributes",
    _ENTRA_FLAG,
    InvalidSyntax,
    "a key is a path: send it as the path of an operation, or nest the objects",
)
OPERATIONS: Final = (
    Tolerance(
        operations.pathless_patch,
        "add and replace without a path (RFC 7644 3.5.2.1 permits it)",
        _ALL_BUT_STRICT,
        "okta/deactivate_user_by_patch",
        f"{_OKTA}; {_INTEROP} 6.5.1.1 forbids it",
        InvalidSyntax,
        "there is no path: send one operation with a path for each attribute",
    ),
    Tolerance(
        operations.operation_in_any_case,
        "`Add`, `Replace`, `Remove`",
        (*_EVERY, "entra"),
        "entra/patch_attribute",
        _ENTRA_FLAG,
        InvalidSyntax,
        "op must be add, remove or replace in lower case",
    ),
    Tolerance(
        operations.value_as_json_text,
        "without a path, a value that is a string of JSON",
        (*_EVERY, "keycloak"),
        "keycloak/reconcile_group_with_json_text",
        "Captain-P-Goldfish/scim-for-keycloak#172",
        InvalidValue,
        "without a path the value must be an object of attributes, not text",
    ),
    Tolerance(
        operations.repeated_read_only,
        "among the values of a PATCH, the resource's own `id` again, and `meta`",
        (*_EVERY, "okta", "authentik"),
        "okta/rename_group",
        f"{_OKTA}; goauthentik/authentik#23950",
        Mutability,
        "id and meta are readOnly: leave them out",
    ),
    CORE,
    KEYS,
    Tolerance(
        operations.extension_with_dot,
        "a path with a dot between the URN of a schema and its attribute: `urn:...:User.department`",
        (*_EVERY, "entra"),
        "entra/extension_with_dot",
        _ENTRA_FLAG,
        InvalidPath,
        "put a colon between the URN and the attribute",
    ),
    Tolerance(
        operations.extension_without_urn,
        "a path that names an extension's attribute without its URN, such as `manager`",
        (*_EVERY, "entra"),
        "entra/manager_as_list_of_one",
        _ENTRA,
        InvalidPath,
        "the attribute belongs to an extension: put its URN and a colon before it",
    ),
    Tolerance(
        operations.unknown_paths,
        "a PATCH of an attribute that the schemas do not have is ignored; the rest of the request counts",
        ("entra",),
        "entra/patch_unknown_extension",
        "https://learn.microsoft.com/entra/identity/app-provisioning/customize-application-attributes",
        None,
    ),
    Tolerance(
        operations.empty_means_remove,
        'add or replace of the manager with `""` takes the manager away',
        (*_EVERY, "entra"),
        "entra/manager_removed_by_empty_text",
        "MicrosoftDocs/azure-docs#11784",
        InvalidValue,
        "the value is empty: use remove",
    ),
    Tolerance(
        operations.remove_with_value,
        "remove with a list of what to remove as its value",
        (*_EVERY, "entra", "okta", "onelogin", "jumpcloud", "authentik"),
        "entra/remove_member_with_value",
        _ENTRA_FLAG,
        InvalidValue,
        'remove takes no value: select by a filter in the path, such as members[value eq "<id>"]',
    ),
    Tolerance(
        operations.partial_replace,
        "replace of a complex value leaves the parts that it does not name (RFC 7644 3.5.2.3 has it so)",
        _ALL_BUT_STRICT,
        "sailpoint/replace_part_of_name",
        f"Captain-P-Goldfish/SCIM-SDK#327; {_INTEROP} 6.5.2.1 has it otherwise",
        None,
        meant=operations.whole_replace,
    ),
)
NAME: Final = Tolerance(
    values.extension_without_urn_in_filter,
    'a filter that names an extension\'s attribute without its URN: `id eq "<id>" and manager eq "<id>"`',
    (*_EVERY, "entra"),
    "entra/manager_before_it_is_written",
    _ENTRA,
    InvalidFilter,
    "the attribute belongs to an extension: put its URN and a colon before it",
)
FILTER: Final = Tolerance(
    values.boolean_as_text_in_filter,
    '`"True"` and `"False"` for true and false in a filter or a path',
    (*_EVERY, "entra", "keycloak"),
    "entra/role_by_primary_as_text",
    "buildbuddy-io/buildbuddy#10578",
    InvalidFilter,
    "is compared with true or false, without quotes",
)
EMPTY: Final = Tolerance(
    values.elements_without_value,
    'elements of a list whose `value` is empty are none: `[{"value": "", "type": "work"}]` for no e-mail address',
    (*_EVERY, "okta", "onelogin"),
    "onelogin/empty_values_in_lists",
    "https://developers.onelogin.com/scim",
    None,
)
VALUES: Final = (
    Tolerance(
        values.list_for_single_value,
        "a list of one for an attribute with a single value",
        (*_EVERY, "entra", "onelogin", "keycloak"),
        "entra/manager_as_list_of_one",
        _ENTRA,
        InvalidValue,
        "has a single value: send it without the list",
    ),
    Tolerance(
        values.object_for_plain_value,
        'an object with a `value` where the value itself is meant: `[{"value": "Ann"}]` for a displayName',
        (*_EVERY, "entra", "onelogin"),
        "entra/values_in_objects",
        "jelhub/scimgateway (lib/scimgateway.js)",
        InvalidValue,
        "is a plain value: send it without the object",
    ),
    Tolerance(
        values.object_as_json_text,
        'text that holds a JSON object where an object is meant: a member as `"{\\"value\\": \\"<id>\\"}"`',
        (*_EVERY, "keycloak"),
        "keycloak/members_as_json_text",
        "Captain-P-Goldfish/SCIM-SDK#968, Captain-P-Goldfish/scim-for-keycloak#172",
        InvalidValue,
        "is an object: send it as one, not as text",
    ),
    Tolerance(
        values.bare_value,
        'text where an object is meant: the manager\'s id instead of `{"value": id}`',
        (*_EVERY, "entra"),
        "entra/manager_as_text",
        "apache/directory-scimple#1244",
        InvalidValue,
        'is an object: send {"value": ...}',
    ),
    Tolerance(
        values.role_as_json_text,
        "a role whose `value` is a string of JSON with `value`, `displayName` or `display`",
        (*_EVERY, "entra"),
        "entra/role_as_json_text",
        "buildbuddy-io/buildbuddy#10578",
        None,
    ),
    Tolerance(
        values.boolean_as_text,
        '`"True"` and `"False"` for true and false',
        (*_EVERY, "entra", "keycloak"),
        "entra/deactivate_user",
        _ENTRA_FLAG,
        InvalidValue,
        "must be true or false, without quotes",
    ),
)
CREATION: Final = Tolerance(
    operations.value_path_creates,
    "add or replace of a value that a filter selects, where there is none: it is made as the filter says",
    (*_EVERY, "entra", "okta"),
    "entra/add_work_email",
    "ssoready/ssoready#249",
    NoTarget,
    "no value matches: add the whole value",
)
ALL: Final = (*BODIES, SCHEMAS, ATTRIBUTES, *OPERATIONS, NAME, FILTER, EMPTY, *VALUES, CREATION)
TOLERANCES: Final[Mapping[str, Tolerance]] = {each.name: each for each in ALL}
POLICIES: Final[Mapping[str, frozenset[str]]] = {
    policy: frozenset(each.name for each in ALL if policy in each.policies) for policy in NAMES
}
TOLERANT: Final = POLICIES[DEFAULT]


def tolerated(base: str, allow: Iterable[str] = (), refuse: Iterable[str] = ()) -> frozenset[str]:
    """The names of the tolerances of a policy with own switches. All names must exist."""
    return (POLICIES[base] | frozenset(allow)) - frozenset(refuse)
