"""The unit's command line and the image's entry point really start, answer, and end as they are told."""

from __future__ import annotations

import re
import shlex
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deploy.box import STOP, Box, Network, Running, eventually
from deploy.files import all_of, image, unit

# Nothing has to be read: this is about the process.
CONFIG = """\
database: sqlite:////var/lib/syncd/syncd.db
http: {bind: 127.0.0.1:8080, trusted_proxies: [127.0.0.1]}
sources: {okta: {kind: scim}}
"""
READY = "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/readyz'); \
print(c.getresponse().status)"


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def ready(process: Running) -> bool:
    if process.outer.poll() is not None:
        raise AssertionError(f"it ended with {process.outer.returncode}:\n{process.output()}")
    return process.run(["/opt/syncd/bin/python", "-c", READY]).stdout.strip() == "200"


def leases(database: Path) -> int:
    with closing(sqlite3.connect(database)) as conn:
        return int(conn.execute("SELECT count(*) FROM leases").fetchone()[0])


def test_the_image_starts_answers_its_health_check_and_ends(tmp_path: Path, network: Network, state: Path) -> None:
    of = image()
    box = Box(
        *(tmp_path / "box", network, of.uid),
        files={"/etc/syncd/syncd.yaml": CONFIG},
        writable={"/var/lib/syncd": state},
        workdir=of.workdir,
    )
    process = box.start([*of.entrypoint, *of.cmd], of.env)
    try:
        eventually(lambda: ready(process), f"/readyz answers 200: {process.output()}")
        assert process.run(of.healthcheck).returncode == 0
        assert process.run(["/usr/bin/id", "-u"]).stdout == f"{of.uid}\n"
        places = "/ /etc /etc/syncd /opt/syncd /usr /var /run /tmp /var/lib/syncd"
        wrote = process.run(
            ["/bin/sh", "-c", f"for each in {places}; do touch $each/x 2>/dev/null && echo $each; done"]
        )
        assert wrote.stdout.split() == ["/tmp", "/var/lib/syncd"]
        told = process.run(["/opt/syncd/bin/syncd", "token", "list"])
        assert told.returncode == 0, told
        process.signal(STOP[of.stop_signal])
        assert process.wait(45) == 0, process.output()
    finally:
        process.kill()
    assert leases(state / "syncd.db") == 0
    assert "Traceback" not in process.output()


def test_the_health_check_fails_when_nothing_answers(tmp_path: Path, network: Network, state: Path) -> None:
    of = image()
    box = Box(tmp_path / "box", network, of.uid, writable={"/var/lib/syncd": state})
    process = box.start(["/bin/sleep", "60"], of.env)
    try:
        assert process.run(of.healthcheck).returncode != 0
    finally:
        process.kill()


def test_the_service_starts_tells_systemd_and_ends(tmp_path: Path, network: Network, state: Path) -> None:
    service = unit()["Service"]
    told = tmp_path / "notify" / "socket"
    told.parent.mkdir()
    env = dict(pair.split("=", 1) for line in all_of("Environment") for pair in shlex.split(line))
    env |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "NOTIFY_SOCKET": "/run/notify/socket", "WATCHDOG_USEC": "2000000"}
    env |= {"LANG": "C.UTF-8", "STATE_DIRECTORY": "/var/lib/syncd"}
    box = Box(
        *(tmp_path / "box", network, 990),
        files={"/etc/syncd/syncd.yaml": CONFIG},
        writable={"/var/lib/syncd": state, "/run/notify": told.parent},
        workdir=service["WorkingDirectory"],
    )
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(told))
        told.chmod(0o777)
        listening.settimeout(60)
        process = box.start(shlex.split(service["ExecStart"]), env)

        def hear(word: str) -> None:
            while word not in listening.recv(4096).decode().splitlines():
                pass

        try:
            assert service["Type"] == "notify"
            hear("READY=1")
            assert ready(process)
            hear("WATCHDOG=1")
            process.signal(STOP["SIGTERM"])  # KillMode=mixed: to the main process only
            hear("STOPPING=1")
            assert process.wait(float(service["TimeoutStopSec"])) == 0, process.output()
        except TimeoutError:
            raise AssertionError(process.output()) from None
        finally:
            process.kill()
    assert leases(state / "syncd.db") == 0


def test_a_wrong_configuration_ends_the_service_for_good(tmp_path: Path, network: Network, state: Path) -> None:
    service = unit()["Service"]
    env = dict(pair.split("=", 1) for line in all_of("Environment") for pair in shlex.split(line))
    box = Box(
        *(tmp_path / "box", network, 990),
        files={"/etc/syncd/syncd.yaml": f"{CONFIG}nonsense: 1\n"},
        writable={"/var/lib/syncd": state},
        workdir=service["WorkingDirectory"],
    )
    process = box.start(shlex.split(service["ExecStart"]), env)
    code = process.wait()
    assert str(code) in service["RestartPreventExitStatus"].split(), process.output()
    assert re.search(r"syncd\.yaml:4:1 +nonsense", process.output())
