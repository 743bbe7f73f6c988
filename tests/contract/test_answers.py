"""What a service says of itself: read from each form an answer may have, and counted only when it is its own."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from agentd.core.question import Question, Said
from agentd.core.spec import ExecProbe, HttpProbe
from agentd.ports import CommandResult
from agentd.system.answers import listed, understood
from agentd.system.probes import LARGEST, OsProbes
from tests.contract.checks_probes import PROCESS
from tests.contract.test_probes import Commands, Server, Table

URL = HttpProbe("http://h/")
PAGE = """# HELP prometheus_config_last_reload_successful Whether it was.
# TYPE prometheus_config_last_reload_successful gauge
prometheus_config_last_reload_successful 1
prometheus_config_last_reload_success_timestamp_seconds 1.7e+09 123
series{job="a b",le="1"} 3
series{job="c",le="1"} 4
series_total 9
counted{le="1"} 17 # {trace_id="a}"} 0.67
one{x="}"} 5
"""


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("", "v2\n", Said("v2")),
        ("", "", Said("")),
        ("a.b", '{"a": {"b": "v2"}}', Said("v2")),
        ("a[1].c", '{"a": [0, {"c": 7}]}', Said("7")),
        ("a[0]", '{"a": [true]}', Said("true")),
        ("a", '{"a": {"z": 1, "b": 2}}', Said('{"b": 2, "z": 1}')),
        ("a.c", '{"a": {"b": 1}}', Said(why="there is no a.c in the answer")),
        ("a[9]", '{"a": [1]}', Said(why="there is no a[9] in the answer")),
        ("abs(a)", '{"a": "x"}', Said(why="there is no abs(a) in the answer")),
        ("a", "<html>", Said(why="the answer is no JSON")),
        ("a", "[" * 100_000, Said(why="the answer is no JSON")),
    ],
)
def test_a_text_or_a_key_of_json(path: str, text: str, said: Said) -> None:
    assert understood(Question(URL, path), text) == said


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("prometheus_config_last_reload_successful", Said("1")),
        ("prometheus_config_last_reload_success_timestamp_seconds", Said("1.7e+09")),
        ('series{job="c",le="1"}', Said("4")),
        ("one", Said("5")),
        ("counted", Said("17")),
        ("series", Said(why="series has several values; name its labels")),
        ("prometheus_config", Said(why="there is no prometheus_config in the answer")),
    ],
)
def test_a_line_of_prometheus(metric: str, said: Said) -> None:
    assert understood(Question(URL, "", metric), PAGE) == said


def test_the_moment_beside_it() -> None:
    names = ("prometheus_config_last_reload_successful", "series_total")
    assert understood(Question(URL, "", *names), PAGE) == Said("1", "9")
    document = json.dumps({"ok": True, "at": "10:00"})
    assert understood(Question(URL, "ok", "", "at"), document) == Said("true", "10:00")
    assert understood(Question(URL, "ok", "", "when"), document).value is None


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("", "max_connections\n\n shared_buffers \n", ("max_connections", "shared_buffers")),
        ("", "", ()),
        ("pending", '{"pending": ["a", {"name": "b"}]}', ("a", "b")),
        (
            "all[?!ok].name",
            '{"all": [{"name": "a", "ok": true}, {"name": "b", "ok": false}]}',
            ("b",),
        ),
    ],
)
def test_a_list(path: str, text: str, names: tuple[str, ...]) -> None:
    assert listed(Question(URL, path), text) == names


@pytest.mark.parametrize("text", ["x", '{"pending": 3}', "{}", '{"pending": null}'])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"no list|no JSON|there is no"):
        listed(Question(URL, "pending"), text)


def probes(result: CommandResult | None = None) -> OsProbes:
    done = CommandResult(0, timed_out=False, error=None, output=())
    return OsProbes(Commands(result or done), Table())


class Owner:
    """A generation that has the other end of every connection, or of none."""

    def __init__(self, *, owns: bool) -> None:
        self.owns = owns

    async def connect(self, host: str, port: int) -> socket.socket | None:
        del host, port
        return None

    def holds(self, inode: int) -> bool:
        del inode
        return self.owns


async def _asked(server: Server, own: Owner | None = None, seconds: float = 4) -> Said:
    """Of a server that lives only as long."""
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        host, port = listener.sockets[0].getsockname()
        probe = HttpProbe(f"http://{host}:{port}/version", seconds)
        return await probes().ask(Question(probe), 1, PROCESS, own)


class Patient(Server):
    """Is not put out when nobody asks to the end."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.served = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await super().serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.transport.abort()
            await writer.wait_closed()
        self.served.release()


def http(body: bytes, status: bytes = b"200 OK") -> Patient:
    return Patient(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (http(b"v2\n"), Said("v2")),
        (Server(b"HTTP/1.0 200 OK\r\n\r\nv2"), Said("v2")),
        (
            Server(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nv\r\n1\r\n2\r\n0\r\n\r\n"
            ),
            Said("v2"),
        ),
        (http(b"no", b"503 Service Unavailable"), Said(why="answered 503")),
        (http(b"there", b"302 Found"), Said(why="answered 302")),
        (Server(b""), Said(why="closed without an answer")),
        (Server(b"SSH-2.0\r\n\r\n"), Said(why="the answer is not HTTP")),
        (
            Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nv2"),
            Said(why="the answer is not HTTP"),
        ),
        (http(b"x" * LARGEST), Said(why="the answer is larger than 4 MiB")),
    ],
    ids=[
        "text",
        "to the end",
        "chunks",
        "503",
        "302",
        "nothing",
        "no http",
        "cut off",
        "too large",
    ],
)
def test_an_answer_over_http(server: Server, said: Said) -> None:
    assert asyncio.run(_asked(server)) == said


def test_no_answer_in_time_is_not_known() -> None:
    said = asyncio.run(_asked(Server(None), seconds=0.05))
    assert said == Said(why="no answer within 0.05s", known=False)


def test_nobody_there_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    question = Question(HttpProbe(f"http://127.0.0.1:{port}/"))
    assert asyncio.run(probes().ask(question, 1, PROCESS)) == Said(why="connection refused")


def test_an_answer_counts_only_when_it_is_the_services_own() -> None:
    assert asyncio.run(_asked(http(b"v2"), Owner(owns=True))) == Said("v2")
    said = asyncio.run(_asked(http(b"v2"), Owner(owns=False)))
    assert said.value is None
    assert not said.known
    assert said.why.startswith("answered by another process")


def test_over_a_unix_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "admin.sock")
        question = Question(HttpProbe(f"http+unix://{quote(path, safe='')}/version"))
        assert await probes().ask(question, 1, PROCESS) == Said(why="no socket at that path")
        server = http(b"v2")
        async with await asyncio.start_unix_server(server.serve, path):
            assert await probes().ask(question, 1, PROCESS, Owner(owns=True)) == Said("v2")
            await server.served.acquire()
            assert (await probes().ask(question, 1, PROCESS, Owner(owns=False))).value is None
            await server.served.acquire()

    asyncio.run(scenario())


def test_one_that_takes_a_connection_and_dies_is_not_waited_for(tmp_path: Path) -> None:
    """The next look may meet its successor on the same socket."""

    async def scenario() -> None:
        path = str(tmp_path / "shared.sock")
        question = Question(HttpProbe(f"http+unix://{quote(path, safe='')}/version", 5))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            asked = asyncio.create_task(probes().ask(question, 1, PROCESS, Owner(owns=True)))
            for _ in range(100):
                await asyncio.sleep(0)  # it has connected, and sent all but the last byte
            connection, _ = listener.accept()
            with connection:  # in one breath, so that nobody sees who had it
                assert connection.recv(4096)
            assert (await asked).why == "closed without an answer"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (CommandResult(0, timed_out=False, error=None, output=("v2",)), Said("v2")),
        (CommandResult(3, timed_out=False, error=None, output=("v2",)), Said(why="exit code 3")),
        (
            CommandResult(None, timed_out=True, error=None, output=()),
            Said(why="no answer within 5s", known=False),
        ),
        (
            CommandResult(None, timed_out=False, error="no such file", output=()),
            Said(why="no such file"),
        ),
    ],
)
def test_an_answer_of_a_command(result: CommandResult, said: Said) -> None:
    asked = probes(result).ask(Question(ExecProbe(("ask",))), 1, PROCESS)
    assert asyncio.run(asked) == said
