"""Logs: an event and key-values on stderr, one line each; a table's colours on a terminal, JSON otherwise.

Commands that a person runs print their own results, so only what went wrong is logged there.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(level: Literal["info", "error"] = "info") -> None:
    shown = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if shown else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if level == "info" else logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
