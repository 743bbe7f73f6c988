"""``reloadctl reload``: ask for a reload, wait for its verdict, print it. The exit code is the verdict's, from the agent."""
# ruff: noqa: PLC0415 (what is only needed for text, or when something happened, is not loaded by --json)

from reloadctl.caller import attributes, headers
from reloadctl.client import Lost, at_most, get, post, quote
from reloadctl.failure import Fail
from reloadctl.out import error, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reloadctl.client import Reply
    from reloadctl.jsontext import Document

ASKED_AT_ONCE = 2
"""An interrupted operator waits no longer than this for the id of what goes on."""


def run(options: "dict[str, Any]") -> int:
    """One service by its own route, several or all of them in one request."""
    services: list[str] = options["args"]
    if options["all"] == bool(services):
        raise Fail(2, "reload needs services or --all, and not both; try: reloadctl reload --help")
    body: dict[str, object] = {
        "reason": options["reason"] or "",
        "if_changed": options["if_changed"],
        "force": options["force"],
        "wait": not options["no_wait"],
        "timeout_s": options["timeout"],
        "require_proof": options["require_proof"],
        "confirm_within_s": options["confirm_within"],
        "attributes": attributes(),
    }
    path = f"/v1/services/{quote(services[0])}/reload" if len(services) == 1 else "/v1/reload"
    if len(services) != 1:
        body |= {"all": True} if options["all"] else {"services": services}
        body |= {"max_parallel": options["max_parallel"] or 1, "keep_going": options["keep_going"]}
    return ask(options, path, body, services)


def ask(
    options: "dict[str, Any]", path: str, body: "dict[str, object]", services: list[str]
) -> int:
    """Ask for reloads of these services (none: all of them), wait as the options say, print how it ended; the exit code."""
    limit = at_most(options["timeout"], waits=not options["no_wait"])
    try:
        reply = post(options, path, body, headers(), limit)
    except KeyboardInterrupt:
        return _interrupted(options, services)
    except Lost as lost:
        seen = f"the reload may go on; see it with: {_show(services)}"
        raise Lost(lost.code, f"{lost.detail}; {seen}") from None
    return tell(reply, options)


def tell(reply: "Reply", options: "dict[str, Any]") -> int:
    """Print how it ended; the exit code."""
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads
    from reloadctl.render.look import look
    from reloadctl.render.reload import render, several

    document, view = loads(reply.body), look(options)
    write(several(document, view) if "reloads" in document else render(document, view))
    if options.get("confirm_within") and _changed_nothing(document):
        write("  nothing to put back: it runs what it ran before\n")
    return reply.exit


def _changed_nothing(document: "Document") -> bool:
    applied = document.get("verdict") == "applied"
    return applied and document["hash_before"] == document["hash_after"]


def _interrupted(options: "dict[str, Any]", services: list[str]) -> int:
    """Ctrl-C ends the waiting, not the reload: say how to find it again."""
    known = _running(options, services[0]) if len(services) == 1 else ""
    where = f"reloadctl wait {known}" if known else _show(services)
    if options["json"]:
        from reloadctl.failure import problem

        write_bytes(problem(130, f"interrupted; the reload goes on; follow it with: {where}"))
    else:
        error(f"the reload goes on; follow it with: {where}")
    return 130


def _show(services: list[str]) -> str:
    return f"reloadctl show {services[0]}" if len(services) == 1 else "reloadctl history"


def _running(options: "dict[str, Any]", service: str) -> str:
    """The id of the one reload that runs or waits; empty when there are both, or when the agent does not say."""
    from reloadctl.jsontext import loads

    try:
        reply = get(options, f"/v1/services/{quote(service)}", ASKED_AT_ONCE)
        document = loads(reply.body)
    except (Fail, ValueError, KeyboardInterrupt):
        return ""
    ids = [str(document[key]) for key in ("running", "waiting") if document.get(key)]
    return ids[0] if len(ids) == 1 else ""
