"""With CI=true a skip is a failure that names its reason; without, it is a skip; a deselected test is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

import skips

pytest_plugins = ["pytester"]
TESTS = Path(__file__).parent.parent
SKIPPING = """
import pytest

def test_needs_a_server():
    pytest.skip("needs a server: apt-get install server")

@pytest.mark.xfail
def test_known_to_fail():
    assert False

def test_passes():
    pass
"""


def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they load for seconds
    pytester.makeconftest((TESTS / "skips.py").read_text(encoding="utf-8"))


def test_the_tests_have_these_hooks(pytestconfig: pytest.Config) -> None:
    for name in ("pytest_runtest_makereport", "pytest_make_collect_report"):
        assert any(
            getattr(each, name, None) is getattr(skips, name) for each in pytestconfig.pluginmanager.get_plugins()
        )


@pytest.mark.parametrize(("ci", "failed", "skipped"), [("true", 1, 0), ("", 0, 1)])
def test_a_skip_fails_only_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, failed: int, skipped: int
) -> None:
    monkeypatch.setenv("CI", ci)
    project(pytester, monkeypatch)
    pytester.makepyfile(SKIPPING)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(passed=1, failed=failed, skipped=skipped, xfailed=1)
    result.stdout.fnmatch_lines(["*needs a server: apt-get install server*"])


def test_a_skipped_module_fails_in_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    project(pytester, monkeypatch)
    pytester.makepyfile("import pytest\npytest.importorskip('no_such_module')\n")
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*no_such_module*"])
