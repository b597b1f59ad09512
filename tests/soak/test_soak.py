"""A soak of ten seconds, so that the program cannot rot. How fast it was is not judged."""

from __future__ import annotations

from pathlib import Path

from soak.__main__ import Size, load
from soak.judge import Limits


def test_ten_seconds_of_three_workspaces(tmp_path: Path) -> None:
    size = Size(seconds=10, workspaces=3, people=30, rate=10, period_s=4, limits=Limits(None, None))
    report = load(tmp_path, f"sqlite:///{tmp_path / 'syncd.db'}", size)
    assert report.good, report.markdown()
    report.write(tmp_path / "report")
    assert "| get |" in (tmp_path / "report" / "report.md").read_text()
    assert {name for name, _, _ in report.checks} >= {"every invariant holds", "what was acknowledged is so"}
