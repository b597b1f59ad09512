"""Alert rules and dashboard against what a running syncd really exports: no name in them may be made up."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from command_line import CONFIG
from deploy import commands, promql
from deploy.files import DEPLOY, ROOT
from syncd import sample
from syncd.cli import main
from syncd.deliver import signing

RULES = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "syncd.json"
OF_PROMETHEUS = {"up": {"job", "instance"}}  # what it says itself
BY_PROMETHEUS = {"job", "instance"}  # labels it adds to all
DEADLINE_S = 60


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [each for each in dashboard()["panels"] if each["type"] != "row"]


def expressions() -> dict[str, str]:
    """Of both, by where they stand; the dashboard's variables filled in as Grafana would."""
    found = {f"alert {each['alert']}": each["expr"] for each in alerts()}
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m").replace("$workspace", ".*")
            found[f"panel {panel['title']} {target['refId']}"] = text
    return found


# -- a running syncd ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[str]]:
    """Label names by sample name, from `syncd serve` in the middle of everything."""
    folder = tmp_path_factory.mktemp("observed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
    text = CONFIG.replace("sqlite:///unused.db", "sqlite:///syncd.db").replace(
        "    path: corp.ldif\n", "    path: corp.ldif\n    schedule: {full: 1s}\n    missing: {suspend_after: 1s}\n", 1
    )
    text = text.replace("okta: {kind: scim}", "okta: {kind: scim, policy: {refuse: [no_operations]}}")
    text += f"http: {{bind: {base.removeprefix('http://')}}}\n"
    text += "webhooks: {app: {url: 'http://127.0.0.1:1/', secret_files: hook}}\n"
    (folder / "hook").write_text(signing.written(b"k" * 32), encoding="utf-8")
    (folder / "syncd.yaml").write_text(text, encoding="utf-8")
    company = sample.company(60, 20, 7)
    (folder / "corp.ldif").write_text("".join(sample.ldif(company)), encoding="utf-8")
    (folder / "acme.ldif").write_text("".join(sample.ldif(sample.company(5, 3, 9))), encoding="utf-8")
    token = _commands(folder)
    with closing(sqlite3.connect(folder / "syncd.db")) as conn, conn:
        # This source has no deltas that could leave any, and no groups elsewhere.
        conn.execute("""UPDATE source_states SET drift = 2, groups_outside = '["cn=a,ou=old (in b)"]'""")
    (folder / "corp.ldif").write_text("".join(sample.ldif(sample.company(20, 20, 7))), encoding="utf-8")
    with _serving(folder):
        auth = {"Authorization": f"Bearer {token}"}
        found: dict[str, set[str]] = {}

        def all_there() -> bool:
            tolerated = {"count": 1, "filter": 'active eq "True"'}
            httpx.get(f"{base}/scim/v2/Users", params=tolerated, headers=auth)
            refused = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": []}
            httpx.patch(f"{base}/scim/v2/Users/nobody", json=refused, headers=auth)
            found.clear()
            found.update(_labels(httpx.get(f"{base}/metrics").text))
            return {"syncd_held_items", "syncd_outbox_oldest_age_seconds"} <= found.keys()

        assert _eventually(all_there), sorted(found)
    return found


def _commands(folder: Path) -> str:
    """A database with people in it, and a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNCD_CONFIG", str(folder / "syncd.yaml"))
        patch.delenv("SYNCD_DATABASE", raising=False)
        out = folder / "out"
        with out.open("w") as stdout:
            patch.setattr(sys, "stdout", stdout)
            for argv in (["db", "upgrade"], ["sync", "corp"]):
                assert main(argv) == 0
            stdout.truncate(0)
            stdout.seek(0)
            assert main(["token", "create", "--name", "okta", "--source", "okta", "--expires", "90d"]) == 0
        return out.read_text().strip()


@contextmanager
def _serving(folder: Path) -> Iterator[None]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd", "serve", "--config", "syncd.yaml"], cwd=folder, env=env, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def _labels(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found[each.name] |= each.labels.keys()
    return dict(found)


def _eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        try:
            if true():
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    return False


def test_every_name_in_rules_and_dashboard_exists(exported: Mapping[str, set[str]]) -> None:
    known = {name: labels | BY_PROMETHEUS for name, labels in exported.items()} | OF_PROMETHEUS
    wrong = []
    for where, text in expressions().items():
        found = promql.parse(text)
        assert found.metrics, where
        wrong += [f"{where}: no metric {name}" for name in found.metrics - known.keys()]
        wrong += [
            f"{where}: {name} has no {label}" for name, label in found.matched if label not in known.get(name, ())
        ]
        together = set().union(*(known.get(name, set()) for name in found.metrics))
        wrong += [f"{where}: none has {label}" for label in found.grouped - together]
    assert wrong == []


def test_every_metric_of_ours_has_its_place_on_the_dashboard(exported: Mapping[str, set[str]]) -> None:
    on_panels = [text for where, text in expressions().items() if where.startswith("panel ")]
    shown = {name for text in on_panels for name in promql.parse(text).metrics}
    counted = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exported if name.startswith("syncd_")}
    assert {name for name in counted if not {name, f"{name}_bucket"} & shown} == set()


def test_every_metric_that_the_documents_name_exists(exported: Mapping[str, set[str]]) -> None:
    told = {
        name
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for name in re.findall(r"`(syncd_\w+)(?:\{[^`]*)?`", page.read_text(encoding="utf-8"))
    }
    assert {"syncd_held_items", "syncd_source_drift"} <= told, "else nothing is looked at"
    assert told - exported.keys() - {"syncd_pgqueuer"} == set(), "a table, and metrics"


# -- what can be said without one --------------------------------------------------------------------------------------


def test_the_parser_of_expressions_sees_what_prometheus_sees() -> None:
    found = promql.parse(
        'sum by (a, le) (rate(x_total{b=~"y|z{}",c!="by (d)"}[5m])) / on (e) up offset 1d > 14 * 86400'
    )
    assert (found.metrics, found.grouped) == ({"x_total", "up"}, {"a", "le", "e"})
    assert promql.parse('min_over_time(max by (s) (g{k="v"})[1d:5m]) >= 1e3 and absent(h)').metrics == {"g", "h"}
    assert promql.parse('g{k="v",l!~"w"}').matched == {("g", "k"), ("g", "l")}


@pytest.mark.parametrize("alert", alerts(), ids=lambda each: str(each["alert"]))
def test_every_alert_says_what_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    said = alert["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"} and all(said.values())
    assert said["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
    labels = set(re.findall(r"\$labels\.(\w+)", said["summary"] + said["description"]))
    assert labels <= promql.parse(alert["expr"]).grouped | BY_PROMETHEUS
    for command in re.findall(r"`(syncd [^`]+)`", said["description"]):
        words = re.sub(r"\{\{.*?\}\}", "x", command).split()[1:]
        commands.parses([*words, "x"] if words in (["token", "rotate"], ["runs", "show"]) else words)


def test_alerts_have_their_section_in_the_handbook() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    sections = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).strip().replace(" ", "-").lower()
        for line in text.splitlines()
        if line.startswith("#")
    }
    anchors = sections | set(re.findall(r'id="([^"]+)"', text))
    assert {each["alert"].lower() for each in alerts()} - anchors == set()


def test_the_dashboard_can_be_imported() -> None:
    board = dashboard()
    ids = [each["id"] for each in board["panels"]]
    assert len(ids) == len(set(ids)) and board["uid"] == "syncd" and "id" not in board
    rows = [each["title"] for each in board["panels"] if each["type"] == "row"]
    assert rows == ["Health", "Sources", "Guards", "Seats", "SCIM", "Processes"]
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    for panel in panels():
        refs = [each["refId"] for each in panel["targets"]]
        assert panel["description"] and len(refs) == len(set(refs))
        assert {each["datasource"]["uid"] for each in [panel, *panel["targets"]]} == {"${datasource}"}


# -- Prometheus's own judge --------------------------------------------------------------------------------------------


def promtool(*argv: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    ran = subprocess.run([program, *argv], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_prometheus_accepts_the_rules_and_the_scrape_example() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", RULES)
    promtool("check", "config", RULES.with_name("prometheus.yaml"))


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked: Sequence[tuple[str, str]] = [(f"q{n}", text) for n, text in enumerate(expressions().values())]
    rules = {"groups": [{"name": "asked", "rules": [{"record": name, "expr": text} for name, text in asked]}]}
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump(rules))
    promtool("check", "rules", "--lint=none", tmp_path / "asked.yaml")


def test_every_alert_fires_when_it_should_and_not_before() -> None:
    cases = Path(__file__).with_name("alerts_test.yaml")
    promtool("test", "rules", cases)
    tried = {
        case["alertname"]
        for test in yaml.safe_load(cases.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tried == {each["alert"] for each in alerts()}
