"""A filter in SQL selects what it selects in memory, whatever the filter and the users; and the text is the tree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import JSONB

from syncd.core.filter import (
    And,
    Ast,
    Comparison,
    Filter,
    Not,
    Op,
    Or,
    ValuePath,
    bind,
    compile,
    parse,
    parse_filter,
    render,
)
from syncd.core.resource import canonical, fold, search_view
from syncd.core.schema import ENTERPRISE_USER, RULE_USER, Attribute, ResourceType, Schema, Type
from syncd.errors import InvalidFilter
from syncd.store.search import Rows, compile_filter, sort_key

DEPARTMENT, MANAGER = f"{ENTERPRISE_USER}:department", f"{ENTERPRISE_USER}:manager"
# Numbers and lists of scalars inside elements occur in no built-in schema, but the language has them.
ODD = ResourceType(
    "User",
    "/Users",
    "",
    Schema(
        RULE_USER.schema.id,
        "User",
        "",
        (
            *RULE_USER.schema.attributes,
            Attribute("level", Type.INTEGER),
            Attribute("score", Type.DECIMAL),
            Attribute("since", Type.DATETIME),
            Attribute(
                "jobs",
                Type.COMPLEX,
                multi_valued=True,
                sub_attributes=(Attribute("value"), Attribute("tags", multi_valued=True, case_exact=True)),
            ),
        ),
    ),
    RULE_USER.extensions,
)

# Few and confusable, so that equal, prefix, case, composition and the order of code points above U+FFFF all occur.
TEXTS = [
    "a",
    "A",
    "ab",
    "b",
    "%",
    "_",
    "a%",
    "\\",
    '"',
    "é",
    "e\u0301",
    "É",
    "ß",
    "ss",
    "\uffee",
    "\U0001f600",
    "a b",
    "'",
]
INSTANTS = ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "2024-01-01t00:00:00.5z", "2023-12-31T23:59:59"]
NUMBERS = [0, 1, -1, 2, 0.1, 1.5, 2**53 + 1, 2**53, 2**63 - 1, 1e300]
texts = st.sampled_from(TEXTS)
instants = st.sampled_from(INSTANTS)

STRINGS = ["userName", "USERNAME", "displayName", "name.givenName", "id", "externalId", DEPARTMENT, DEPARTMENT.upper()]
STRINGS += [MANAGER, f"{MANAGER}.value", "source", "schemas", "groups.source", "groups", "groups.display"]
STRINGS += ["emails", "emails.value", "emails.type", "jobs.tags", "jobs", "photos.value"]
SUBS = {
    "emails": ["value", "TYPE", "display"],
    "groups": ["value", "display", "source"],
    "jobs": ["value", "tags"],
    "name": ["givenName", "familyName"],
    "source": ["value", "VALUE"],
}
TEXT_OPS = [op for op in Op if op is not Op.PR]
ORDER_OPS = [Op.EQ, Op.NE, Op.GT, Op.GE, Op.LT, Op.LE]


def comparisons(paths: list[str], ops: list[Op], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.builds(Comparison, st.sampled_from(paths), st.sampled_from(ops), values)
    null = st.builds(Comparison, st.sampled_from(paths), st.sampled_from([Op.EQ, Op.NE]), st.none())
    present = st.builds(Comparison, st.sampled_from(paths), st.just(Op.PR))
    leaves = st.one_of(some, some, present, null)
    return st.one_of(leaves, leaves, leaves.map(Not))


def trees(leaves: st.SearchStrategy[Any], size: int = 8) -> st.SearchStrategy[Any]:
    def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.one_of(several.map(And), several.map(Or), several.map(And).map(Not), several.map(Or).map(Not))

    return st.recursive(leaves, grow, max_leaves=size)


booleans = st.booleans()


def value_paths(path: str) -> st.SearchStrategy[ValuePath]:
    leaves = comparisons(SUBS[path], TEXT_OPS, texts)
    if path == "emails":
        leaves = st.one_of(leaves, comparisons(["primary"], [Op.EQ, Op.NE], booleans))
    return st.builds(ValuePath, st.sampled_from([path, path.upper()]), trees(leaves, 4))


filters: st.SearchStrategy[Ast] = trees(
    st.one_of(
        comparisons(STRINGS, TEXT_OPS, texts),
        comparisons(["active", "emails.primary"], [Op.EQ, Op.NE], booleans),
        comparisons(["meta.lastModified", "since"], ORDER_OPS, instants),
        comparisons(["level", "score"], ORDER_OPS, st.sampled_from(NUMBERS)),
        *(value_paths(path) for path in SUBS),
    )
)

emails = st.fixed_dictionaries({}, optional={"value": texts, "type": texts, "display": texts})
users = st.fixed_dictionaries(
    {"userName": texts, "id": texts, "modified": instants},
    optional={
        "externalId": texts,
        "displayName": texts,
        "active": st.booleans(),
        "name": st.fixed_dictionaries({}, optional={"givenName": texts, "familyName": texts}),
        "emails": st.lists(emails, max_size=3),
        "primary": st.booleans(),
        "photos": st.lists(st.fixed_dictionaries({"value": texts}), max_size=2),
        "level": st.sampled_from([n for n in NUMBERS if isinstance(n, int)]),
        "score": st.sampled_from(NUMBERS),
        "since": instants,
        "jobs": st.lists(
            st.fixed_dictionaries({}, optional={"value": texts, "tags": st.lists(texts, max_size=2)}), max_size=2
        ),
        ENTERPRISE_USER: st.fixed_dictionaries(
            {}, optional={"department": texts, "manager": st.fixed_dictionaries({"value": texts})}
        ),
        "source": st.lists(texts, max_size=2),
        "groups": st.lists(
            st.fixed_dictionaries({"value": texts, "display": texts}, optional={"source": texts}), max_size=3
        ),
    },
)

T = sa.MetaData()
USERS = sa.Table(
    "users",
    T,
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text),
    sa.Column("user_name_key", sa.Text),
    sa.Column("modified", sa.Text),
    sa.Column("active", sa.Boolean),
    sa.Column("search", sa.Text().with_variant(JSONB(), "postgresql")),
    prefixes=["TEMPORARY"],
)
GROUPS = sa.Table(
    "memberships",
    T,
    sa.Column("user_n", sa.Integer),
    sa.Column("value", sa.Text),
    sa.Column("display", sa.Text),
    sa.Column("source", sa.Text),
    prefixes=["TEMPORARY"],
)
SPECIAL = {
    "id": USERS.c.id,
    "userName": USERS.c.user_name_key,
    "meta.lastModified": USERS.c.modified,
    "active": USERS.c.active,
    "groups": Rows(
        GROUPS,
        GROUPS.c.user_n == USERS.c.n,
        {"value": GROUPS.c.value, "display": GROUPS.c.display, "source": GROUPS.c.source},
    ),
}


def _view(user: dict[str, Any]) -> dict[str, Any]:
    document = {k: v for k, v in user.items() if k not in ("groups", "source", "id", "modified", "primary")}
    if document.get("emails") and "primary" in user:
        document["emails"] = [{**document["emails"][0], "primary": user["primary"]}, *document["emails"][1:]]
    extra = {"groups": user.get("groups"), "source": user.get("source"), "id": user["id"]}
    return search_view(canonical(document, ODD), ODD, meta={"lastModified": user["modified"]}, **extra)


def _fill(connection: sa.Connection, views: list[dict[str, Any]]) -> None:
    connection.execute(USERS.delete())
    connection.execute(GROUPS.delete())
    for n, view in enumerate(views):
        _insert(connection, n, view)


def _assert_equal(connection: sa.Connection, views: list[dict[str, Any]], tree: Ast) -> None:
    filter = Filter(render(tree), bind(tree, ODD))
    matches = compile(filter)
    expected = [n for n, view in enumerate(views) if matches(view)]
    for special in ({}, SPECIAL):
        where = compile_filter(filter, connection.dialect.name, USERS.c.search, special)  # type: ignore[arg-type]
        found = connection.execute(sa.select(USERS.c.n).where(where).order_by(USERS.c.n)).scalars()
        assert list(found) == expected, filter.text


def _insert(connection: sa.Connection, n: int, view: dict[str, Any]) -> None:
    row = {
        "n": n,
        "id": view["id"],
        "user_name_key": view["username"],
        "modified": view["meta"]["lastmodified"],
        "active": view.get("active"),
        "search": view if connection.dialect.name == "postgresql" else json.dumps(view),
    }
    connection.execute(USERS.insert(), row)
    for group in view.get("groups", ()):
        connection.execute(GROUPS.insert(), {"user_n": n, "source": None, **group})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest) -> Iterator[sa.Connection]:
    url = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgres").fresh()
    driver = "sqlite" if request.param == "sqlite" else "postgresql+psycopg"
    engine = sa.create_engine(sa.make_url(url).set(drivername=driver), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        T.create_all(connection, checkfirst=False)
        yield connection
    engine.dispose()


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=filters, people=st.lists(users, min_size=3, max_size=6))
def test_sql_equals_memory(connection: sa.Connection, tree: Ast, people: list[dict[str, Any]]) -> None:
    views = [_view(user) for user in people]
    _fill(connection, views)
    _assert_equal(connection, views, tree)


def _sorted_by(view: dict[str, Any], path: str) -> Any:
    """RFC 7644 section 3.4.2.3, over what memory compares: of several values the primary one, or else the first."""
    found = ODD.resolve(path)
    assert found is not None
    outer, *inner = found.search_keys
    value = view.get(outer)
    if isinstance(value, list):
        value = next((each for each in value if isinstance(each, dict) and each.get("primary") is True), value[0])
    return value.get(inner[0]) if inner and value is not None else value


SORTED = ["userName", "displayName", "name.givenName", "emails.value", "emails.type", "emails.primary", "photos.value"]
SORTED += [
    "level",
    "score",
    "since",
    "active",
    "source",
    f"{MANAGER}.value",
    "meta.lastModified",
    "schemas",
    "jobs.value",
]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(people=st.lists(users, min_size=2, max_size=6), descending=st.booleans())
def test_sql_sorts_as_memory_does(connection: sa.Connection, people: list[dict[str, Any]], descending: bool) -> None:
    views = [_view(user) for user in people]
    _fill(connection, views)
    for path in SORTED:
        resolved = ODD.resolve(path)
        assert resolved is not None
        keys = [_sorted_by(view, path) for view in views]
        there = sorted((n for n, key in enumerate(keys) if key is not None), key=lambda n: (keys[n], n))
        absent = [n for n, key in enumerate(keys) if key is None]
        expected = [*there, *absent] if not descending else [*reversed(absent), *reversed(there)]
        for special in ({}, SPECIAL):
            by = sort_key(resolved, connection.dialect.name, USERS.c.search, special)  # type: ignore[arg-type]
            order = (by.desc().nulls_first(), USERS.c.n.desc()) if descending else (by.asc().nulls_last(), USERS.c.n)
            assert list(connection.execute(sa.select(USERS.c.n).order_by(*order)).scalars()) == expected, path


FIXED: list[dict[str, Any]] = [
    {"userName": "a", "id": "a", "modified": INSTANTS[0]},
    {"userName": "ab", "id": "b", "modified": INSTANTS[1], "emails": [{"value": "a"}], "source": ["a"], "jobs": []},
    {
        "userName": "É",
        "id": "É",
        "modified": INSTANTS[2],
        "emails": [{"type": "b"}],
        "photos": [{"value": "a"}, {"value": "\U0001f600"}],
    },
    {
        "userName": "\uffee",
        "id": "A",
        "modified": INSTANTS[3],
        "externalId": "\U0001f600",
        "displayName": "a%",
        "name": {"givenName": "A b"},
        "emails": [{"value": "b", "type": "a"}, {"value": "a", "type": "b"}],
        "groups": [{"value": "a", "display": "B", "source": "a"}, {"value": "b", "display": "a"}],
        "jobs": [{"value": "a", "tags": ["A", "b"]}, {"tags": ["a"]}],
        "source": ["a", "b"],
        ENTERPRISE_USER: {"department": "ba", "manager": {"value": "a"}},
    },
]


@pytest.mark.parametrize("path", STRINGS)
def test_each_operator_on_each_kind_of_path(connection: sa.Connection, path: str) -> None:
    views = [_view(user) for user in FIXED]
    _fill(connection, views)
    trees = [Comparison(path, op, value) for op in TEXT_OPS for value in ("", "a", "B", "b%", "\uffee", "\U0001f600")]
    trees += [Comparison(path, Op.PR), Comparison(path, Op.EQ), Comparison(path, Op.NE)]
    for tree in trees:
        _assert_equal(connection, views, tree)
        _assert_equal(connection, views, Not(tree))


@given(filters)
def test_text_is_the_tree(tree: Ast) -> None:
    assert parse(render(tree)) == tree


@given(st.text(max_size=60))
def test_fold_is_stable(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(['emails ne "x"'] * 400),
        " and ".join(['not (emails[type eq "x"])'] * 270),
        "(" * 30 + 'emails eq "x"' + ")" * 30,
        "not (" * 29 + 'emails[type eq "x" or value eq "y"]' + ")" * 29,
        "(id pr or (id pr and " * 14 + 'not (emails[type eq "x" or value eq "y"])' + "))" * 14,
        "emails[" + '(value pr or (type eq "x" and ' * 14 + 'not (type eq "x")' + "))" * 14 + "]",
        "emails[" + 'not (value pr or not (type eq "x" and ' * 14 + 'not (type eq "x")' + "))" * 14 + "]",
    ],
)
def test_the_largest_filters_accepted_run_in_the_database(connection: sa.Connection, text: str) -> None:
    where = compile_filter(parse_filter(text, ODD), connection.dialect.name, USERS.c.search)  # type: ignore[arg-type]
    # Nested as a page of a list is, for SQLite's parser counts everything around the filter too.
    page = sa.select(USERS.c.n).where(USERS.c.id == "x", where)
    connection.execute(sa.select(USERS.c.n).where(USERS.c.n.in_(sa.select(page.subquery().c.n)))).all()


def test_rows_have_no_attribute_but_their_columns() -> None:
    special = {"groups": Rows(GROUPS, GROUPS.c.user_n == USERS.c.n, {"value": GROUPS.c.value})}
    with pytest.raises(InvalidFilter, match=r"groups\.display cannot be searched"):
        compile_filter(parse_filter('groups.display eq "x"', ODD), "sqlite", USERS.c.search, special)


@pytest.mark.parametrize(
    "text", ['groups eq "g1"', 'groups.value eq "g1"', 'groups[value eq "g1"]', 'GROUPS.VALUE eq "g1"']
)
def test_a_membership_probe_reads_its_index(text: str) -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        T.create_all(connection, checkfirst=False)
        connection.execute(sa.text("create index by_value on memberships (value, user_n)"))
        where = compile_filter(parse_filter(f'id eq "u" and {text}', ODD), "sqlite", USERS.c.search, SPECIAL)
        query = sa.select(USERS.c.n).where(where).compile(engine, compile_kwargs={"literal_binds": True})
        plan = str(connection.execute(sa.text(f"explain query plan {query}")).all())
    assert "by_value" in plan and "json" not in str(query)
