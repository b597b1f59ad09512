"""Composes the process: a configuration file becomes core values, sources, a clock and an id maker. Nothing else builds.

Everything below the command line is handed what it needs from here. The clock is the machine's unless SYNCD_TESTING=1
and SYNCD_TESTING_NOW (an ISO instant) replace it.

    process       the whole: `compose` and what it makes
    workspaces    policies, rules, pools and roles of each workspace
    directories   sources that are read
    machine       the clock and the ids
"""

from syncd.app.directories import Directory
from syncd.app.machine import Clock, TimeOrderedIds, clock
from syncd.app.process import DEFAULT_CONFIG, RULES, App, Ids, compose, no_such
from syncd.app.workspaces import SCIM

__all__ = [
    "DEFAULT_CONFIG",
    "RULES",
    "SCIM",
    "App",
    "Clock",
    "Directory",
    "Ids",
    "TimeOrderedIds",
    "clock",
    "compose",
    "no_such",
]
