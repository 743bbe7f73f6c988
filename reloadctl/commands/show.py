"""``reloadctl show``: one reload as a waterfall; a reference to several lists them."""
# ruff: noqa: PLC0415 (not for --json)

from reloadctl.client import get, quote
from reloadctl.failure import Fail
from reloadctl.jsontext import loads
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """Ask for the reference, or for the newest reload of all."""
    ref = options["args"][0] if options["args"] else _newest(options)
    if not ref:
        raise Fail(2, "cannot show nothing: give a reload, a trace or a service")
    reply = get(options, f"/v1/reloads/{quote(ref)}" + ("/otlp" if options["otlp"] else ""))
    if options["json"] or options["otlp"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.render.look import look

    document, view = loads(reply.body), look(options)
    if "reloads" in document:
        from reloadctl.render.reload import history

        write(history(document["reloads"], view))
    elif view.terminal:
        from reloadctl.render.terminal import draw

        write(draw(document, view))
    else:
        from reloadctl.render.show import render

        write(render(document, view))
    return reply.exit


def _newest(options: "dict[str, Any]") -> str:
    for more in ("", "&starts=1"):
        reloads = loads(get(options, f"/v1/reloads?limit=1{more}").body)["reloads"]
        if reloads:
            break
    else:
        raise Fail(
            5, "there is no reload or start yet; ask for a reload with: reloadctl reload SVC"
        )
    return str(reloads[0]["reload_id"])
