"""Whatever a query says, it is answered: 200 with a list, or an error of SCIM's own; never a 500."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.core.schema import ENTERPRISE_USER, GROUP, USER

from .conftest import Service

SEARCH_URN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
paths = st.sampled_from([*USER.paths, *GROUP.paths, ENTERPRISE_USER, "nonsense", "emails.", ".value", "$ref"])
junk = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
literals = st.sampled_from(
    ['"a"', '"A%_\\\\"', '""', "1", "-1.5e9", "true", "null", '"2024-01-01T00:00:00Z"', "9" * 30, '"\U0001f600"', "x"]
)
ops = st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "EQ", "is"])
comparisons = st.builds(lambda path, op, value: f"{path} {op} {value}", paths, ops, literals) | paths.map(
    "{} pr".format
)
nested = st.builds(
    lambda path, inner: f"{path}[{inner}]",
    paths,
    st.builds(
        lambda sub, op, value: f"{sub} {op} {value}", st.sampled_from(["value", "type", "display", "x"]), ops, literals
    ),
)
leaves = comparisons | nested
filters = leaves | junk | st.builds(lambda a, b: f"not ({a}) or {b} and {a}", leaves, leaves)
counts = st.sampled_from(["0", "1", "2", "-1", "1000", "1001", "9" * 40, "x", "", "1.5", "٣"])
queries = st.fixed_dictionaries(
    {},
    optional={
        "filter": filters,
        "sortBy": paths | junk,
        "sortOrder": st.sampled_from(["ascending", "descending", "DESCENDING", "up"]),
        "startIndex": counts,
        "count": counts,
        "cursor": st.just("") | junk,
        "attributes": paths | junk,
        "excludedAttributes": paths | junk,
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(query=queries, path=st.sampled_from(["Users", "Groups", ""]), posted=st.booleans())
def test_any_query_is_answered(service: Service, query: dict[str, str], path: str, posted: bool) -> None:
    if service.ask("GET", "Users", count=0).json()["totalResults"] == 0:
        ann = service.user("ann", title="a", emails=[{"value": "a@x.test", "type": "work"}], externalId="a")
        service.user("\U0001f600")
        service.group("crew", ann["id"])
    if posted:
        answer = service.ask("POST", f"{path}/.search" if path else ".search", {"schemas": [SEARCH_URN], **query})
    else:
        answer = service.ask("GET", f"/scim/v2/{path}", **query)
    body = answer.json()
    assert answer.headers["content-type"] == "application/scim+json"
    if answer.status_code == 200:
        assert body["itemsPerPage"] == len(body["Resources"]) <= body["totalResults"] <= 3
    else:
        assert (answer.status_code, body["status"]) == (400, "400") and body["scimType"] and body["detail"]
