"""What goes wrong in reloadctl, and how the operator is told.

``Fail`` carries an exit code and a sentence; anything else that arrives here is a bug of reloadctl. In text the sentence
goes to stderr; with ``--json`` stdout gets one problem document (RFC 9457), the agent's own one untouched.
"""

import sys

from reloadctl.out import as_text, error, write_bytes


class Fail(Exception):  # noqa: N818 (it also ends what is no error: held, not running)
    """Ends the command. ``body``: the problem document of the agent, unparsed."""

    def __init__(self, code: int, detail: str, body: bytes = b"") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.body = body


def problem(code: int, detail: str) -> bytes:
    """A problem document of our own making, for what never reached the agent."""
    from reloadctl.jsontext import dumps  # noqa: PLC0415 (only on failure)

    return dumps({"type": "about:blank", "title": "reloadctl", "detail": detail, "exit": code})


def sentence(fail: Fail) -> str:
    """The sentence of a failure, with the choices the agent names for an ambiguous reference."""
    if not fail.body:
        return fail.detail
    from reloadctl.jsontext import loads  # noqa: PLC0415 (only on failure)

    try:
        document = loads(fail.body)
    except ValueError:
        return fail.body.decode(errors="replace").strip()[:500] or fail.detail
    detail = str(document.get("detail") or document.get("title") or fail.detail)
    return "\n".join((detail, *(f"  {choice}" for choice in document.get("candidates") or ())))


def explain(failure: Exception, *, as_json: bool) -> int:
    """Tell the operator; the exit code."""
    if not isinstance(failure, Fail):
        import os  # noqa: PLC0415 (only on a bug)

        if os.environ.get("RELOADCTL_DEBUG"):
            import traceback  # noqa: PLC0415 (only on a bug)

            traceback.print_exception(failure, file=sys.stderr)
        what = as_text(f"{type(failure).__name__}: {failure}")
        hint = "run with RELOADCTL_DEBUG=1 for the traceback"
        failure = Fail(1, f"internal error: {what}; {hint}")
    if as_json:
        write_bytes(failure.body or problem(failure.code, failure.detail))
    else:
        error(sentence(failure))
    return failure.code
