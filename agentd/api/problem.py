"""What went wrong, as RFC 9457 has it: a problem document that also carries the exit code of ``reloadctl``.

Decides the document's shape. Which sentence and which codes is the business of whoever raises it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from agentd.api.message import REASONS, Response
from agentd.wire import ExitCode


class Problem(Exception):  # noqa: N818 - the RFC's word
    """The request is not answered as asked. ``detail`` is one sentence for the operator."""

    def __init__(
        self,
        status: int,
        detail: str,
        code: int,
        *,
        allow: str = "",
        candidates: Sequence[str] = (),
    ) -> None:
        """``code`` is what ``reloadctl`` exits with; ``allow`` names the methods there are; ``candidates`` what may be meant."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.allow = allow
        self.candidates = tuple(candidates)

    def response(self) -> Response:
        """The answer."""
        document: dict[str, object] = {
            "type": "about:blank",
            "title": REASONS.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "exit": int(self.code),
        }
        if self.candidates:
            document["candidates"] = self.candidates
        body = json.dumps(document).encode() + b"\n"
        headers = (("Allow", self.allow),) if self.allow else ()
        return Response(body, self.status, int(self.code), "application/problem+json", headers)


def malformed(detail: str, status: int = 400) -> Problem:
    """The request itself is wrong: usage."""
    return Problem(status, detail, ExitCode.USAGE)


def busy(detail: str) -> Problem:
    """The agent cannot answer just now."""
    return Problem(503, detail, ExitCode.UNREACHABLE)


def unknown_service(name: str, code: ExitCode = ExitCode.NO_SUCH_SERVICE) -> Problem:
    """No service has this name."""
    return Problem(404, f"there is no service {printable(name)}", code)


def printable(text: str, longest: int = 256) -> str:
    """A caller's text as it may be repeated, kept and shown: one line, of bounded length, nothing that moves a cursor."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text).strip()
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
