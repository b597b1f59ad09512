"""Logs: an event in the past tense and key-values, one line each. No values of attributes, no secrets, no DNs at info.

For people on a terminal, or JSON for a collector; both on stderr, since stdout belongs to commands. What libraries say by the
standard logger goes the same way. The last step before a line is written takes out whatever looks like a secret: it is there
for what nobody foresaw, such as the text of a library's error. Set up once, by whoever composes the process.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from threading import Lock
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter

from syncd.core.secret import Secret

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["auto", "json", "console"]
Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Event]
Usual = tuple[tuple[str, str], ...]  # names and texts

HIDDEN: Final = "***"
_EACH_NEW: Final = ("request_id", "run_id")  # never the same again
_SHORT, _MANY = 80, 2000  # characters of a text, and texts, that are remembered to need no look
_SHORTEST: Final = 4  # of a known secret: a shorter one would be found in every other word
_SECRET_KEY: Final = re.compile(
    r"passw|passphrase|secret|authorization|cookie|credential|api_?key|private_?key|bearer|dsn", re.I
)
_TOKEN_KEY: Final = re.compile(r"(^|_)token(_value|_text)?$", re.I)  # but not `token_id` or `tokens`
_SUSPECT: Final = re.compile(r"[\s=:]|syncd_|eyJ", re.I)  # no shape does without; most values are one plain word
_NAME: Final = r"\b(\w*(?:passw(?:or)?d|pwd|secret|api_?key|access_token|client_assertion))"
_VALUE: Final = r"""(["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&)}\]]+)"""
_SHAPES: Final = (
    # The id of a syncd token is public, and tells which one was meant.
    (re.compile(r"(syncd_[0-9a-f]{16})_[0-9a-f]{8,}", re.I), rf"\1_{HIDDEN}"),
    (re.compile(r"syncd_at_[\w-]+\.[\w-]{8,}", re.I), f"syncd_at_{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"), HIDDEN),  # a signed token of anybody's
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.I), rf"\1 {HIDDEN}"),
    # Up to the last @ before the path, since a password may hold one.
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/]+@", re.I), rf"\1:{HIDDEN}@"),
    # `password=...` of a connection string, a query or a library's message; in quotes it may hold blanks.
    (re.compile(rf"{_NAME}{_VALUE}", re.I), rf"\1\2{HIDDEN}"),
)  # fmt: skip


def configure(
    level: Level = "info", form: Form = "auto", stream: TextIO | None = None, secrets: Iterable[Secret] = ()
) -> None:
    """`form` auto: for people if the stream is a terminal, else JSON. `secrets`: those this process knows, to be hidden
    wherever they turn up. Libraries that use the standard logger are heard from warnings on.
    """
    out = stream or sys.stderr
    if form == "auto":
        form = "console" if out.isatty() else "json"
    threshold = logging.getLevelNamesMapping()[level.upper()]
    first: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    lines, clean = _Lines(out), redact(secrets)
    last: list[Any] = [structlog.processors.format_exc_info, clean, _stamp]
    if form == "json":
        last.append(_Json(lines, clean, threshold <= logging.INFO))
    else:
        # Tracebacks are text by now: the renderer's own would show local values, and those may be secrets.
        plain = structlog.dev.plain_traceback
        last.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), sort_keys=False, exception_formatter=plain))
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lines,
        cache_logger_on_first_use=False,
    )
    handler = _Libraries(out)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, *last],
            foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Libraries)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(threshold, logging.WARNING))


class _Libraries(logging.StreamHandler[TextIO]):
    """The one handler of the standard logger that is ours, so that it can be set up again."""


class _Lines:
    """What structlog ends in, and its factory: a line for each event, whole, whoever writes at the same time."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._lock = out, Lock()

    def __call__(self, *_: Any) -> _Lines:
        return self

    def msg(self, line: str) -> None:
        with self._lock:
            self._out.write(f"{line}\n")
            self._out.flush()

    log = debug = info = warning = error = critical = exception = fatal = failure = err = warn = msg


def _stamp(_: Any, __: str, event: Event) -> Event:
    seconds, rest = divmod(time.time_ns() // 1000, 1_000_000)
    event["timestamp"] = f"{_second(seconds)}.{rest:06d}Z"
    return event


@lru_cache(16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class _Json:
    """The last step: an event as JSON."""

    def __init__(self, lines: _Lines, clean: Processor, hears_info: bool) -> None:
        self._lines, self._clean, self._hears_info = lines, clean, hears_info
        self._begun: dict[tuple[str, Usual], bytes] = {}

    def __call__(self, _: Any, __: str, event: Event) -> str:
        return orjson.dumps(event, default=str).decode()

    def info(self, event: str, request_id: str, usual: Usual, said: Event) -> None:
        """The line that structlog would write, in one step."""
        if self._hears_info:
            begun = self._begun.get((event, usual)) or self._begin(event, usual)
            said["request_id"] = request_id
            rest = orjson.dumps(_stamp(None, "", self._clean(None, "", said)), default=str)
            self._lines.msg((begun + rest[1:]).decode())

    def _begin(self, event: str, usual: Usual) -> bytes:
        """The JSON of what stands in line after line, up to what follows it."""
        said = self._clean(None, "", {"event": event, "level": "info", **dict(usual)})
        begun = orjson.dumps(said)[:-1] + b","
        if len(self._begun) < _MANY:
            self._begun[event, usual] = begun
        return begun


class Often:
    """A logger for a line of every request, in a context that binds `request_id` and nothing else."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def info(self, event: str, request_id: str, usual: Usual, **said: Any) -> None:
        """`usual`: what stands in line after line, in few variations."""
        last = structlog.get_config()["processors"][-1]
        if type(last) is _Json:
            last.info(event, request_id, usual, said)
        else:
            self._log.info(event, **dict(usual), **said)


def redact(secrets: Iterable[Secret] = ()) -> Processor:
    """A processor that hides secrets: by the name of the key, by their shape, and those that are known by their text."""
    # The longest first, since one may be part of another.
    known = sorted({each.reveal() for each in secrets if len(each.reveal()) >= _SHORTEST}, key=len, reverse=True)
    literal = re.compile("|".join(map(re.escape, known))) if known else None

    def text(value: str) -> str:
        if literal is not None and literal.search(value):
            value = literal.sub(HIDDEN, value)
        if _SUSPECT.search(value):
            for shape, instead in _SHAPES:
                value = shape.sub(instead, value)
        return value

    def clean(value: Any) -> Any:
        kind = type(value)  # of what stands in nearly every line, first
        if kind is str:
            return text(value)
        if kind is int or kind is float:
            return value
        match value:
            case str():
                return text(value)
            case None | bool() | int() | float():
                return value
            case Secret():
                return HIDDEN
            case Mapping():
                return {
                    key: HIDDEN if _names_a_secret(str(key)) and each else clean(each) for key, each in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [clean(each) for each in value]
            case bytes():
                return text(value.decode("utf-8", "replace"))
        return text(str(value))

    plain: set[str] = set()  # short texts that stand in line after line, and hide nothing

    def processor(_: Any, __: str, event: Event) -> Event:
        for key, value in event.items():
            kind = type(value)
            if kind is int or kind is float or (kind is str and value in plain and not _names_a_secret(key)):
                continue
            event[key] = cleaned = HIDDEN if _names_a_secret(key) and value else clean(value)
            if cleaned is value and kind is str and key not in _EACH_NEW and len(value) < _SHORT and len(plain) < _MANY:
                plain.add(value)
        return event

    return processor


@lru_cache(1000)  # keys are few and stand in every line
def _names_a_secret(name: str) -> bool:
    return bool(_SECRET_KEY.search(name) or _TOKEN_KEY.search(name))
