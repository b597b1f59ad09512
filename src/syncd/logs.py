"""Logs: an event in the past tense and key-values, one line each. No values of attributes, no secrets, no DNs at info.

For people on a terminal, or JSON for a collector; both on stderr, since stdout belongs to commands. Set up once, by whoever
composes the process.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO

import orjson
import structlog


def configure(
    level: str = "info", form: Literal["auto", "json", "console"] = "auto", stream: TextIO | None = None
) -> None:
    """`level`: debug, info, warning or error. `form` auto: for people if the stream is a terminal, else JSON.

    Libraries that use the standard logger are heard from warnings on.
    """
    out = stream or sys.stderr
    if form == "auto":
        form = "console" if out.isatty() else "json"
    threshold = logging.getLevelNamesMapping()[level.upper()]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[Any] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, stamp]
    if form == "json":
        last: list[Any] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=out.isatty(), sort_keys=False)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.WARNING, stream=out, force=True)


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
