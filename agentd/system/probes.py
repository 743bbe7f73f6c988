"""Asks a service whether it is ready: one question, one answer, within the probe's own time.

Decides what counts as a pass and words the reason when it does not. When and how often to ask is the core's business,
and so is what an answer is worth while two generations share an address.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING
from urllib.parse import unquote

import h11

from agentd.core.spec import ExecProbe, HttpProbe, Probe, ProcessSpec, TcpProbe, WorkersProbe
from agentd.ports import CommandOrder, Commands, Probes, ProcessTable
from agentd.system.http import connect, get_status, hang_up, split, words

if TYPE_CHECKING:
    from collections.abc import Coroutine

Environment = tuple[tuple[str, str], ...]


class OsProbes(Probes):
    """The port. Commands run through ``commands``; children are looked up in ``table``."""

    def __init__(self, commands: Commands, table: ProcessTable) -> None:
        self._commands = commands
        self._table = table

    async def probe(self, probe: Probe, pid: int, process: ProcessSpec) -> str | None:
        """None: it passed. Otherwise why not, in a few words; never raises for anything the service does."""
        match probe:
            case WorkersProbe():
                return None if self._table.workers(pid) else "no child process yet"
            case ExecProbe():
                return await self._exec(probe, process)
            case HttpProbe():
                return await _bounded(_http(probe.url), probe.timeout)
            case TcpProbe():
                return await _bounded(_tcp(probe.host, probe.port), probe.timeout)

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


async def _tcp(host: str, port: int) -> str | None:
    _, writer = await connect(host, port)
    await hang_up(writer)
    return None


async def _http(url: str) -> str | None:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme == "http+unix":
        streams = await asyncio.open_unix_connection(unquote(authority))
        host = "localhost"
    elif scheme == "http":
        name, port = split(authority)
        streams = await connect(name, port)
        host = authority
    else:
        return f"cannot ask {scheme}:// URLs; known: http, http+unix"
    try:
        status = await get_status(streams, host, slash + path or "/")
    except h11.LocalProtocolError as error:
        return f"cannot ask for {url}: {error}"
    except h11.RemoteProtocolError:
        return "the answer is not HTTP"
    finally:
        await hang_up(streams[1])
    if status is None:
        return "closed without an answer"
    return None if 200 <= status < 400 else f"answered {status}"  # noqa: PLR2004 (success or a redirect, not followed)
