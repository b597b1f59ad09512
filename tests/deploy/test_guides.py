"""Each guide is played as it stands: docs/okta.md and docs/entra.md with what the provider sends, others by commands alone."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from pathlib import Path

import pytest

from deploy.commands import parses
from deploy.document import Document, anchor
from deploy.files import ROOT
from deploy.guide import Guide
from deploy.providers import Entra, Okta, Provider

# Those of people alone have no provider.
GUIDES: dict[str, type[Provider]] = {
    **{"okta.md": Okta, "entra.md": Entra, "identity-providers.md": Provider},
    **{"seats.md": Provider, "roles.md": Provider, "people.md": Provider},
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
@pytest.mark.parametrize("name", GUIDES)
def test_what_a_guide_says_is_what_happens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:  # of a short name, so that tables are as wide as they are shown
        Guide(Document(name), Path(folder), monkeypatch, GUIDES[name]).play()


@pytest.mark.parametrize("name", [*GUIDES, "active-directory.md", "openldap.md", "389ds.md"])
def test_every_command_in_a_sentence_is_one_and_every_link_leads_somewhere(name: str) -> None:
    document = Document(name)
    for span in document.spans():
        parses(shlex.split(span)[1:])
    anchors = {anchor(text) for _, text in document.headings()}
    for text, link in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", document.text):
        path, _, place = link.partition("#")
        if link.startswith("https://"):
            continue
        assert not path or (ROOT / "docs" / path).exists(), text
        other = Document(path) if path.endswith(".md") and "/" not in path else document
        assert not place or place in ({anchor(each) for _, each in other.headings()} if path else anchors), text
