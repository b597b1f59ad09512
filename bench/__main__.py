"""`make bench`: every part in turn, or one with its own options: `make bench ARGS="scim --users 20000 --only patch"`."""

from __future__ import annotations

import sys

import bench.daemon
import bench.directory.__main__ as directory
import bench.door
import bench.scim.__main__ as scim

PARTS = {"door": bench.door.main, "daemon": bench.daemon.main, "directory": directory.main, "scim": scim.main}


def main() -> None:
    asked = sys.argv[1:2]
    if asked and asked[0] not in PARTS:
        raise SystemExit(f"usage: python -m bench [{' | '.join(PARTS)}] [options of that part]")
    chosen = asked or list(PARTS)
    for part in chosen:
        sys.argv = [f"python -m bench {part}", *sys.argv[2:]]
        PARTS[part]()


if __name__ == "__main__":
    main()
