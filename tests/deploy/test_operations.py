"""docs/operations.md says nothing that is not so: its commands exist, its links lead somewhere, every alert has its section."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml

from deploy import document
from deploy.commands import parses
from deploy.document import OPERATIONS
from deploy.files import DEPLOY, ROOT, compose

# Of the system's own; anything else in the document is a slip, or belongs here.
PROGRAMS = {
    *(
        "syncd",
        "journalctl",
        "systemctl",
        "systemd-sysusers",
        "docker",
        "kubectl",
        "sh",
        "python3",
        "/opt/syncd/bin/python",
    ),
    *("install", "mkdir", "mv", "cp", "chown", "chmod", "ls", "head", "date", "df", "fuser"),
    *("pg_dump", "pg_restore", "createdb"),
}


def alerts() -> dict[str, str]:
    """Alert -> where its annotation says that its section is."""
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text(encoding="utf-8"))
    return {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    found = [text for _, text in OPERATIONS.headings()]
    start = found.index("Alerts")
    sections = []
    for level, text in OPERATIONS.headings()[start + 1 :]:
        if level <= 2:
            break
        sections.append(text)
    assert sorted(sections) == sorted(alerts())
    for alert, where in alerts().items():
        assert where.endswith(f"docs/operations.md#{document.anchor(alert)}"), alert


def test_every_command_of_ours_is_one() -> None:
    found = [rest for words in OPERATIONS.commands() if (rest := document.ours(words)) is not None]
    assert len(found) > 40
    for words in found:
        parses(words)


@pytest.mark.parametrize("span", sorted(set(OPERATIONS.spans())))
def test_every_command_in_a_sentence_is_one(span: str) -> None:
    words = shlex.split(span)[1:]
    if words[-1] == "...":
        pytest.fail(f"{span}: say which")
    parses(words)


def test_every_other_program_is_known_and_every_block_is_shell() -> None:
    for words in OPERATIONS.commands():
        assert words[0] in PROGRAMS, words
    for block in OPERATIONS.blocks():
        subprocess.run(["sh", "-n"], input=block.text, text=True, check=True)


def test_every_link_leads_to_a_heading_and_every_path_to_a_file() -> None:
    anchors = [document.anchor(text) for _, text in OPERATIONS.headings()]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\]\(#([^)]+)\)", OPERATIONS.text)
    assert len(links) > 10
    assert set(links) <= set(anchors)
    paths = re.findall(r"\b((?:deploy|config|tests|docs|requirements)/[\w./-]*\w)", OPERATIONS.text)
    for path in paths:
        assert (ROOT / path).exists() or path.startswith("docs/operations"), path


def test_every_service_that_it_names_is_one() -> None:
    services = compose()["services"]
    for words in OPERATIONS.commands():
        if words[:2] == ["docker", "compose"] and "exec" in words:
            assert next(word for word in words[words.index("exec") + 1 :] if word != "-T") in services
