"""``reloadctl version``: its own version and, when it can be reached, the agent's. No agent is no failure."""

from agentd import __version__
from reloadctl.client import get, socket_path
from reloadctl.failure import Fail, sentence
from reloadctl.jsontext import dumps, loads
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask the agent too."""
    agent, why = None, ""
    try:
        agent = loads(get(options, "/v1/status").body)["agent"]
    except Fail as fail:
        why = sentence(fail)
    if options["json"]:
        write_bytes(dumps({"version": __version__, "agent": agent}))
        return 0
    lines = [f"reloadctl {__version__}"]
    if agent:
        lines.append(f"agentd {agent['version']} (pid {agent['pid']}, {socket_path(options)})")
    else:
        lines.append(f"agentd unknown: {why}")
    write("\n".join(lines) + "\n")
    return 0
