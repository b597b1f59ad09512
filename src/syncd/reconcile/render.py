"""A report for programs (one JSON object, streamed) and for people (tables, losses first). Pure: nothing is printed here.

Text of a directory goes to a terminal only through `plain`: control characters in a name must not move the cursor or hide
a line. Tables show at most so many rows of each sort and say how many more there are; `--json` shows all.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from syncd.core.change import Change
from syncd.core.counting import counted
from syncd.core.lookup import Looked
from syncd.core.plan import COUNTED, LET_GO, HeldItem, PoolUse, Report
from syncd.core.seats import cost, money, number

ROWS = 40
_COPIED = ("run", "digest", "id")
_NOTHING = ("read", "yield", "set_aside")  # counts that are no change
_STYLE = {
    "clean": "green",
    "applied": "green",
    "pending": "yellow",
    "held": "bold red",
    "incomplete": "bold red",
    "failed": "bold red",
}


def plain(text: object) -> str:
    """The text with control and direction characters made visible, on one line."""
    return "".join(
        char if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else f"\\u{ord(char):04x}"
        for char in str(text)
    )


# -- for programs -----------------------------------------------------------------------------------------------------------


def to_json(report: Report) -> Iterator[bytes]:
    """The object of design section 9 in pieces: everything but the changes at once, then change by change."""
    head: dict[str, Any] = {
        "run": report.run,
        "source": report.source,
        "dry_run": report.dry_run,
        "status": report.status,
        "complete": report.complete,
        "incomplete_because": list(report.incomplete_because),
        "digest": report.digest,
        "counts": {kind: report.counts.get(kind, 0) for kind in COUNTED},
        "held": [_held_json(item) for item in report.held],
        "set_aside": [{"entry": each.entry, "why": each.why} for each in report.set_aside],
        "seats": _seats_json(report.seats_before, report.seats_after),
        "cost": _cost_json(report.seats_before, report.seats_after),
        "kind": report.kind,
        "kind_why": report.kind_why,
        "drift": report.drift,
        "looked_up": [_looked_json(each) for each in report.looked],
    }
    yield orjson.dumps(head)[:-1] + b',"changes":['
    for index, change in enumerate(report.changes):
        yield (b",\n" if index else b"\n") + orjson.dumps(change_json(change, report.names))
    yield b"]}\n"


def _looked_json(looked: Looked) -> dict[str, Any]:
    steps = [{"step": each.name, "ok": each.ok, "what": each.what} for each in looked.steps]
    return {"subject": looked.subject, "id": looked.id, "steps": steps}


def _seats_json(before: Mapping[str, PoolUse], after: Mapping[str, PoolUse]) -> list[dict[str, Any]]:
    """Every pool, whether or not it moves."""
    return [
        {
            **{"pool": pool, "limit": new.limit, "used_before": old.used, "used_after": new.used},
            **{"waiting_before": old.waiting, "waiting_after": new.waiting},
        }
        for pool, old, new in _pools(before, after)
    ]


def _cost_json(before: Mapping[str, PoolUse], after: Mapping[str, PoolUse]) -> list[dict[str, Any]]:
    return [
        {"currency": currency, "per": per, "before": number(old), "after": number(new)}
        for (currency, per), (old, new) in _costs(before, after).items()
    ]


def _pools(before: Mapping[str, PoolUse], after: Mapping[str, PoolUse]) -> Iterator[tuple[str, PoolUse, PoolUse]]:
    none = PoolUse(0, None, 0)
    for pool in sorted({*before, *after}):
        yield pool, before.get(pool, none), after.get(pool, none)


def _costs(
    before: Mapping[str, PoolUse], after: Mapping[str, PoolUse]
) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """What the seats of all pools with a price come to, before and after, by currency and period."""
    old, new = (cost((each.price, each.used) for each in uses.values()) for uses in (before, after))
    return {key: (old.get(key, Decimal(0)), new.get(key, Decimal(0))) for key in sorted({*old, *new})}


def change_json(change: Change, names: Mapping[str, str]) -> dict[str, Any]:
    before, after = named(change.before, names), named(change.after, names)
    return {"kind": change.kind, "subject": change.subject, "before": before, "after": after, "why": change.why}


def named(value: Any, names: Mapping[str, str]) -> Any:
    """A manager by userName: the id of a user whom this same plan creates is made anew by every plan."""
    if not isinstance(value, dict):
        return value
    return {path: names.get(each, each) if path.endswith("manager.value") else each for path, each in value.items()}


def failed(source: str, dry_run: bool, because: str) -> Report:
    """What a program gets if there was no run to report on, such as when the source cannot be reached."""
    counts = dict.fromkeys(COUNTED, 0)
    return Report("", source, dry_run, "failed", False, (because,), "", counts, (), (), ())


def _held_json(item: HeldItem) -> dict[str, Any]:
    return {
        **{"guard": item.guard, "kind": item.kind, "why": item.why, "changes": item.changes, "digest": item.digest},
        "subjects": list(item.subjects),
    }


# -- for people -------------------------------------------------------------------------------------------------------------


def for_people(report: Report, rows: int = ROWS) -> RenderableType:
    """What, who, why; losses first; seats before -> after; what is held and what to do about it; the end line."""
    parts: list[RenderableType] = []
    if report.incomplete_because:
        parts.append(_lines("The read is incomplete, so nothing is taken away by absence", report.incomplete_because))
    if report.looked:
        parts.append(_looked(report.looked, rows))
    changes = _changes(report.changes, report.dry_run, rows, report.names)
    if changes is not None:
        parts.append(changes)
    if report.set_aside:
        aside = table(
            "set aside", "why", title=f"Set aside: {counted(len(report.set_aside), 'entry')}, the rest goes on"
        )
        fill(aside, ((each.entry, each.why) for each in report.set_aside[:rows]), len(report.set_aside) - rows)
        parts.append(aside)
    seats = seats_table(report.seats_before, report.seats_after)
    if seats is not None:
        parts.append(seats)
    if report.held:
        parts.append(_held(report))
    parts += [Text(plain(note)) for note in report.notes]
    parts.append(end_line(report))
    return Group(*parts)


def _looked(looked: Sequence[Looked], rows: int) -> RenderableType:
    """How far each person came, step by step; where it stopped in red."""
    shown = table("looked up", "step", "", "what")
    for each in looked[:rows]:
        for at, step in enumerate(each.steps):
            cells = (each.subject if at == 0 else "", step.name, "yes" if step.ok else "no", step.what)
            shown.add_row(*(Text(plain(cell)) for cell in cells), style=None if step.ok else "red")
    if len(looked) > rows:
        shown.add_row(Text(f"... {len(looked) - rows:,} more (--json shows all)"), style="dim")
    return shown


def changes_table(changes: Iterable[Change], rows: int = ROWS) -> RenderableType | None:
    """The changes of one command, as those of a plan are shown; None if there is none."""
    return _changes(changes, False, rows, {}, titled=False)


def losses(changes: Iterable[Change]) -> str:
    """`3 people lose 2 roles, 1 seat. `; nothing if nobody loses anything."""
    kinds: Counter[str] = Counter()
    people: set[str] = set()
    for change in changes:
        if change.loss is not None:
            kinds[change.loss] += 1
            people.add(change.subject_id)
    if not people:
        return ""
    said = ", ".join(f"{n:,} {_LOST[kind][n != 1]}" for kind, n in sorted(kinds.items()))
    return f"{len(people):,} {'person loses' if len(people) == 1 else 'people lose'} {said}. "


_LOST: Mapping[str, tuple[str, str]] = {  # kind of loss -> one, many
    "deactivate": ("active account", "active accounts"),
    "suspend": ("account for now", "accounts for now"),
    "delete": ("account", "accounts"),
    "role": ("role, permission or data scope", "roles, permissions or data scopes"),
    "seat": ("seat", "seats"),
    "membership": ("membership", "memberships"),
    "blank": ("value", "values"),
}


def _changes(
    changes: Iterable[Change], dry_run: bool, rows: int, names: Mapping[str, str], titled: bool = True
) -> RenderableType | None:
    """Losses first and in full up to `rows` of a kind; of each other kind a few, for the many new ones say little."""
    losses, others = _Sorted(rows), _Sorted(max(1, rows // 4))
    for change in changes:
        taken_away = change.loss is not None or change.kind == "group_delete"
        (losses if taken_away else others).add(change)
    found: list[RenderableType] = []
    for sort, verb, style in (
        (losses, "Would take away" if dry_run else "Took away", "red"),
        (others, "Would change" if dry_run else "Changed", None),
    ):
        if sort.total:
            shown = table("what", "who", "change", "why", title=f"{verb}: {sort.total:,}" if titled else None)
            for kind, kept in sort.kept.items():
                fill(shown, (_row(each, names) for each in kept), sort.seen[kind] - len(kept), style)
            found.append(shown)
    return Group(*found) if found else None


class _Sorted:
    """Changes by kind, the first few of each, counted."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: dict[str, list[Change]] = {}
        self.seen: Counter[str] = Counter()

    def add(self, change: Change) -> None:
        self.seen[change.kind] += 1
        kept = self.kept.setdefault(change.kind, [])
        if len(kept) < self.most:
            kept.append(change)

    @property
    def total(self) -> int:
        return self.seen.total()


def _row(change: Change, names: Mapping[str, str]) -> tuple[str, str, str, str]:
    return (change.kind.replace("_", " "), change.subject, short(difference(change, names), 120), change.why)


def difference(change: Change, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """`title: Analyst -> Lead`, `active -> inactive`, `+ role admin`: short, for one line of a table."""
    before, after = named(change.before, names), named(change.after, names)
    match before, after:
        case dict(), dict():
            return "; ".join(f"{_path(key)}: {short(before.get(key))} -> {short(after.get(key))}" for key in after)
        case None, dict():
            return "; ".join(f"{_path(key)}: {short(value)}" for key, value in after.items() if key != "schemas")
        case dict(), None:
            return ""
        case None, _:
            return f"+ {short(after)}"
        case _, None:
            return f"- {short(before)}"
    return f"{short(before)} -> {short(after)}"


def _path(path: str) -> str:
    return path.rpartition(":")[2]  # an extension's URN says nothing to a person


def short(value: Any, most: int = 60) -> str:
    match value:
        case None:
            return "nothing"
        case {"value": inner, **_others}:
            return short(inner, most)
        case list() | tuple():
            text = ", ".join(short(each, most) for each in value)
        case dict():
            text = ", ".join(f"{key} {short(each, most)}" for key, each in value.items())
        case bool():
            text = str(value).lower()
        case _:
            text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def seats_table(before: Mapping[str, PoolUse], after: Mapping[str, PoolUse]) -> RenderableType | None:
    """Every pool that moves; None if none does."""
    moving = [(pool, old, new) for pool, old, new in _pools(before, after) if old != new]
    if not moving:
        return None
    priced = any(new.price is not None for _, _, new in moving)
    shown = table("pool", "seats", "of", "waiting", *(["cost"] if priced else []), title="Seats before -> after")
    for pool, old, new in moving:
        full = new.limit is not None and new.used >= new.limit
        shown.add_row(
            plain(pool),
            f"{old.used:,} -> {new.used:,}",
            "unlimited" if new.limit is None else f"{new.limit:,}",
            f"{old.waiting:,} -> {new.waiting:,}" if old.waiting or new.waiting else "",
            *([_cost_of(old, new)] if priced else []),
            style="yellow" if full else None,
        )
    if priced:
        for (currency, per), (was, will) in _costs(before, after).items():
            total = f"{money(was)} -> {money(will)} {currency}/{per}"
            shown.add_row("all pools", "", "", "", total, style="bold")
    return shown


def _cost_of(old: PoolUse, new: PoolUse) -> str:
    if new.price is None:
        return ""
    price = new.price
    return f"{money(price.times(old.used))} -> {money(price.times(new.used))} {price.currency}/{price.per}"


def _held(report: Report) -> RenderableType:
    shown = table("guard", "of what", "why", "who", "digest", title="Held: nothing of this is done")
    for item in report.held:
        names = ", ".join(item.subjects[:5]) + (f", ... {len(item.subjects) - 5:,} more" * (len(item.subjects) > 5))
        cells = (item.guard, item.kind, item.why, names, item.digest[:12])
        shown.add_row(*map(plain, cells), style="red")
    if not any(item.digest for item in report.held):
        return shown
    what = "`syncd runs approve DIGEST` applies them, `syncd runs discard DIGEST` forgets them"
    again = f"`syncd sync {report.source}{' --let-go' if report.kind == LET_GO else ''}`"
    if report.dry_run:
        what = f"{again} stores them; then {what}"
    if report.kind == LET_GO:
        what += f"; then {again} takes what is left"
    return Group(shown, Text(plain(what)))


def end_line(report: Report) -> Text:
    """One line with the counts that are not 0 and the time taken."""
    counted = [f"{kind.replace('_', ' ')} {n:,}" for kind, n in report.counts.items() if n or kind == "read"]
    if not any(n for kind, n in report.counts.items() if kind not in _NOTHING):
        counted.append("no change")
    if report.kind == "delta":
        counted.insert(0, "what changed")
    line = Text(plain(f"{report.source}: "))
    line.append(report.status, style=_STYLE.get(report.status, ""))
    tail = f" · {' · '.join(counted)} · {report.took_s:.1f} s"
    if report.digest:
        tail += f" · digest {report.digest[:12]}"
    if report.run:
        tail += f" · run {report.run}"
    line.append(plain(tail))
    return line


def table(*columns: str, title: str | None = None) -> Table:
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        # What is copied into the next command stays on one line; the columns beside it fold.
        made.add_column(column, overflow="fold", no_wrap=column in _COPIED)
    return made


def fill(shown: Table, rows: Iterable[Sequence[object]], more: int = 0, style: str | None = None) -> None:
    for row in rows:
        shown.add_row(*(Text(plain(cell)) for cell in row), style=style)
    if more > 0:
        shown.add_row(Text(f"... {more:,} more (--json shows all)"), style="dim")


def _lines(heading: str, lines: Iterable[str]) -> RenderableType:
    return Group(Text(heading, style="bold red"), *(Text(f"  {plain(line)}") for line in lines))
