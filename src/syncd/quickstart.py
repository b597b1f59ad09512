"""What `make run` runs: the sample company on SQLite, reconciled and served, with a token to try it with.

The same code as the commands: `db upgrade`, `sync corp`, `explain`, `token create`, `serve`. Run again, it goes on from
where it was; the token it made before is revoked.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing, suppress
from functools import partial

from syncd import logs, running, supervise
from syncd.cli import explaining
from syncd.cli.runs import reconcile
from syncd.cli.session import Session, say, show
from syncd.core.plan import Report
from syncd.errors import NotFound, SyncdError
from syncd.reconcile import render
from syncd.store import describe, tokens

SOURCE = "corp"
NAME = "quickstart"


def main() -> int:
    logs.configure(level="warning")
    try:
        return _run()
    except SyncdError as exc:
        say(str(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        return 0  # the documented way to end this


def _run() -> int:
    current = Session(None, "default", os.environ)
    app = current.app
    # Bound first: if the address is taken, nothing else is begun and no token is made for nothing.
    with closing(supervise.listen(app)) as sock:
        with closing(supervise.open_database(app)) as database:
            say(f"database {database.display}")
        report = reconcile(current, SOURCE, dry_run=False)
        show(render.for_people(report, rows=20))
        _explain_one(current, report)
        token = _new_token(current)
        current.close()
        supervise.serve(app, listening=sock, answering=partial(_invite, running.url(app, sock), token))
    return 0


def _invite(base: str, token: str) -> None:
    print(f"scim: {base}/scim/v2", f"token: {token}", sep="\n", flush=True)
    say(f"try: curl -H 'Authorization: Bearer TOKEN' '{base}/scim/v2/Users?count=3'")
    say("Ctrl-C ends it; `.venv/bin/syncd --help` shows what else there is")


def _explain_one(current: Session, report: Report) -> None:
    """Somebody with much to explain: who waits for a seat, or has the most grants."""
    waiting = next((change.subject for change in report.changes if change.kind == "wait"), None)
    with current.database.reading() as conn:
        id = (
            describe.find_user(conn, current.workspace.name, waiting)
            if waiting
            else describe.most_granted(conn, current.workspace.name)
        )
        if id is None:
            return
        user = describe.explain(conn, current.workspace, id, current.now())
        show(f"\nsyncd explain {user['userName']}", explaining.whole(user))


def _new_token(current: Session) -> str:
    def work(conn: describe.Conn) -> str:
        actor, now, ids = current.actor, current.now(), current.app.ids
        with suppress(NotFound):  # the first run has none to revoke
            tokens.revoke(conn, actor, NAME, now, ids)
        return tokens.create(conn, actor, NAME, now, ids)[1]

    return current.database.write_now(work)


if __name__ == "__main__":
    sys.exit(main())
