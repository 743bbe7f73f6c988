"""``reloadctl shutdown``: stop every service in reverse order, and the agent; waits until that agent has ended."""
# ruff: noqa: PLC0415 (only when something happened, or not for --json)

from reloadctl.client import PATIENCE, Lost, post, stream
from reloadctl.out import error, line, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reloadctl.client import Reply
    from reloadctl.jsontext import Document


def run(options: "dict[str, Any]") -> int:
    """Ask, say what is stopped, wait."""
    if options["no_wait"]:
        return _ask(options).exit
    replies: list[Reply] = []
    try:
        # Its own story, begun before it is asked: another agent that comes at once is not taken for this one.
        for _ in stream(options, "/v1/events", lambda: replies.append(_ask(options))):
            pass
    except Lost:
        if not replies:
            raise
    except KeyboardInterrupt:
        if replies and not options["json"]:
            error("the services and the agent go on stopping")
        return 130
    return replies[0].exit


def _ask(options: "dict[str, Any]") -> "Reply":
    reply = post(options, "/v1/shutdown", {}, (), PATIENCE)
    if options["json"]:
        write_bytes(reply.body)
    else:
        from reloadctl.jsontext import loads

        write(_text(loads(reply.body)))
    return reply


def _text(document: "Document") -> str:
    names = [line(name) for name in document["stopping"]]
    return f"stopping {', '.join(names)}, then agentd\n" if names else "stopping agentd\n"
