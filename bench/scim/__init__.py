"""SCIM over HTTP, side by side with what a team would pick instead: `python -m bench.scim`. How and why: docs/bench.md."""
