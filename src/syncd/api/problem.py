"""Refusals as problem details (RFC 9457), `application/problem+json`.

`type` names the class of the refusal and never changes; `detail` says what was wrong, where and what to do, in the same
words as at every other door; `errors` points into the message (RFC 6901) or names the query parameter.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.responses import Response

from syncd.api.model import Model
from syncd.errors import SyncdError

MEDIA_TYPE: Final = "application/problem+json"
_MOST: Final = 20  # faults of one message that are told


class Fault(Model):
    pointer: str | None = Field(
        default=None, description="Where in the body, as a JSON pointer; empty: the whole of it."
    )
    parameter: str | None = Field(default=None, description="Which query parameter.")
    detail: str


class Problem(Model):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="`urn:syncd:problem:` and the kind of refusal, for programs.")
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] | None = Field(
        default=None, description="Every fault of the message, if it is not valid."
    )
    request_id: str | None = Field(default=None, description="What the server's log has it under.")


class Invalid(SyncdError):
    """A message that is JSON but not what the operation takes; every fault of it."""

    status = 422

    def __init__(self, message: str, faults: tuple[Fault, ...]) -> None:
        super().__init__(message)
        self.faults = faults


class Malformed(SyncdError):
    """No JSON, or a header that means nothing."""

    status = 400


def faults_of(exc: ValidationError, parameters: bool = False) -> tuple[Fault, ...]:
    found = exc.errors(include_url=False, include_context=False, include_input=False)[:_MOST]
    return tuple(_fault(each, parameters) for each in found)


def _fault(error: ErrorDetails, parameters: bool) -> Fault:
    if parameters:
        return Fault(parameter=str(error["loc"][0])[:100] if error["loc"] else None, detail=error["msg"])
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')[:200]}" for part in error["loc"])
    return Fault(pointer=pointer, detail=error["msg"])


def problem(exc: SyncdError, request_id: str | None = None) -> Problem:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(exc).__name__).lower()
    return Problem(
        type=f"urn:syncd:problem:{words.replace(' ', '-')}",
        title=words.capitalize(),
        status=exc.status,
        detail=exc.detail,
        errors=exc.faults if isinstance(exc, Invalid) else None,
        request_id=request_id,
    )


def refusal(exc: SyncdError, request_id: str | None = None) -> Response:
    body = problem(exc, request_id).model_dump_json(exclude_none=True)
    return Response(body, exc.status, exc.headers, MEDIA_TYPE)


def unexpected(request_id: str) -> Response:
    """For what nobody foresaw: the id, and nothing else."""
    told = Problem(
        type="about:blank",
        title="Internal server error",
        status=500,
        detail=f"something unexpected happened; the log has it under request {request_id}",
        request_id=request_id,
    )
    return Response(told.model_dump_json(exclude_none=True), 500, media_type=MEDIA_TYPE)
