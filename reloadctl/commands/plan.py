"""``reloadctl plan``: what the definitions on disk would change. Touches nothing; 6 with every mistake in them."""

from reloadctl.client import get
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reloadctl.client import Reply


def run(options: "dict[str, Any]") -> int:
    """Ask and print."""
    return tell(get(options, "/v1/plan"), options)


def tell(reply: "Reply", options: "dict[str, Any]") -> int:
    """Print what changes, or has changed; the exit code."""
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads  # noqa: PLC0415 (not for --json)
    from reloadctl.render.look import look  # noqa: PLC0415
    from reloadctl.render.plan import render  # noqa: PLC0415

    write(render(loads(reply.body), look(options)))
    return reply.exit
