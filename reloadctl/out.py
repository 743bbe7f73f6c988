"""Writing to stdout and stderr: whole, quiet when the reader has gone, harmless to a terminal.

Decides what happens when writing fails: a closed pipe ends the output silently and leaves the exit code alone, so that
``reloadctl reload web | head -1`` still says how the reload ended; a full disk is told and makes the exit code 1.
"""

import os
import sys

# What a service printed must not move the cursor or retitle the window of who reads it: control characters other than
# tab and newline are shown as \xNN. C1 (0x80 to 0x9f) are controls to some terminals as well.
_HARMLESS = {n: f"\\x{n:02x}" for n in (*range(9), *range(11, 32), *range(127, 160))}


class _State:
    failed = False
    """Something could not be written, and not because the reader went away."""
    gone = False
    """The reader of stdout went away."""


def as_text(text: str) -> str:
    """The text with every control character but tab and newline made visible."""
    return text if text.isprintable() else text.translate(_HARMLESS)


def line(text: str) -> str:
    """As ``as_text``, for what has to stay on one line."""
    return text if text.isprintable() else text.translate({**_HARMLESS, 9: " ", 10: " "})


def write_bytes(data: bytes) -> bool:
    """Write to stdout; a newline is added when the data has none. False: nobody reads any more."""
    if sys.stdout is None or _State.gone:
        return False
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data if data[-1:] == b"\n" else data + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _forget_stdout()
    except OSError as failure:
        _forget_stdout()
        _State.failed = True
        error(f"cannot write the answer: {failure.strerror}")
    return not _State.gone


def write(text: str) -> bool:
    """Write text in the encoding of stdout, what it cannot say as escapes. False: nobody reads any more."""
    if sys.stdout is None:
        return False
    return write_bytes(text.encode(sys.stdout.encoding or "ascii", "backslashreplace"))


def error(text: str) -> None:
    """A sentence for the operator on stderr, after the program's name."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"reloadctl: {as_text(text)}\n")
        sys.stderr.flush()
    except OSError:
        _State.failed = True


def written() -> bool:
    """Whether all that was printed arrived, or was refused by a reader that had enough."""
    return not _State.failed


def _forget_stdout() -> None:
    """Point stdout at nothing, or the interpreter's last flush fails aloud and changes the exit code to 120."""
    _State.gone = True
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
