"""``reloadctl wait``: follow a reload that was started with --no-wait; its end is told as ``reload`` would have told it."""
# ruff: noqa: PLC0415 (only when something happened)

from reloadctl.client import Lost, at_most, get, quote
from reloadctl.commands.reload import tell
from reloadctl.out import error, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask once; the agent answers when it has ended, or when --timeout has."""
    ref, timeout = quote(options["args"][0]), options["timeout"]
    path = f"/v1/reloads/{ref}/wait" + (f"?timeout_s={max(timeout, 0.001):.3f}" if timeout else "")
    where = f"reloadctl wait {options['args'][0]}"
    try:
        reply = get(options, path, at_most(timeout))
    except KeyboardInterrupt:
        said = f"the reload goes on; follow it with: {where}"
        if options["json"]:
            from reloadctl.failure import problem

            write_bytes(problem(130, f"interrupted; {said}"))
        else:
            error(said)
        return 130
    except Lost as lost:
        raise Lost(
            lost.code, f"{lost.detail}; the reload may go on; follow it with: {where}"
        ) from None
    return tell(reply, options)
