"""``reloadctl apply``: put the definitions on disk in force, whole or not at all; then how each reload and start that it causes ends.

Says first what ``plan`` did. The exit code is the worst verdict's, as with ``reload`` of several services.
"""
# ruff: noqa: PLC0415 (what is only needed for text, or when something happened, is not loaded by --json)

from reloadctl.caller import headers
from reloadctl.client import Lost, at_most, post
from reloadctl.out import error, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SEE = "reloadctl history --starts"


def run(options: "dict[str, Any]") -> int:
    """Ask, wait as the options say, and print."""
    timeout, wait = options["timeout"], not options["no_wait"]
    body: dict[str, object] = {
        "reason": options["reason"] or "",
        "wait": wait,
        "timeout_s": timeout,
    }
    try:
        reply = post(options, "/v1/apply", body, headers(), at_most(timeout, waits=wait))
    except KeyboardInterrupt:
        return _interrupted(options)
    except Lost as lost:
        raise Lost(lost.code, f"{lost.detail}; it may go on; see it with: {_SEE}") from None
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads
    from reloadctl.render.look import look
    from reloadctl.render.plan import outcomes, render

    document, view = loads(reply.body), look(options)
    write(render(document, view) + outcomes(document, view))
    return reply.exit


def _interrupted(options: "dict[str, Any]") -> int:
    """Ctrl-C ends the waiting, and nothing else."""
    what = f"what was begun goes on; see it with: {_SEE}"
    if options["json"]:
        from reloadctl.failure import problem

        write_bytes(problem(130, f"interrupted; {what}"))
    else:
        error(what)
    return 130
