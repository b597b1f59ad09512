"""The configuration file, read whole at start: `load(path, env) -> Settings`, or one ConfigError with every fault.

    text -> tree.read (values with places) -> model.File (types, one value at a time: values.py)
         -> checks (contradictions) -> model.Settings

Every fault says `config/syncd.yaml:41:14  sources.corp.users.scope: 'subtre' is not one of base, one, subtree`. Only
app and cli import this package; they hand on core values.
"""

from __future__ import annotations

from syncd.settings.load import load
from syncd.settings.model import Settings, Workspace
from syncd.settings.schema import json_schema

__all__ = ["Settings", "Workspace", "json_schema", "load"]
