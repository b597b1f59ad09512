"""From the file to Settings, collecting every fault on the way: form, types, secrets, contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Environment
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from syncd.core.types import STANDARD, Types, extended
from syncd.errors import ConfigError
from syncd.settings import checks, extensions, tree
from syncd.settings.block import did_you_mean
from syncd.settings.model import File, Settings, Workspace
from syncd.settings.tree import Fault, Mapping, Place, Sequence
from syncd.settings.values import Surroundings, parse_bind, parse_database, shown, with_password

DEFAULT = "default"  # the workspace that the flat form describes
UNKNOWN_DATABASE = "sqlite:///unknown"  # stands in for one that is a fault, so that the rest can be judged
KEY = "[key]"  # ends pydantic's path to the key of a mapping, not to its value
KeyPath: TypeAlias = tuple[str | int, ...]


def load(path: Path, env: Environment[str, str]) -> Settings:
    """The settings in the file at `path`, with `SYNCD_DATABASE` and `SYNCD_BIND` of `env` before what it says.

    Paths in the file are relative to its folder; one in SYNCD_DATABASE is relative to the current folder.
    Raises ConfigError with all faults, one line each, in the order of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        hint = "name it with `--config FILE` or SYNCD_CONFIG"
        raise ConfigError(f"{path}: cannot be read: {exc.strerror or exc}; {hint}") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror or exc}") from None
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not text in UTF-8: {exc}") from None
    written, faults = tree.read(text, str(path))
    if written is None:
        raise _report(faults, path)
    given = _overridden(written, env, faults)
    file, good = _parse(given, Surroundings(path.resolve().parent, env), faults)
    types = _types(file, good, faults)
    faults.extend(_contradictions(file, given, good, types))
    if faults:
        raise _report(faults, path)
    flat = Workspace.model_construct(**{key: getattr(file, key) for key in Workspace.model_fields})
    return Settings(
        path=path,
        database=with_password(file.database, file.database_password_file),
        http=file.http,
        worker=file.worker,
        log=file.log,
        tokens=file.tokens,
        retention=file.retention,
        deliver=file.deliver,
        mail=file.mail,
        timezone=file.timezone,
        workspaces={DEFAULT: flat, **file.workspaces},
        types={name: each or STANDARD for name, each in types.items()},
    )


def _report(faults: Iterable[Fault], path: Path) -> ConfigError:
    in_order = sorted(set(faults), key=lambda each: (each.file or "", each.place or Place(0, 0), each.path))
    return ConfigError("\n".join(fault.line(str(path)) for fault in in_order))


def _overridden(written: Mapping, env: Environment[str, str], faults: list[Fault]) -> Mapping:
    given: Mapping = tree.without(written, set())
    if database := env.get("SYNCD_DATABASE"):
        try:
            given["database"] = parse_database(database, Path.cwd())
        except ValueError as exc:
            faults.append(Fault(None, "SYNCD_DATABASE", str(exc)))
            given["database"] = UNKNOWN_DATABASE
    if bind := env.get("SYNCD_BIND"):
        try:
            parse_bind(bind)
        except ValueError as exc:
            faults.append(Fault(None, "SYNCD_BIND", str(exc)))
        else:
            if given.get("http") is None:
                given["http"] = Mapping(given.place, given.file)
            if isinstance(given["http"], Mapping):
                given["http"]["bind"] = bind
    return given


def _parse(given: Mapping, surroundings: Surroundings, faults: list[Fault]) -> tuple[File, Mapping]:
    """The file, and what of `given` it was made from: all, or only the blocks without a fault."""
    try:
        return File.model_validate(given, context=surroundings), given
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
    # A list of which every member is a fault is reported as too short as well.
    faults.extend(_fault(error, given) for error in errors if error["type"] != "too_short" or not error["input"])
    good: Mapping = tree.without(given, {_block(_written_path(error["loc"], given)) for error in errors})
    good.setdefault("database", UNKNOWN_DATABASE)
    return File.model_validate(good, context=surroundings), good


def _block(path: KeyPath) -> KeyPath:
    """The pool, role, source or rule around a key, or the key at the top. It is set aside whole: half of it would make
    contradictions that are none, such as a bind_dn without the password that could not be read."""
    top = 2 if path[0] == "workspaces" else 0
    return path[: top + 2] if path[top : top + 1] and path[top] in Workspace.model_fields else path[: top + 1]


def _types(file: File, good: Mapping, faults: list[Fault]) -> dict[str, Types | None]:
    """The resource types of each workspace; None if a file of its extensions has a fault."""
    found: dict[str, Types | None] = {}
    for name, part in {DEFAULT: file, **file.workspaces}.items():
        given, in_files = extensions.read(part.extensions)
        faults.extend(in_files)
        found[name] = None if in_files else extended(given, part.indexes)
        path = ("workspaces", name) if name in file.workspaces else ()
        for number, each in enumerate(part.extensions):
            if each in part.extensions[:number]:
                faults.append(_at((*path, "extensions", number), f"{each.file} extends {each.of} already", good))
    return found


def _contradictions(
    file: File, given: Mapping, good: Mapping, types: Environment[str, Types | None]
) -> Iterator[Fault]:
    for path, what in (*checks.http(file.http), *checks.deliver(file.deliver), *checks.mail(file.mail)):
        yield _at(path, what, good)
    for path, what in checks.workspace(file, checks.Known.of(given), types[DEFAULT]):
        yield _at(path, what, good)
    for path, what in checks.letters_needed(file, file.mail):
        yield _at(path, what, good)
    for name, part in file.workspaces.items():
        for path, what in checks.letters_needed(part, file.mail):
            yield _at(("workspaces", name, *path), what, good)
        if name == DEFAULT and any(key in given for key in Workspace.model_fields):
            yield _at(("workspaces", name), "the keys at the top of the file are this workspace; use one form", good)
        for path, what in checks.workspace(part, checks.Known.of(given["workspaces"][name] or {}), types[name]):
            yield _at(("workspaces", name, *path), what, good)


def _at(path: KeyPath, what: str, given: Mapping, *, key: bool = False) -> Fault:
    """A fault at the value of `path`, or at its key; at the nearest thing around it if the file does not have it."""
    node: Any = given
    place, dotted = given.place, ""
    for step in path:
        dotted += _dotted(step, node, bool(dotted))
        if isinstance(node, Mapping) and step in node:
            places = node.keys_at if key and step == path[-1] else node.values_at
            place = places.get(str(step), place)
            node = node[str(step)]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node):
            place, node = node.values_at[step], node[step]
        elif not isinstance(node, Mapping | Sequence) and isinstance(step, int):
            dotted = dotted.removesuffix(f"[{step}]")  # one value where a list may stand
    return Fault(place, dotted, what)


def _dotted(step: str | int, node: Any, nested: bool) -> str:
    if isinstance(step, str):
        return f".{step}" if nested else step
    known = isinstance(node, Sequence) and step < len(node)
    return f"[{node.numbers[step] if known else step}]"


def _fault(error: Any, given: Mapping) -> Fault:
    """pydantic's error in our words, at its place.

    Its path names the kind of a source as well, `sources.corp.ldap.users`, which the file does not have there.
    """
    kind, context = error["type"], error.get("ctx", {})
    path = _written_path(error["loc"], given)
    if kind.startswith("union_tag"):
        path = (*path, "kind")
    return _at(path, _what(kind, context, error), given, key=kind == "unknown_key" or error["loc"][-1] == KEY)


def _written_path(loc: KeyPath, given: Mapping) -> KeyPath:
    node: Any = given
    path: list[str | int] = []
    for number, step in enumerate(loc):
        last = number == len(loc) - 1
        if step == KEY:
            continue
        if isinstance(node, Mapping) and step in node:
            node = node[str(step)]
        elif isinstance(node, Sequence) and isinstance(step, int):
            node = node[step] if step < len(node) else None
        elif not last and isinstance(node, Mapping):
            continue  # the kind
        path.append(step)
    return tuple(path)


def _what(kind: str, context: dict[str, Any], error: Any) -> str:
    value = shown(error["input"])
    match kind:
        case "unknown_key":
            return str(context["what"])
        case "missing":
            return "is required"
        case "union_tag_not_found":
            return "is required: one of ldap, ldif, scim, local"
        case "union_tag_invalid":
            choices = _choices(context["expected_tags"])
            return f"'{context['tag']}' is not one of {', '.join(choices)}{did_you_mean(context['tag'], choices)}"
        case "literal_error":
            return f"{value} is not one of {', '.join(_choices(context['expected'].replace(' or ', ', ')))}"
        case "value_error":
            return str(context["error"])
        case "string_type":
            return (
                f"{value} is not text; put it in quotes"
                if isinstance(error["input"], int | float)
                else f"{value} is not text"
            )
        case "int_type" | "int_parsing" | "int_from_float":
            return f"{value} is not a whole number"
        case "bool_type" | "bool_parsing":
            return f"{value} is not true or false"
        case "tuple_type" | "list_type":
            return f"{value} is not a list such as [a, b]"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "is empty; it needs keys" if error["input"] is None else f"{value} is not a group of keys"
        case "greater_than_equal":
            return f"{value} is less than {context['ge']}"
        case "less_than_equal":
            return f"{value} is more than {context['le']}"
        case "too_short" | "string_too_short":
            return "must not be empty"
    return f"{value}: {error['msg']}"


def _choices(listed: str) -> list[str]:
    return [choice.strip().strip("'") for choice in listed.split(",")]
