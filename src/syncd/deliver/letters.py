"""Mail as text: templates in files, and the letters that come of them. Pure but for the reading of the files.

A template is `KIND.txt`: a line `Subject: ...`, an empty line, the text; `$name` stands for a value. `KIND.html` beside it
makes the mail readable as HTML too, with values escaped. `KIND.de.txt` is for who prefers German. Files of the configured
folder come before those of the package. A placeholder that there is not is a fault when syncd starts, not when it sends.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr
from pathlib import Path
from string import Template
from typing import Final

from syncd.core.mail import FIELDS, Envelope

PACKAGED: Final = Path(__file__).parent / "templates"
_NAME: Final = re.compile(r"([a-z_]+)(?:\.([a-z]{2,3}(?:-[a-z0-9]{2,8})*))?\.(txt|html)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Templates:
    """By (kind, language, format); the language is "" for everybody else."""

    texts: Mapping[tuple[str, str, str], str] = field(repr=False)

    def find(self, kind: str, language: str, form: str) -> str | None:
        """For `de-AT`: that, else `de`, else that of everybody."""
        language = language.lower()
        while True:
            found = self.texts.get((kind, language, form))
            if found is not None or not language:
                return found
            language = language.rpartition("-")[0]


def read(folder: Path | None) -> Templates:
    """Raises ValueError with the file and what is wrong with it."""
    texts: dict[tuple[str, str, str], str] = {}
    for where in (PACKAGED, folder):
        for key, path in _files(where) if where is not None else ():
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as exc:
                raise ValueError(f"{path} cannot be read as UTF-8: {exc}") from None
            _check(path, key, text)
            texts[key] = text
    return Templates(texts)


def _files(folder: Path) -> Iterator[tuple[tuple[str, str, str], Path]]:
    try:
        listed = sorted(folder.iterdir())
    except OSError as exc:
        raise ValueError(f"{folder} cannot be read: {exc.strerror or exc}") from None
    for path in listed:
        named = _NAME.fullmatch(path.name)
        if named is None:
            if path.suffix in (".txt", ".html"):
                raise ValueError(f"{path} is called like no template: KIND.txt, KIND.html or KIND.de.txt")
            continue
        if named[1] not in FIELDS:
            raise ValueError(f"{path}: there is no mail {named[1]!r}, but {', '.join(sorted(FIELDS))}")
        yield (named[1], (named[2] or "").lower(), named[3].lower()), path


def _check(path: Path, key: tuple[str, str, str], text: str) -> None:
    kind, _, form = key
    template = Template(text)
    if not template.is_valid():
        raise ValueError(f"{path}: a $ that begins no name; write $$ for the sign itself")
    unknown = set(template.get_identifiers()) - FIELDS[kind]
    if unknown:
        raise ValueError(f"{path}: no value ${min(unknown)}; there are ${', $'.join(sorted(FIELDS[kind]))}")
    if form == "txt" and not re.match(r"Subject: [^\n]*\S[^\n]*\n\n.*\S", text.replace("\r\n", "\n"), re.DOTALL):
        raise ValueError(f"{path}: does not begin with a line `Subject: ...` and an empty one, before the text")


def letter(templates: Templates, envelope: Envelope, sender: str, reply_to: str | None) -> EmailMessage:
    """The mail for this envelope. Raises ValueError for an address or a value that cannot stand in a header."""
    values = {name: envelope.values.get(name, "") for name in FIELDS[envelope.kind]}
    text = templates.find(envelope.kind, envelope.language, "txt")
    assert text is not None, f"the package has a template for {envelope.kind}"
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    made = EmailMessage(policy=SMTP)
    made["Subject"] = " ".join(Template(head.removeprefix("Subject: ")).substitute(values).split())
    made["From"] = sender
    made["To"] = envelope.address
    if reply_to:
        made["Reply-To"] = reply_to
    made["Date"] = format_datetime(envelope.at)
    made["Message-ID"] = f"<{envelope.id}@{domain_of(sender)}>"  # the same at every attempt
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody is to answer by machine
    made.set_content(Template(body).substitute(values), cte="quoted-printable")
    page = templates.find(envelope.kind, envelope.language, "html")
    if page is not None:
        safe = {name: html.escape(value).replace("\n", "<br>\n") for name, value in values.items()}
        made.add_alternative(Template(page).substitute(safe), subtype="html", cte="quoted-printable")
    return made


def domain_of(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2] or make_msgid().rpartition("@")[2].rstrip(">")
