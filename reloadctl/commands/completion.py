"""``reloadctl completion``: the script that makes a shell complete; and, for these scripts, the words only the agent knows.

Decides what is asked of the agent and how long it may take: who presses a key does not wait, and is told nothing when
there is no agent. The scripts themselves are made in ``reloadctl.shells`` from the table in ``declare``.
"""
# ruff: noqa: PLC0415 (a key press loads what it needs and no more)

from reloadctl.failure import Fail
from reloadctl.jsontext import dumps, loads
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHELLS = ("bash", "zsh", "fish")
PATIENCE = 1.0
"""Seconds; an agent that needs longer is of no help to somebody who types."""
RELOADS = 50
"""How many of the newest reloads are offered."""


def run(options: "dict[str, Any]") -> int:
    """Print the script of a shell, or ("services", "reloads") what its user may mean."""
    what = options["args"][0]
    if what in ("services", "reloads"):
        words = _words(options, what)
        if options["json"]:
            write_bytes(dumps({what: words}))
        elif words:
            write("".join(f"{word}\n" for word in words))
        return 0
    if what not in SHELLS:
        raise Fail(2, f"cannot complete in {what!r}: known shells are {', '.join(SHELLS)}")
    from importlib import import_module

    text: str = import_module(f"reloadctl.shells.{what}").script()
    if options["json"]:
        write_bytes(dumps({"shell": what, "script": text}))
    else:
        write(text)
    return 0


def _words(options: "dict[str, Any]", what: str) -> "list[str]":
    from reloadctl.client import get

    services = what == "services"
    path = "/v1/status" if services else f"/v1/reloads?limit={RELOADS}"
    try:
        found = loads(get(options, path, PATIENCE).body)
    except (Fail, ValueError):
        return []
    if services:
        return [entry["name"] for entry in found["services"]]
    return [entry["reload_id"] for entry in found["reloads"]]
