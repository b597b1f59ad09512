"""What the facts of store.standing mean: how late each source is, and what is wrong, the worst first, with what to do.

Pure. A `problem` needs somebody; a `notice` is worth knowing. The alert rules in deploy/prometheus judge the same facts
over time; here is one moment, judged for the person who looks now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from syncd.core.counting import are, counted
from syncd.store.standing import GRACE, SourceSeen, Standing, WorkspaceSeen
from syncd.timetable import Timetable

Timetables = Mapping[tuple[str, str], Timetable]  # (workspace, source) -> when it is to be read
LATE = timedelta(minutes=30)
EXPIRES_SOON = timedelta(days=14)
EXPIRES_NOW = timedelta(days=2)
UNCLAIMED = timedelta(minutes=15)
UNACKNOWLEDGED = timedelta(minutes=5)
UNSENT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Punctuality:
    """How a source keeps its schedule. Seconds; None: it was never read, or is not scheduled."""

    age_s: float | None  # since the last complete read, whole or of what changed
    lag_s: float | None  # since a complete read was due that has not come; a delta is none for a whole read
    lateness_s: float | None  # how long after its time the last scheduled run began
    missed: int  # times of the last day for which no run began
    due: datetime | None  # the next time


def punctuality(seen: SourceSeen, timetable: Timetable | None, standing: Standing) -> Punctuality:
    now = standing.at
    read_at = seen.last_complete_at
    run = next((each for each in seen.runs if each.scheduled_at is not None), None)
    lateness = None if run is None or run.scheduled_at is None else run.started_at - run.scheduled_at
    lag, missed, due = None, 0, None
    if timetable:
        due = timetable.after(now)
        # A source that was never read is late since the daemon began, if it runs at all.
        since = read_at or (seen.runs[-1].started_at if seen.runs else standing.since)
        began = seen.last_whole_at or since
        expected = [
            time
            for time in (since and timetable.after(since), began and timetable.after(began, whole=True))
            if time is not None
        ]
        lag = max(timedelta(0), now - min(expected)) if expected else timedelta(0)
        if seen.counted_from is not None:
            missed = max(0, timetable.count(seen.counted_from, now - GRACE) - seen.scheduled)
    return Punctuality(
        None if read_at is None else max(0.0, (now - read_at).total_seconds()),
        None if lag is None else lag.total_seconds(),
        None if lateness is None else max(0.0, lateness.total_seconds()),
        missed,
        due,
    )


@dataclass(frozen=True, slots=True)
class Finding:
    level: str  # "problem" | "notice"
    about: str
    what: str
    do: str


def findings(standing: Standing, timetables: Timetables) -> list[Finding]:
    """Problems first."""
    several = len(standing.workspaces) > 1
    found = [*_processes(standing)]
    for workspace in standing.workspaces:
        prefix = f"{workspace.name}: " if several else ""
        for seen in workspace.sources:
            timetable = timetables.get((workspace.name, seen.name))
            found += _source(prefix, seen, punctuality(seen, timetable, standing), workspace)
        found += _others(prefix, workspace, standing.at)
    return sorted(found, key=lambda each: each.level != "problem")


def _processes(standing: Standing) -> Iterator[Finding]:
    if not any(each.alive for each in standing.processes):
        yield Finding("problem", "processes", "nothing runs: no heartbeat", "start it: `syncd serve`")
        return
    if not standing.alive("worker"):
        what = "no worker is alive: no directory is read and no date comes due"
        yield Finding("problem", "worker", what, "look at its log; `syncd serve --only worker` starts one")
    if not standing.alive("web"):
        what = "no web process is alive: nobody can push"
        yield Finding("problem", "web", what, "look at its log; `syncd serve --only web` starts one")


def _source(prefix: str, seen: SourceSeen, kept: Punctuality, workspace: WorkspaceSeen) -> Iterator[Finding]:
    about = f"{prefix}source {seen.name}"
    last = seen.last_ended
    again = f" ({seen.in_a_row} times in a row)" if seen.in_a_row > 1 else ""
    if last is not None and last.status == "failed":
        why = f": {last.message.removeprefix(f'source {seen.name}: ')}" if last.message else ""
        yield Finding("problem", about, f"the last run failed{again}{why}", "`syncd check` tries it now")
    elif last is not None and last.status == "incomplete":
        what = f"the last read was incomplete{again}: leavers keep their access"
        yield Finding("problem", about, what, f"`syncd runs show {last.id}` says why")
    if kept.lag_s is not None and kept.lag_s > LATE.total_seconds():
        what = f"a complete read has been due for {span(kept.lag_s)}"
        yield Finding("problem", about, what, f"`syncd sync {seen.name}` reads it now")
    elif seen.last_complete_at is None and not kept.due:
        yield Finding("notice", about, "never read whole, and no schedule says when", f"`syncd plan {seen.name}`")
    if held := workspace.held_of(seen.name):
        kinds = ", ".join(each.kind for each in workspace.held if each.source == seen.name)
        what = f"{are(held, 'item')} held ({kinds})"
        yield Finding("problem", about, what, "`syncd runs list`, then approve or discard them")
    if asked := workspace.asked.get(seen.name):
        what = "1 new entry may be somebody who is known, and waits"
        if asked > 1:
            what = f"{asked:,} new entries may be people who are known, and wait"
        yield Finding("notice", about, what, "`syncd adopt list`, then accept or refuse them")
    if seen.drift:
        what = f"its last whole read found {seen.drift:,} differences that deltas had not told, and repaired them"
        yield Finding("notice", about, what, "if it goes on, read whole more often: `schedule.full`")
    if outside := seen.groups_outside:
        more = f" and {len(outside) - 3:,} more" if len(outside) > 3 else ""
        what = f"below no base: {'; '.join(outside[:3])}{more}; nobody who is in such a group alone counts"
        do = f"add its unit to `groups.base` or `groups.left_out`; one may go: `syncd sync {seen.name} --accept-fewer`"
        yield Finding("problem", about, what, do)
    if quarantined := workspace.quarantined.get(seen.name):
        again = "is looked at again" if quarantined == 1 else "are looked at again"
        what = f"{counted(quarantined, 'entry')} could not be used, and {again}"
        yield Finding("notice", about, what, f"`syncd runs quarantine --source {seen.name}` names them")
    elif last is not None and last.set_aside:
        what = f"{counted(last.set_aside, 'entry')} {'was' if last.set_aside == 1 else 'were'} set aside"
        yield Finding("notice", about, what, f"`syncd runs show {last.id}` names them")


def _others(prefix: str, workspace: WorkspaceSeen, now: datetime) -> Iterator[Finding]:
    read = {each.name for each in workspace.sources}
    for each in workspace.held:
        if each.source not in read:
            what = f"{are(each.items, 'item')} held ({each.kind})"
            yield Finding("problem", f"{prefix}{each.source}", what, "`syncd runs list`, then approve or discard them")
    for source, users in sorted(workspace.left.items()):
        what = f"it is not in the configuration any more, and keeps what it stated of {users:,} people"
        yield Finding(
            "notice", f"{prefix}source {source}", what, f"`syncd plan {source} --let-go` shows what goes with it"
        )
    for connection in workspace.expiring:
        left = connection.expires_at - now
        if left < EXPIRES_SOON:
            level = "problem" if left < EXPIRES_NOW else "notice"
            when = f"expires in {span(left.total_seconds())}" if left > timedelta(0) else "has expired"
            do = f"`syncd token rotate {connection.name}`, then change the provider over"
            yield Finding(level, f"{prefix}token {connection.name}", when, do)
    for name, source in workspace.strays:
        what = f"its source {source} is not in the configuration, so whoever sends it is refused"
        yield Finding(
            "notice", f"{prefix}token {name}", what, f"configure {source} again, or `syncd token revoke {name}`"
        )
    since = workspace.outbox_since
    # Where nothing ever takes events out, nobody waits for them.
    if since is not None and now - since > UNCLAIMED and any(n for s, n in workspace.outbox.items() if s != "new"):
        what = f"{workspace.outbox['new']:,} events wait, the oldest for {span((now - since).total_seconds())}"
        yield Finding("problem", f"{prefix}outbox", what, "look at the worker's log for deliveries that fail")
    yield from _owed(prefix, workspace, now)
    mail = workspace.mail
    if mail.since is not None and now - mail.since > UNSENT:
        what = f"{mail.waiting:,} letters wait, the oldest for {span((now - mail.since).total_seconds())}"
        yield Finding("problem", f"{prefix}mail", what, "`syncd mail list` says what the mail server answers")
    if mail.refused:
        what = f"{mail.refused:,} letters were refused or given up within a week"
        yield Finding("notice", f"{prefix}mail", what, "`syncd mail list --state refused` names them")
    for pool in workspace.pools:
        if pool.waiting:
            what = f"{pool.waiting:,} wait for a seat, {pool.used:,} of {pool.limit} are taken"
            yield Finding(
                "notice", f"{prefix}seats {pool.pool}", what, f"`syncd seat list {pool.pool}`, or a higher limit"
            )


def _owed(prefix: str, workspace: WorkspaceSeen, now: datetime) -> Iterator[Finding]:
    for each in workspace.owed:
        about = f"{prefix}webhook {each.webhook}"
        if each.webhook not in workspace.webhooks:
            what = f"not configured any more, and {each.outstanding:,} revocations were never acknowledged"
            yield Finding("problem", about, what, f"`syncd deliveries discard --webhook {each.webhook}` gives them up")
        elif now - each.since > UNACKNOWLEDGED:
            why = f" ({each.why.partition(':')[0]})" if each.why else ""
            waited = span((now - each.since).total_seconds())
            what = f"{each.outstanding:,} revocations are not acknowledged, the oldest for {waited}{why}"
            yield Finding("problem", about, what, "`syncd deliveries list`; look at the application's log")


def span(seconds: float) -> str:
    """Such as `3 s`, `12 min`, `5 h`, `9 d`: rounded down, for people."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
