"""One HTTP/1.1 request to the agent over its Unix socket, with ``_socket`` alone.

``http.client`` costs three times the start of Python, and the agent's answers need nothing of it: one request for each
connection, a body of known length or in chunks. Decides where the socket is and what its silence means; what an answer
says is the commands' business.
"""

import os
import sys
from _socket import AF_UNIX, SO_RCVTIMEO, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, socket

from reloadctl.failure import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

PATIENCE = 30
"""Seconds that an agent may be silent over a question it can answer at once."""
_LATE = 2.0
"""Seconds that its answer to "wait at most so long" may come late."""

FIRST_ERROR = 400

_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def at_most(timeout: float | None, *, waits: bool = True) -> float:
    """Seconds to wait for an answer; 0: for ever. The agent keeps the time of --timeout: ours only bounds one that is stuck."""
    if not waits:
        return PATIENCE
    return timeout + _LATE if timeout else 0


class Lost(Fail):
    """The agent went away after it was asked: nobody knows what became of the request."""


class Reply:
    """What the agent answered: the exit code it wants (``Reloadctl-Exit``), and the body."""

    __slots__ = ("body", "exit", "status")

    def __init__(self, status: int, code: int, body: bytes) -> None:
        self.status = status
        self.exit = code
        self.body = body


def socket_path(options: dict[str, object]) -> str:
    """``--socket``, else $AGENTD_SOCKET, else where the agent of this user listens."""
    given = options.get("socket") or os.environ.get("AGENTD_SOCKET")
    if given:
        return str(given)
    if os.getuid() == 0:
        return "/run/agentd/agentd.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return f"{runtime}/agentd/agentd.sock"


def quote(text: str) -> str:
    """A name as a part of a URL."""
    return "".join(chr(b) if b in _SAFE else f"%{b:02X}" for b in os.fsencode(text))


def get(options: dict[str, object], path: str, patience: float = PATIENCE) -> Reply:
    """Ask; the agent answers at once."""
    with _Exchange(socket_path(options), _head("GET", path), patience) as exchange:
        return exchange.whole()


def post(
    options: dict[str, object],
    path: str,
    body: dict[str, object],
    headers: tuple[tuple[str, str], ...] = (),
    patience: float = 0,
) -> Reply:
    """Ask for an act and wait for its end, ``patience`` seconds or (0) as long as it takes."""
    from agentd import __version__  # noqa: PLC0415 (the package alone, nothing in it; not for questions)
    from reloadctl.jsontext import dumps  # noqa: PLC0415 (not for questions)

    data = dumps(body)
    ours = (
        ("User-Agent", f"reloadctl/{__version__}"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(data))),
        *headers,
    )
    with _Exchange(socket_path(options), _head("POST", path, ours) + data, patience) as exchange:
        return exchange.whole()


def stream(
    options: dict[str, object], path: str, begun: "Callable[[], object] | None" = None
) -> "Iterator[bytes]":
    """Lines, as long as the agent sends them; Lost when it stops without saying so. ``begun``: called when it listens to us."""
    with _Exchange(socket_path(options), _head("GET", path), 0) as exchange:
        exchange.refused()
        if begun is not None:
            begun()
        rest = b""
        for part in exchange.parts():
            *lines, rest = (rest + part).split(b"\n")
            yield from lines
        if rest:
            yield rest


def _head(method: str, path: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: agentd", "Connection: close"]
    lines += [f"{key}: {text}" for key, text in headers]
    return "\r\n".join((*lines, "", "")).encode("ascii")


class _Exchange:
    """A connection, the request sent and the head of the answer read."""

    def __init__(self, path: str, request: bytes, patience: float) -> None:
        self.path = path
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        try:
            self._open(path, patience)
            try:  # noqa: SIM105 (contextlib would be one module more to load)
                self.sock.sendall(request)
            except (BrokenPipeError, ConnectionResetError):
                pass  # an agent at its limit answers 503 and closes without reading: read what it said
            self._read_head()
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def _open(self, path: str, patience: float) -> None:
        # Not settimeout(): it makes the socket non-blocking, and a Unix connect() to a full backlog then fails with
        # EAGAIN at once instead of waiting (unix_stream_connect). The kernel's own timeout bounds connect and recv.
        self._limit(SO_SNDTIMEO, PATIENCE)
        try:
            self.sock.connect(path)
        except PermissionError:
            raise Fail(
                77, f"cannot connect to {path}: permission denied; ask who runs the agent"
            ) from None
        except OSError as failure:
            why = _reason(failure)
            what = f"cannot reach the agent at {path}: {why}"
            raise Fail(156, f"{what}; is agentd running? try: systemctl status agentd") from None
        if patience:
            self._limit(SO_RCVTIMEO, patience)

    def _limit(self, option: int, seconds: float) -> None:
        size = 8 if sys.maxsize > 2**32 else 4  # struct timeval is two longs
        whole = int(seconds)
        micro = int((seconds - whole) * 1e6)
        packed = whole.to_bytes(size, sys.byteorder) + micro.to_bytes(size, sys.byteorder)
        self.sock.setsockopt(SOL_SOCKET, option, packed)

    def _recv(self) -> bytes:
        try:
            return self.sock.recv(1 << 20)
        except BlockingIOError:
            raise Lost(
                156, f"the agent at {self.path} is silent, it may be stopped or overloaded"
            ) from None
        except OSError as failure:
            raise self._lost(_reason(failure)) from None

    def _lost(self, why: str) -> Lost:
        return Lost(156, f"the agent at {self.path} went away before it had answered ({why})")

    def _read_head(self) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._recv()
            if not more or len(data) > 1 << 16:
                raise self._lost("no answer")
            data += more
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.headers = {
            key.strip().lower(): text.strip() for key, _, text in (h.partition(":") for h in lines)
        }
        protocol, _, rest = first.partition(" ")
        status = rest[:3]
        if not protocol.startswith("HTTP/1.") or not status.isdigit():
            raise Fail(156, f"{self.path} is not an agent's socket: it does not speak HTTP")
        self.status = int(status)

    def parts(self) -> "Iterator[bytes]":
        """The body as it comes."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
            return
        length = self.headers.get("content-length", "")
        missing = int(length) if length.isdigit() else -1
        part = self.rest
        while missing:
            if part:
                yield part
                missing -= len(part) if missing > 0 else 0
            if missing:
                part = self._recv()
                if not part and missing < 0:
                    return  # no length given: the end of the connection is the end of the body
                if not part:
                    raise self._lost("half an answer")

    def _chunks(self) -> "Iterator[bytes]":
        data = self.rest
        while True:
            while b"\r\n" not in data:
                data += self._more()
            size, _, data = data.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            if not length:
                return
            while len(data) < length + 2:
                data += self._more()
            yield data[:length]
            data = data[length + 2 :]

    def _more(self) -> bytes:
        more = self._recv()
        if not more:
            raise self._lost("half an answer")
        return more

    def whole(self) -> Reply:
        """The whole answer. Fail: the agent said no."""
        self.refused()
        return Reply(self.status, self._exit(0), b"".join(self.parts()))

    def refused(self) -> None:
        """Raise the agent's own problem document as a failure."""
        if self.status >= FIRST_ERROR:
            detail = f"the agent answered {self.status}"
            raise Fail(self._exit(1), detail, b"".join(self.parts()))

    def _exit(self, otherwise: int) -> int:
        code = self.headers.get("reloadctl-exit", "")
        return int(code) if code.isdigit() else otherwise


def _reason(failure: OSError) -> str:
    """What the system said, in lower case; some errors of ``_socket`` have no number (a path that is too long)."""
    return (failure.strerror or str(failure)).lower()
