"""What the server says of itself: RFC 7643 sections 5 to 7, read by scim2-models as an outside judge."""

import pytest
from scim2_models import ResourceType, Schema, ServiceProviderConfig

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
    assert [each["id"] for each in found] == [CORE_USER, ENTERPRISE_USER, SYNCD_USER, CORE_GROUP]
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


def _values(value):
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield part
            yield from _values(part)


@pytest.mark.parametrize("document", [discovery.schemas(STANDARD, BASE), discovery.resource_types(STANDARD, BASE)])
def test_no_null_anywhere(document):
    assert None not in list(_values(document))
