"""``reloadctl diff``: what changed between two configurations. A difference is no failure, unless --exit-code asks for one."""
# ruff: noqa: PLC0415 (not for --json)

from reloadctl.client import get, quote
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask and print; what is not kept is the agent's to say."""
    service, *words = options["args"]
    asked = "&".join(
        f"{name}={quote(word)}" for name, word in zip(("from", "to"), words, strict=False)
    )
    path = f"/v1/services/{quote(service)}/diff"
    reply = get(options, f"{path}?{asked}" if asked else path)
    if options["json"]:
        write_bytes(reply.body)
        if not options["exit_code"]:
            return reply.exit
    from reloadctl.jsontext import loads

    document = loads(reply.body)
    if not options["json"]:
        from reloadctl.render.diff import render
        from reloadctl.render.look import look

        write(render(document, look(options)))
    return 1 if options["exit_code"] and document["differs"] else reply.exit
