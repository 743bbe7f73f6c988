"""A small service that prints what it has loaded, at its start and at each SIGHUP: a log line is the evidence that it did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from host import Host, until

SERVER = """import glob, os, signal, sys
paths = sys.argv[1:]
def load(*_):
    found = sorted(f for p in paths for f in glob.glob(p))
    print("loaded", *(open(f).read().strip() for f in found), flush=True)
    if os.path.exists("crash-on-load"): os._exit(9)
signal.signal(signal.SIGHUP, load)
load()
while True: signal.pause()
"""


def server(
    directory: Path,
    inputs: str,
    *more: str,
    check: str = "",
    name: str = "web",
    timeout: str = "5s",
) -> str:
    """A service that prints what it loaded, and is known by that to have loaded it."""
    (directory / "server.py").write_text(SERVER)
    pattern = f"{inputs}/*" if (directory / inputs).is_dir() and "*" not in inputs else inputs
    lines = [
        f"[service.{name}]",
        f'command = ["{sys.executable}", "-S", "@DIR@/server.py", "@DIR@/{pattern}"]',
        f'inputs = ["@DIR@/{inputs}"]',
        'cwd = "@DIR@"',
        'ready = { after = "0s" }',
        *more,
        f"[service.{name}.reload]",
        "confirm = [{ log = '^loaded ' }]",
        f'timeout = "{timeout}"',
    ]
    if check:
        lines.append(f"check = {check}")
    return "\n".join(lines) + "\n"


def loaded(running: Host, name: str = "web") -> list[str]:
    lines = running.ctl("logs", name, "-n", "1000")[1]["lines"]
    return [line.removeprefix("loaded ") for line in lines if line.startswith("loaded")]


def is_loaded(running: Host, what: str) -> None:
    until(lambda: loaded(running)[-1:] == [what], f"{what!r} is loaded, not {loaded(running)}")


def up(running: Host, name: str = "web") -> Any:
    """Ready, and its first line is there: so is its handler."""
    running.ready(name)
    until(lambda: loaded(running, name), "it has loaded its file")
    return running.service(name)


def last(running: Host, verdict: str, name: str = "web") -> Any:
    def look() -> Any:
        found = running.service(name)["last_reload"]
        return found and found["verdict"] == verdict and found

    return until(look, f"the last reload is {verdict}")


def replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)
