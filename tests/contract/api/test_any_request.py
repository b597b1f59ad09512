"""Each operation of the API under requests that its own description allows, and under ones that it does not.

Schemathesis makes them: the edges of every parameter and field, the same each time, then random ones (`make fuzz`: all edges
and some hundred random ones of each operation, new each time). None is a 5xx, what is not described is refused, what is
described is not called invalid, and each answer has a status, a media type, headers and a body that the description names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from syncd.api.model import Nothing
from syncd.api.openapi import description
from syncd.api.operation import PREFIX, Operation
from syncd.api.routes import OPERATIONS
from web_service import BASE

from .company import copied

# Schemathesis' other checks are left out. `positive_data_acceptance`: no description says which roles there are, or which
# cursor is of which query; `_not_called_invalid` asks what can be asked. Those that send a request again without a token
# or by another method: test_frame.py does, for every path. Those about the order of requests: tests/property.
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EDGES: Final = 20  # of each operation, from all over them
RANDOM_SHARE: Final = 50  # one random request in so many examples of the profile
MODES: Final = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@functools.cache
def schema() -> BaseSchema:
    """Of every request but for its token, which is always there. Cursors need not be thousands of letters."""
    document = description(OPERATIONS)
    del document["security"]
    operations = (operation for path in document["paths"].values() for operation in path.values())
    for parameter in (each for operation in operations for each in operation["parameters"]):
        if parameter["name"] == "cursor":
            parameter["schema"]["maxLength"] = 64
    return schemathesis.openapi.from_dict(document)


def _not_called_invalid(ctx: CheckContext, response: Response, case: Case) -> None:
    """What the description allows passes the models it was made from."""
    if _allowed(case) and response.status_code == 422:
        told = response.json()["detail"]
        assert not re.match("the (body|query) is not valid: ", told), told


def _allowed(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


class Asking:
    """Whoever asks, in a workspace that has one of everything."""

    def __init__(self, folder: Path) -> None:
        self.service, self.known = copied(folder)
        self.random = Random(0)

    def check(self, case: Case) -> None:
        """Raises what is wrong with the answer."""
        if _allowed(case):
            self._aim(case)
        case.validate_response(self._sent(case), checks=CHECKS, additional_checks=[_not_called_invalid])

    def _sent(self, case: Case) -> httpx.Response:
        given = case.as_transport_kwargs(base_url=BASE + PREFIX)
        taken = ("method", "url", "params", "json", "data", "headers", "cookies")
        made = requests.Request(**{name: given[name] for name in taken if name in given}).prepare()
        headers = {name.lower().encode("latin-1"): _bytes(value) for name, value in made.headers.items()}
        headers[b"authorization"] = f"Bearer {self.service.token}".encode()

        async def asking() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.service.web)) as client:
                content = None if made.body is None else _bytes(made.body)
                return await client.request(
                    str(made.method), str(made.url), content=content, headers=[*headers.items()]
                )

        return self.service.run(asking())

    def _aim(self, case: Case) -> None:
        """Mostly at something that there is, and at the version it is at; all stays as the description allows."""
        if case.path_parameters and self.random.random() < 0.8:
            of = case.operation.path.split("/")[1]
            kinds = {"id": "users" if of == "seats" else of, "pool": "seats", "name": of, "digest": of}
            kinds |= {"source": "sources", "key": of}
            case.path_parameters = {name: self._one(kinds[name], value) for name, value in case.path_parameters.items()}
        if isinstance(case.body, dict):
            case.body = self._aimed(case.body)
        if case.headers and self.random.random() < 0.9:
            case.headers.pop("If-Match", None)

    def _one(self, kind: str, otherwise: Any) -> Any:
        return self.random.choice(self.known[kind]) if kind in self.known else otherwise

    def _aimed(self, body: dict[str, Any]) -> dict[str, Any]:
        return {name: self._value(name, value) for name, value in body.items()}

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(name, each) for each in value]
        if isinstance(value, dict):
            return self._aimed(value)
        return self._one(name, value) if isinstance(value, str) and self.random.random() < 0.8 else value


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    made = Asking(tmp_path)
    yield made
    made.service.close()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_each_answer_is_as_described(operation: Operation, asking: Asking) -> None:
    here = schema()[operation.path][operation.method]
    examples = settings().max_examples
    config = schema().config.generation_for(operation=here)
    edges = list(schema().iter_coverage_cases(here, generation_modes=MODES, generation_config=config))
    for case in edges[:: max(1, len(edges) // EDGES) if examples <= 1000 else 1]:
        asking.check(case)
    takes = operation.body is not Nothing or operation.query is not Nothing
    for mode in MODES if takes else ():

        @settings(
            max_examples=max(2, examples // RANDOM_SHARE),
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=here.as_strategy(generation_mode=mode))
        def random(case: Case) -> None:
            asking.check(case)

        random()
