"""One tree of errors, three attributes, rendered by the edges: SCIM (`scim/endpoint.py`), the API (`api/problem.py`), the
command line (`cli/__init__.py`).

`status` and `scim_type` are what SCIM answers (RFC 7644 section 3.12, table 9); `exit_code` is what the command line
returns. The message says what was wrong, where and what to do, with numbers. Clients never see anything else.
"""

from __future__ import annotations


class SyncdError(Exception):
    """Root of every error syncd raises on purpose."""

    status: int = 500
    scim_type: str | None = None
    exit_code: int = 1
    lacks: str | None = None  # the tolerance that the policy of a connection would need

    @property
    def detail(self) -> str:
        return str(self)

    @property
    def headers(self) -> dict[str, str]:
        """Those of HTTP that its status calls for (RFC 9110)."""
        return {}


class Retryable(SyncdError):
    """Try again later; `retry_after_s` is what HTTP sends as Retry-After."""

    status = 503

    def __init__(self, message: str, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class InvalidFilter(SyncdError):
    status, scim_type, exit_code = 400, "invalidFilter", 2


class InvalidPath(SyncdError):
    status, scim_type = 400, "invalidPath"


class InvalidSyntax(SyncdError):
    status, scim_type = 400, "invalidSyntax"


class InvalidValue(SyncdError):
    status, scim_type = 400, "invalidValue"


class NoTarget(SyncdError):
    status, scim_type = 400, "noTarget"


class Mutability(SyncdError):
    status, scim_type = 400, "mutability"


class InvalidVersion(SyncdError):
    status, scim_type = 400, "invalidVers"


class Uniqueness(SyncdError):
    status, scim_type = 409, "uniqueness"


class Conflict(SyncdError):
    """A request that contradicts the current state, without a scimType of its own."""

    status = 409


class FullReadNeeded(SyncdError):
    """A delta cannot vouch for itself; the message says why. Never leaves a run: it reads everything instead."""


class AlreadyRan(Conflict):
    """The time of a schedule has its run."""


class Stopped(SyncdError):
    """The process was told to end in the middle; what was stored goes on with the next run."""


class NotFound(SyncdError):
    status = 404


INSUFFICIENT = 'Bearer realm="syncd", error="insufficient_scope"'


class Unauthorized(SyncdError):
    """`challenge`: the WWW-Authenticate header (RFC 6750 section 3)."""

    status, challenge = 401, 'Bearer realm="syncd"'

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": self.challenge}


class InvalidToken(Unauthorized):
    """A token came, and it is none: what a client takes as a sign to get another one."""

    challenge = 'Bearer realm="syncd", error="invalid_token"'


class Forbidden(SyncdError):
    """`challenge`: as of Unauthorized, of a token that lacks a permission (section 3.1)."""

    status = 403
    challenge: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.challenge is None else {"WWW-Authenticate": self.challenge}


def too_narrow(message: str) -> Forbidden:
    """For a token that lacks a permission, or has it for some attributes only."""
    refused = Forbidden(message)
    refused.challenge = INSUFFICIENT
    return refused


class Refused(SyncdError):
    """A guard said no: the last owner, a protected account, a grant the source may not give. Never retried."""

    status = 403


class PoolFull(SyncdError):
    """A `required: true` or `when_full: refuse` pool has no seat left."""

    status = 403


class MethodNotAllowed(SyncdError):
    status = 405

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": self.allow}


class UnsupportedMedia(SyncdError):
    status = 415


class StaleVersion(SyncdError):
    status = 412


class TooLarge(SyncdError):
    status = 413


class TooManyRequests(Retryable):
    status = 429


class HeldByGuard(Retryable):
    status, exit_code = 429, 4


class DatabaseUnavailable(Retryable):
    """Also raised for a database that does not exist yet or is behind its migrations (exit 1)."""

    status = 503

    @property
    def detail(self) -> str:
        """Without the address of the database: clients are other people."""
        return "the database behind this service is not available at the moment: try again later"


class SourceUnreachable(Retryable):
    status, exit_code = 503, 75


class BindRefused(SourceUnreachable):
    """The directory answered and will not have this account. Not a matter of time: wrong passwords lock accounts, so
    whoever repeats runs by itself must not repeat this one."""

    exit_code = 1


class IncompleteRead(SyncdError):
    status, exit_code = 503, 5


class ConfigError(SyncdError):
    """Every fault of a configuration, one line each: `file:line:column  key.path: what`."""

    exit_code = 78


class UsageError(SyncdError):
    status, exit_code = 400, 2
