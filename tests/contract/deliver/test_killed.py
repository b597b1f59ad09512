"""The whole daemon, killed while a message is on its way: the next one sends it again, under the same id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.deliver.conftest import SECRET
from door_stage import Stage, user
from receiver import receiving, wait_for
from syncd.core.change import UserEdit
from syncd.store import deliveries


@contextmanager
def daemon(folder: Path, now: str) -> Iterator[subprocess.Popen[bytes]]:
    """`now`: the clock, which stands still."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
    env |= {"SYNCD_TESTING": "1", "SYNCD_TESTING_NOW": now}
    argv = [sys.executable, "-m", "syncd", "serve", "--only", "worker", "--config", "syncd.yaml"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=folder, env=env, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def test_a_daemon_that_is_killed_in_the_middle(tmp_path: Path) -> None:
    arrived, going_on = threading.Event(), threading.Event()
    with receiving() as receiver:

        def answer(_: object) -> int:
            arrived.set()
            return 200 if going_on.wait(60) else 500

        receiver.answer = answer
        (tmp_path / "hook").write_text(SECRET)
        hook = f"webhooks: {{app: {{url: '{receiver.url}', secret_files: hook, timeout: 60s}}}}\n"
        (tmp_path / "syncd.yaml").write_text(f"database: sqlite:///syncd.db\n{hook}")
        stage = Stage(f"sqlite:///{tmp_path / 'syncd.db'}")
        stage.configure(webhooks=("app",))
        stage.do(user("u1"))
        stage.do(UserEdit("u1", "local", facts={"suspended": "left"}))
        with daemon(tmp_path, "2026-05-04T12:00:00") as process:
            assert arrived.wait(60), (tmp_path / "log").read_text()
            os.killpg(process.pid, signal.SIGKILL)
        going_on.set()
        with daemon(tmp_path, "2026-05-04T12:02:00"):

            def states() -> list[str]:
                with stage.database.reading() as conn:
                    return [each.state for each in deliveries.listed(conn, "default", None)]

            wait_for(lambda: states() == ["acknowledged"], (tmp_path / "log").read_text)
        stage.close()
        first, second = receiver.got
        assert first.id == second.id and first.body == second.body
        assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
