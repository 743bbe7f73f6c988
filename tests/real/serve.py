"""A server on sockets that it is given (sd_listen_fds(3)): answers with its word, finishes what it has on TERM, then ends.

    serve.py WORD [MODE]

MODE: ``serve``; ``deaf`` takes the sockets and never accepts; ``moved`` first moves them to other descriptors, as servers do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys


async def main(word: str, mode: str) -> None:
    assert os.environ["LISTEN_PID"] == str(os.getpid())
    fds = range(3, 3 + int(os.environ["LISTEN_FDS"]))
    if mode == "moved":
        moved = [os.dup2(fd, fd + 40, inheritable=False) for fd in fds]
        for fd in fds:
            os.close(fd)
        fds = moved
    given = [socket.socket(fileno=fd) for fd in fds]  # kept: without a name they would be closed
    sockets = [s for s in given if s.type == socket.SOCK_STREAM]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    busy: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = word.encode()
            said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            if b"/keep" in head:  # a connection that stays until the client ends it
                writer.write(said % (len(body), body))
                await reader.read()
            else:
                writer.write(said % (len(body), body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            busy.discard(task)

    servers: list[asyncio.Server] = []
    if mode != "deaf":
        for s in sockets:
            start = (
                asyncio.start_unix_server if s.family == socket.AF_UNIX else asyncio.start_server
            )
            servers.append(await start(answer, sock=s))  # type: ignore[operator]
    print("there", flush=True)
    await stop.wait()
    for server in servers:
        server.close()
    for _ in range(10):  # what was accepted just now has its task within a few turns of the loop
        await asyncio.sleep(0)
    while busy:
        await asyncio.wait(busy)


asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "serve"))
