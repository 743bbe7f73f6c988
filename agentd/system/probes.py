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

from agentd.core.spec import ExecProbe, HttpProbe, Probe, ProcessSpec, TcpProbe, WorkersProbe
from agentd.ports import CommandOrder, Commands, Own, Probes, ProcessTable
from agentd.system import holders, sockdiag
from agentd.system.http import Streams, addresses, get_status, hang_up, split, words

if TYPE_CHECKING:
    from collections.abc import Coroutine

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

    async def _exec(self, probe: ExecProbe, process: ProcessSpec) -> str | None:
        order = CommandOrder(probe.argv, process, _environment(process), probe.timeout)
        result = await self._commands.run(order)
        if result.timed_out:
            return f"no answer within {probe.timeout:g}s"
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
    _, writer = await _connect(host, port, own)
    try:
        return None if own is None else await _stranger(writer, own)
    finally:
        await hang_up(writer)


async def _http(url: str, own: Own | None) -> str | None:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
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
        status = await _get(streams, host, slash + path or "/", own)
    except h11.LocalProtocolError as error:
        return f"cannot ask for {url}: {error}"
    except h11.RemoteProtocolError:
        return "the answer is not HTTP"
    finally:
        await hang_up(streams[1])
    if status is None or isinstance(status, str):
        return status or "closed without an answer"
    return None if 200 <= status < 400 else f"answered {status}"  # noqa: PLR2004 (success or a redirect, not followed)


async def _get(streams: Streams, host: str, target: str, own: Own | None) -> int | str | None:
    """The status of the final answer. None when there was no answer at all, a text when it would not count.

    The last byte is kept back until it is known who has the connection: who answers and closes at once is gone by the time
    of the answer, and who waits for data before it accepts (TCP_DEFER_ACCEPT) has some.
    """
    if own is None:
        return await get_status(streams, host, target)
    why: list[str | None] = []

    async def known() -> bool:
        why.append(await _stranger(streams[1], own))
        return why[0] is None

    status = await get_status(streams, host, target, before_the_last_byte=known)
    return why[0] if why and why[0] is not None else status


async def _stranger(writer: asyncio.StreamWriter, own: Own) -> str | None:
    """None as soon as a process of the generation has the other end; why it does not count when another one has it.

    The kernel does not tell when a connection is accepted, so it is asked again until the probe's own time is over.
    """
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
        if writer.transport.is_closing():
            return "closed without an answer"
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LATE)
    if own.holds(inode):
        return None
    pid = holders.holder(inode)
    return "answered by another process" + ("" if pid is None else f" ({holders.named(pid)})")


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
