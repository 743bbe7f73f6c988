"""``reloadctl logs``: what a service printed. Into a pipe its bytes go as they are; a terminal is protected from them."""
# ruff: noqa: PLC0415 (not for --json)

import sys

from reloadctl.client import get, quote, stream
from reloadctl.out import as_text, write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def run(options: "dict[str, Any]") -> int:
    """The last lines, and with --follow what comes until Ctrl-C."""
    path = f"/v1/services/{quote(options['args'][0])}/logs?lines={options['lines'] or 50}"
    if options["follow"]:
        return _follow(options, f"{path}&follow=1")
    reply = get(options, path)
    if options["json"]:
        write_bytes(reply.body)
        return reply.exit
    from reloadctl.jsontext import loads

    _print(loads(reply.body)["lines"])
    return reply.exit


def _follow(options: "dict[str, Any]", path: str) -> int:
    from reloadctl.jsontext import loads

    for text in stream(options, path):
        if not text.strip():
            continue  # an empty line keeps an idle connection known to be alive
        if options["json"]:
            reading = write_bytes(text)
        else:
            document = loads(text)
            reading = _print(document["lines"] if "lines" in document else [document["line"]])
        if not reading:
            break
    return 0


def _print(lines: "Iterable[str]") -> bool:
    safe = sys.stdout is not None and sys.stdout.isatty()
    text = "".join(f"{as_text(entry) if safe else entry}\n" for entry in lines)
    return write(text) if text else True
