"""`syncd sample`: a made-up company."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from syncd import sample as samples


def register(cli: typer.Typer) -> None:
    cli.command()(sample)


def sample(
    users: Annotated[int, typer.Option(min=1, help="How many people.")] = 500,
    groups: Annotated[int, typer.Option(min=0, help="How many groups.")] = 40,
    seed: Annotated[int, typer.Option(help="The same numbers give the same company.")] = 1,
    monday: Annotated[bool, typer.Option("--monday", help="The same company after a weekend.")] = False,
) -> None:
    """A made-up company as LDIF on stdout: names, nesting and oddities that real directories have."""
    company = samples.company(users, groups, seed)
    sys.stdout.writelines(samples.ldif(samples.monday(company) if monday else company))
