"""One request for each service named, one after the other: start, stop, restart, check.

What one service is refused does not keep the next from being asked; the worst exit code counts. The documents of the
agent go into one, unparsed. An agent that cannot be reached ends it at once.
"""
# ruff: noqa: PLC0415 (what draws is not loaded by --json)

from reloadctl.client import at_most, post, quote
from reloadctl.declare import WORST_FIRST
from reloadctl.failure import Fail, sentence
from reloadctl.out import error, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reloadctl.jsontext import Document
    from reloadctl.render.look import Look


def act(
    verb: str,
    options: "dict[str, Any]",
    render: "Callable[[Document, Look], str]",
    *,
    bounded: bool = True,
) -> int:
    """POST the verb for every service; ``bounded``: it has --no-wait and --timeout."""
    body: dict[str, object] = {}
    limit = 0.0
    if bounded:
        wait, timeout = not options["no_wait"], options["timeout"]
        body = {"wait": wait, "timeout_s": timeout}
        limit = at_most(timeout, waits=wait)
    codes, bodies = [0], []
    for service in options["args"]:
        try:
            reply = post(options, f"/v1/services/{quote(service)}/{verb}", body, (), limit)
        except Fail as fail:
            if not fail.body:
                raise
            codes.append(fail.code)
            bodies.append(fail.body)
            if not options["json"]:
                error(sentence(fail))
        else:
            codes.append(reply.exit)
            bodies.append(reply.body)
            if not options["json"]:
                _print(reply.body, options, render)
    if options["json"]:
        write_bytes(bodies[0] if len(bodies) == 1 else b'{"services": [%s]}' % b", ".join(bodies))
    return worst(codes)


def _print(
    body: bytes, options: "dict[str, Any]", render: "Callable[[Document, Look], str]"
) -> None:
    from reloadctl.jsontext import loads
    from reloadctl.render.look import look

    write(render(loads(body), look(options)))


def worst(codes: list[int]) -> int:
    """The one that counts; one that is not in the table counts most."""
    strange = [code for code in codes if code not in WORST_FIRST]
    return strange[0] if strange else min(codes, key=WORST_FIRST.index)
