"""What the server says of itself: RFC 7643 sections 5 to 7, read by scim2-models as an outside judge."""

import pytest
from scim2_models import ResourceType, Schema, ServiceProviderConfig

from syncd.core.provider import PROVIDER, RESOURCE_TYPE, SCHEMA, SERVICE_PROVIDER_CONFIG
from syncd.core.schema import CORE_GROUP, CORE_USER, ENTERPRISE_USER, SYNCD_USER
from syncd.core.types import STANDARD
from syncd.scim import discovery

BASE = "https://syncd.example.com/scim/v2"


def test_service_provider_config():
    config = discovery.service_provider_config(BASE)
    supported = {
        name: part["supported"] for name, part in config.items() if isinstance(part, dict) and "supported" in part
    }
    assert supported == {
        "patch": True, "bulk": True, "filter": True, "changePassword": False, "sort": True, "etag": True,
    }  # fmt: skip
    assert config["bulk"]["maxOperations"] > 0
    assert config["filter"]["maxResults"] == 1000
    assert config["meta"]["location"] == f"{BASE}/ServiceProviderConfig"
    schemes = ServiceProviderConfig.model_validate(config).authentication_schemes
    assert [each.type for each in schemes] == ["oauthbearertoken", "oauth2"]


def test_schemas():
    found = discovery.schemas(STANDARD, BASE)
    resources = [CORE_USER, ENTERPRISE_USER, SYNCD_USER, CORE_GROUP]
    assert [each["id"] for each in found] == [*resources, *(each.id for each in PROVIDER)]
    for each in found:
        assert Schema.model_validate(each).id == each["id"]
        assert each["meta"] == {"resourceType": "Schema", "location": f"{BASE}/Schemas/{each['id']}"}
        assert discovery.schema(STANDARD, each["id"].upper(), BASE) == each
    assert discovery.schema(STANDARD, "urn:nosuch", BASE) is None


def test_resource_types():
    found = discovery.resource_types(STANDARD, BASE)
    assert [(each["id"], each["endpoint"], each["schema"]) for each in found] == [
        ("User", "/Users", CORE_USER),
        ("Group", "/Groups", CORE_GROUP),
    ]
    for each in found:
        ResourceType.model_validate(each)
        assert each["meta"]["location"] == f"{BASE}/ResourceTypes/{each['name']}"
        assert discovery.resource_type(STANDARD, each["name"], BASE) == each
    assert discovery.resource_type(STANDARD, "Nosuch", BASE) is None


# What discovery may answer, by the schema that says what is in it (RFC 7643 section 8.7.2).
_SAID = [
    (
        SERVICE_PROVIDER_CONFIG,
        [discovery.service_provider_config(BASE, frozenset({"securityevents"}))],
    ),
    (RESOURCE_TYPE, discovery.resource_types(STANDARD, BASE, catalogue=True)),
    # Not of itself: only a Schema has parts within parts (section 7), and it says so of one level.
    (SCHEMA, [each for each in discovery.schemas(STANDARD, BASE, catalogue=True) if each["id"] != SCHEMA.id]),
]


@pytest.mark.parametrize(("schema", "documents"), _SAID, ids=lambda each: getattr(each, "name", ""))
def test_discovery_holds_what_its_own_schemas_say(schema, documents):
    for document in documents:
        assert document["schemas"] == [schema.id]
        said = {name: value for name, value in document.items() if name not in ("schemas", "meta")}
        assert list(_faults(schema.attributes, said, schema.name)) == []


_OF_TYPE = {"boolean": bool, "integer": int, "complex": dict, "string": str, "reference": str}


def _faults(attributes, said, at):
    """Where a document is not as the attributes have it; `at` names the place."""
    known = {each.name: each for each in attributes}
    yield from (f"{at} lacks {name}" for name, each in known.items() if each.required and name not in said)
    for name, value in said.items():
        place, attribute = f"{at}.{name}", known.get(name)
        if attribute is None or isinstance(value, list) != attribute.multi_valued:
            yield f"{place} = {value}: {attribute}"
            continue
        for each in value if attribute.multi_valued else [value]:
            if type(each) is not _OF_TYPE[attribute.type] or (
                attribute.canonical_values and each not in attribute.canonical_values
            ):
                yield f"{place} = {each}"
            elif isinstance(each, dict):
                yield from _faults(attribute.sub_attributes, each, place)


def test_messages_are_no_schemas():
    """RFC 7644 section 3.1: they SHALL NOT be discoverable."""
    assert discovery.schema(STANDARD, "urn:ietf:params:scim:api:messages:2.0:PatchOp", BASE) is None


def _values(value):
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield part
            yield from _values(part)


@pytest.mark.parametrize("document", [discovery.schemas(STANDARD, BASE), discovery.resource_types(STANDARD, BASE)])
def test_no_null_anywhere(document):
    assert None not in list(_values(document))
