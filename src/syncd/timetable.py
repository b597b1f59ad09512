"""When a source is due: the times of its schedule, the same ones for every worker that asks.

Times between reads are counted from 1970, put off by a part of the interval that depends on the source's name alone; cron
times by a part of `jitter`. So many sources do not start at once, two workers mean the same instant, and a restart starts
nothing anew. As in cron, a day of the month and a weekday together mean either.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.triggers.cron import CronTrigger

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Timetable:
    """`full`: cron in `zone`, or the time between whole reads; `delta`: the time between reads of what changed.

    With neither, nothing is ever due. `name`: what the times are spread by, such as workspace and source.
    """

    def __init__(
        self,
        full: str | timedelta | None = None,
        delta: timedelta | None = None,
        zone: tzinfo = UTC,
        jitter: timedelta = timedelta(0),
        name: str = "",
    ) -> None:
        self._wholes = [(full, _part(full, name))] if isinstance(full, timedelta) else []
        self._every = [*self._wholes, *([(delta, _part(delta, name))] if delta else [])]
        self._cron = [CronTrigger(**f, timezone=zone) for f in cron_fields(full)] if isinstance(full, str) else []
        self._put_off = _part(jitter, name)

    def __bool__(self) -> bool:
        return bool(self._every or self._cron)

    @property
    def delta(self) -> bool:
        """There are times for reads of what changed."""
        return len(self._every) > len(self._wholes)

    def is_whole(self, moment: datetime) -> bool:
        """This time of the schedule is one for a whole read."""
        return self.after(moment - _INSTANT, whole=True) == moment

    def after(self, moment: datetime, whole: bool = False) -> datetime | None:
        """The first time after `moment`, in UTC; `whole`: of those for whole reads."""
        every = self._wholes if whole else self._every
        found = [_EPOCH + offset + each * ((moment - _EPOCH - offset) // each + 1) for each, offset in every]
        for cron in self._cron:
            fires = cron.get_next_fire_time(None, moment - self._put_off + _INSTANT)
            if fires is not None:
                found.append(fires.astimezone(UTC) + self._put_off)
        return min(found, default=None)

    def count(self, since: datetime, until: datetime) -> int:
        """How many times there are from `since` on and before `until`."""
        # Counted, not walked along: two minutes over a day are 720 times, and every scrape of the metrics asks.
        first, end = (since - _EPOCH) // _INSTANT, (until - _EPOCH) // _INSTANT
        times: set[int] = set()
        for every, offset in self._every:
            step, shift = every // _INSTANT, offset // _INSTANT
            times.update(range(first + (shift - first) % step, end, step))
        for cron in self._cron:
            fires = cron.get_next_fire_time(None, since - self._put_off)
            while fires is not None and (at := (fires - _EPOCH + self._put_off) // _INSTANT) < end:
                times.add(at)
                fires = cron.get_next_fire_time(None, fires.astimezone(UTC) + _INSTANT)
        return len(times)


def _part(of: timedelta, name: str) -> timedelta:
    """A part of a span in whole seconds, the same for the same name."""
    seconds = int(of.total_seconds())
    chance = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return timedelta(seconds=chance % seconds if name and seconds else 0)


def cron_fields(text: str) -> list[dict[str, str]]:
    """Cron as it is written (0 and 7 are Sunday) for APScheduler, which counts weekdays from Monday and has no `either`."""
    minute, hour, day, month, weekday = text.split()
    fields = {"minute": minute, "hour": hour, "month": month}
    if day != "*" and weekday != "*":
        return [{**fields, "day": day}, {**fields, "day_of_week": _weekdays(weekday)}]
    return [{**fields, "day": day, "day_of_week": _weekdays(weekday)}]


def _weekdays(text: str) -> str:
    if text == "*":
        return text
    found: list[str] = []
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        start, end = _day(first), _day(last or (first if not step else "6"))
        found += [_DAYS[number] for number in range(start, end + 1, int(step or 1))]
    return ",".join(dict.fromkeys(found))


def _day(text: str) -> int:
    return int(text) if text.isdecimal() else _DAYS.index(text)
