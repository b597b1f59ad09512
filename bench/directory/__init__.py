"""An LDAP directory, read whole and by what changed, beside what that takes at least: `python -m bench.directory`.

How and why: docs/bench.md.
"""
