"""The table of real servers: every kind of edit, under load, by agentd and by the server's own command.

    run.py [--all] [--json FILE] [NAME ...]

Without a name: the first eight; ``--all``: every one. What cannot be installed here is a line with its reason. Ends with 1 when a
verdict was not true, or when a row is short of the aim for no reason that its file names.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "real")]

from kit import Server  # noqa: E402 - found only now
from rows import Row, Run  # noqa: E402
from table import render  # noqa: E402


def servers() -> list[Server]:
    """One of each file in ``known``."""
    found = []
    for path in sorted((HERE / "known").glob("*.py")):
        module = importlib.import_module(f"known.{path.stem}")
        found += [
            kind()
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, Server) and "name" in vars(kind)
        ]
    return sorted(found, key=lambda s: (not s.first, s.name))


def main() -> int:
    parser = argparse.ArgumentParser(description="Real servers: every kind of edit, under load.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="every server, not only the first eight")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the rows, for programs")
    wanted = parser.parse_args()
    rows: list[Row] = []
    absent: list[str] = []
    for server in servers():
        if server.name not in wanted.names if wanted.names else not (server.first or wanted.all):
            continue
        if why := server.missing():
            absent.append(f"skipped {server.name}: {why}")
            continue
        began = time.monotonic()
        for row in Run(server).rows():
            rows.append(row)
            print(f"{server.name}: {row.what}: {row.verdict}", file=sys.stderr, flush=True)
        print(f"{server.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(render(rows))
    print("\n".join(absent))
    if wanted.json:
        wanted.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    return int(any(row.wrong or row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
