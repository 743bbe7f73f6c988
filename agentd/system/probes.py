"""Asks a service whether it is ready: one question, one answer, within the probe's own time.

Decides what counts as a pass, who must have given the answer for it to count, and words the reason when it does not. When
and how often to ask is the core's business.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote

import h11

from agentd.core.question import Question, Said
from agentd.core.spec import ExecProbe, HttpProbe, Probe, ProcessSpec, TcpProbe, WorkersProbe
from agentd.ports import CommandOrder, CommandResult, Commands, Own, Probes, ProcessTable
from agentd.system import holders, sockdiag
from agentd.system.answers import listed, understood
from agentd.system.http import Streams, addressed, addresses, get, hang_up, split, words

if TYPE_CHECKING:
    from collections.abc import Coroutine

LARGEST = 4 << 20
"""Bytes of an answer: a page of metrics of a large Prometheus has a few hundred thousand."""
_STRANGER = "answered by another process"
_SOON, _LATE = 0.001, 0.05
"""Pauses between two looks for who has accepted."""

Environment = tuple[tuple[str, str], ...]


class OsProbes(Probes):
    """The port. Commands run through ``commands``; children are looked up in ``table``."""

    def __init__(self, commands: Commands, table: ProcessTable) -> None:
        self._commands = commands
        self._table = table

    async def probe(
        self, probe: Probe, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> str | None:
        """None: it passed. Otherwise why not, in a few words; never raises for anything the service does.

        ``own``: an answer counts only when a process of this generation gave it.
        """
        match probe:
            case WorkersProbe():
                return None if self._table.workers(pid) else "no child process yet"
            case ExecProbe():
                return await self._exec(probe, process)
            case HttpProbe():
                return await _bounded(_http(probe.url, own), probe.timeout)
            case TcpProbe():
                return await _bounded(_tcp(probe.host, probe.port, own), probe.timeout)

    async def ask(
        self, question: Question, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> Said:
        """What it answers; never raises for anything the service does. See ``Probes.ask``."""
        del pid
        found = await self._text(question, process, own)
        return understood(question, found) if isinstance(found, str) else found

    async def names(
        self, question: Question, pid: int, process: ProcessSpec, own: Own | None = None
    ) -> tuple[str, ...] | Said:
        """What it lists. See ``Probes.names``."""
        del pid
        found = await self._text(question, process, own)
        if not isinstance(found, str):
            return found
        try:
            return listed(question, found)
        except ValueError as why:
            return Said(why=str(why))

    async def _text(self, question: Question, process: ProcessSpec, own: Own | None) -> str | Said:
        """The whole answer; without one, why."""
        probe = question.probe
        if isinstance(probe, ExecProbe):
            result = await self._run(probe, process)
            if why := _no(result, probe.timeout):
                return Said(why=why, known=not result.timed_out)
            return "\n".join(result.output)
        try:
            async with asyncio.timeout(probe.timeout):
                found = await _answer(probe.url, own)
        except TimeoutError:
            return Said(why=f"no answer within {probe.timeout:g}s", known=False)
        except OSError as error:
            return Said(why=words(error))
        if isinstance(found, str):
            return Said(why=found, known=not found.startswith(_STRANGER))
        return found.decode(errors="replace")

    async def _exec(self, probe: ExecProbe, process: ProcessSpec) -> str | None:
        return _no(await self._run(probe, process), probe.timeout)

    async def _run(self, probe: ExecProbe, process: ProcessSpec) -> CommandResult:
        order = CommandOrder(probe.argv, process, _environment(process), probe.timeout)
        return await self._commands.run(order)


def _no(result: CommandResult, seconds: float) -> str | None:
    """Why a command gave no answer."""
    if result.timed_out:
        return f"no answer within {seconds:g}s"
    if result.exit_code is None:
        return result.error or "could not be run"
    return None if result.exit_code == 0 else f"exit code {result.exit_code}"


def _environment(process: ProcessSpec) -> Environment:
    """What the definition says, and a PATH to find the command; nothing else of the agent's own environment."""
    own = dict(process.env)
    return (("PATH", own.pop("PATH", os.environ.get("PATH", os.defpath))), *own.items())


async def _bounded(question: Coroutine[None, None, str | None], seconds: float) -> str | None:
    try:
        async with asyncio.timeout(seconds):
            return await question
    except TimeoutError:
        return f"no answer within {seconds:g}s"
    except OSError as error:
        return words(error)


async def _tcp(host: str, port: int, own: Own | None) -> str | None:
    with addressed():
        streams = await _connect(host, port, own)
    try:
        return None if own is None else await _stranger(streams, own)
    finally:
        await hang_up(streams[1])


async def _http(url: str, own: Own | None) -> str | None:
    found = await _request(url, own, body=0)
    if isinstance(found, str):
        return found
    status, _ = found
    return None if 200 <= status < 400 else f"answered {status}"  # noqa: PLR2004 (success or a redirect, not followed)


async def _answer(url: str, own: Own | None) -> bytes | str:
    """The body of an answer that is a success; a text when there is none."""
    found = await _request(url, own, body=LARGEST)
    if isinstance(found, str):
        return found
    status, body = found
    if not 200 <= status < 300:  # noqa: PLR2004
        return f"answered {status}"
    return body if len(body) < LARGEST else f"the answer is larger than {LARGEST >> 20} MiB"


async def _request(url: str, own: Own | None, *, body: int) -> tuple[int, bytes] | str:
    """Status and body; a text when there is no answer, or one that would not count. Raises OSError."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    with addressed():
        if scheme == "http+unix":
            streams = await asyncio.open_unix_connection(unquote(authority))
            host = "localhost"
        elif scheme == "http":
            name, port = split(authority)
            streams = await _connect(name, port, own)
            host = authority
        else:
            return f"cannot ask {scheme}:// URLs; known: http, http+unix"
    try:
        found = await _get(streams, host, slash + path or "/", own, body)
    except (h11.LocalProtocolError, UnicodeError) as error:
        return f"cannot ask for {url}: {error}"
    except h11.RemoteProtocolError:
        return "the answer is not HTTP"
    finally:
        await hang_up(streams[1])
    return "closed without an answer" if found is None else found


async def _get(
    streams: Streams, host: str, target: str, own: Own | None, body: int
) -> tuple[int, bytes] | str | None:
    """Status and body of the final answer. None when there was no answer at all, a text when it would not count.

    The last byte is kept back until it is known who has the connection: who answers and closes at once is gone by the time
    of the answer, and who waits for data before it accepts (TCP_DEFER_ACCEPT) has some.
    """
    if own is None:
        return await get(streams, host, target, body=body)
    why: list[str | None] = []

    async def known() -> bool:
        why.append(await _stranger(streams, own))
        return why[0] is None

    found = await get(streams, host, target, known, body=body)
    return why[0] if why and why[0] is not None else found


async def _stranger(streams: Streams, own: Own) -> str | None:
    """None as soon as a process of the generation has the other end; why it does not count when another one has it.

    The kernel does not tell when a connection is accepted, so it is asked again until the probe's own time is over.
    """
    reader, writer = streams
    transport = writer.get_extra_info("socket")
    unix = transport.family == socket.AF_UNIX
    me = os.fstat(transport.fileno()).st_ino
    pause = _SOON
    while True:
        if unix:
            inode = sockdiag.unix_peer(me)
        else:
            row = sockdiag.other_end(transport)
            if row is None:
                return "cannot tell who answers: the other end is not on this host, or gone"
            if not row.inode and not row.talking:
                return "closed without an answer"
            inode = row.inode
        if inode:
            break
        # Of a Unix socket nothing else tells "accepted, and gone" from "not accepted yet".
        if writer.transport.is_closing() or reader.at_eof():
            return "closed without an answer"
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LATE)
    if own.holds(inode):
        return None
    pid = holders.holder(inode)
    return _STRANGER + ("" if pid is None else f" ({holders.named(pid)})")


async def _connect(host: str, port: int, own: Own | None) -> Streams:
    """Each address in turn; the last one's error counts."""
    *first, last = addresses(host)
    for address in first:
        with suppress(OSError):
            return await _connect_one(address, port, own)
    return await _connect_one(last, port, own)


async def _connect_one(address: str, port: int, own: Own | None) -> Streams:
    """Only to the generation that is meant, where that can be arranged."""
    alone = None if own is None else await own.connect(address, port)
    if alone is not None:
        return await asyncio.open_connection(sock=alone)
    return await asyncio.open_connection(address, port)
