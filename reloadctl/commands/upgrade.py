"""``reloadctl upgrade``: the agent's code is replaced in the same process; told when the new code answers."""

from time import monotonic, sleep

from reloadctl.client import PATIENCE, Lost, get, post
from reloadctl.failure import Fail
from reloadctl.jsontext import dumps, loads
from reloadctl.out import line, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reloadctl.jsontext import Document

_REHEARSAL = 90
"""Seconds that the agent may take to try the new code, beside what it waits for."""


def run(options: "dict[str, Any]") -> int:
    """Ask, then ask the one who answers next."""
    timeout = options["timeout"]
    body = {"timeout_s": timeout} if timeout else {}
    told = loads(post(options, "/v1/upgrade", body, (), _REHEARSAL + (timeout or 60)).body)
    began = monotonic()
    agent = _next(options, began)
    took = round((monotonic() - began) * 1000)
    told |= {"to": agent["version"], "duration_ms": took}
    if options["json"]:
        write_bytes(dumps(told))
    else:
        write(_text(told))
    return 0


def _next(options: "dict[str, Any]", began: float) -> "Document":
    """The agent that has begun since; those who connect meanwhile wait in the queue of its socket."""
    last = ""
    while monotonic() - began < PATIENCE:
        try:
            agent: Document = loads(get(options, "/v1/status").body)["agent"]
        except (Lost, Fail) as fail:
            last = fail.detail
        else:
            if agent["uptime_s"] <= monotonic() - began:
                return agent
        sleep(0.02)
    raise Fail(156, f"the agent has given way, and no new one answers: {last}; see its log")


def _text(told: "Document") -> str:
    names = ", ".join(line(name) for name in told["kept"])
    kept = f", kept: {names}" if names else ""
    return f"agentd {line(told['from'])} → {line(told['to'])}, pid {told['pid']}, {told['duration_ms']} ms{kept}\n"
