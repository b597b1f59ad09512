"""The daemon under load for as long as one likes: `make soak MINUTES=30`.

__main__ -> world.py (configuration, directories, tokens) -> `syncd serve`, a real one
         -> load.py (a process of its own: SCIM at a fixed rate)      -> watch.py (memory, processes, readiness)
         -> judge.py (invariants, acknowledged state, missed ticks)   -> var/soak/<time>/report.md and report.json
"""
