"""Whatever is in an answer, a file beside the state or a line of /proc: it is read, or it is said not to be there; nothing is raised."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from agentd.core.included import Listed
from agentd.core.question import LONGEST, Question, Said
from agentd.core.spec import AttributeKey, HttpProbe, ProcessSpec, Spec, TcpProbe, VersionKey
from agentd.ports import CommandResult
from agentd.runtime.environment import environment
from agentd.system import proctable
from agentd.system.answers import listed, understood
from agentd.system.document import attributes
from agentd.system.files import OsFiles
from agentd.system.gitversion import repository
from agentd.system.inotify import Event, parse
from agentd.system.keyversion import read_key
from agentd.system.listenfile import ListenFile
from agentd.system.probes import OsProbes
from agentd.system.snapshots import Snapshots
from agentd.upgrade import KEPT, received
from tests.contract.checks_files import spec
from tests.contract.checks_probes import PROCESS
from tests.contract.test_included import OF
from tests.contract.test_probes import Commands, Table

URL = HttpProbe("http://h/")
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=5)
)
VALUE = st.recursive(
    SCALAR,
    lambda v: st.one_of(
        st.lists(v, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "name", "entries", "boot", "sockets"]), v),
    ),
    max_leaves=8,
)


class Deep(str):
    """Brackets without end; told in a word."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DEEP"


DEEP = Deep("[" * 100_000)
JSON = st.one_of(VALUE.map(json.dumps), st.text(max_size=30), st.just(DEEP))
PATHS = ["a", "a.b", "a[0]", "*", "a[].name", "@", "a[::0]", "ceil(a)", "floor(@)", "avg(a)",
         "sum(@)", "to_string(@)", "sort(a)", "length(@)", "keys(@)", "a < b", "to_number(a)"]  # fmt: skip
YAML = [*"[]{}:-,&*!'\"#|>? \n01ax.e", "!!int ", "!!bool ", "!!float ", "!!timestamp ", "a: ", "b: ",
        "<<: ", "&x ", "*x", "2001-99-99", "2001-01-01 01:01:01 +99:99", "1e400", "\x00", "\ufeff"]  # fmt: skip


def proper(said: Said) -> bool:
    """Short and printable, as what stands in a record has to be."""
    words = [text for text in (said.value, said.mark) if text is not None]
    return all(len(text) <= LONGEST and text.isprintable() for text in words)


@given(st.sampled_from(PATHS), JSON)
@example("ceil(a)", '{"a": 1e400}')
@example("avg(a)", f'{{"a": [{"9" * 400}]}}')
def test_any_document_is_an_answer_or_none(path: str, text: str) -> None:
    assert proper(understood(Question(URL, path), text))
    with suppress(ValueError):
        assert all(len(one) <= LONGEST for one in listed(Question(URL, path), text))


@given(
    st.lists(st.sampled_from([*'m{}="\\,# \n1.e\t', "m{a=", "m 1\n", "m_b", "NaN"]), max_size=30)
)
def test_any_page_of_metrics_is_an_answer_or_none(marks: list[str]) -> None:
    for name in ("m", 'm{a="1"}'):
        assert proper(understood(Question(URL, "", name), "".join(marks)))


@given(
    st.sampled_from(["/f.yaml", "/f.toml", "/f.json"]),
    st.one_of(
        st.binary(max_size=60),
        JSON,
        st.lists(st.sampled_from(YAML), max_size=20).map(lambda marks: "".join(marks).encode()),
    ),
)
@example("/f.yaml", b"a: !!bool x")
@example("/f.yaml", b"a: !!int ''")
@example("/f.yaml", b"a: !!timestamp x")
@example("/f.json", b'{"a": 1e400}')
def test_any_document_has_attributes_and_a_version_or_none(name: str, data: bytes | str) -> None:
    data = data.encode(errors="replace") if isinstance(data, str) else data
    keys = [AttributeKey(path, name, path) for path in PATHS]
    assert all(text.isprintable() for _, text in attributes(data, keys))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder + name)
        path.write_bytes(data)
        for key in ("a", "a.b", "a[0]", "a[9]"):
            read_key(VersionKey(str(path), key))


@given(JSON)
def test_any_order_of_listeners_is_read_or_none(text: str) -> None:
    with kept("web", text) as folder:
        ListenFile(folder).read("web")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        sockets = f'{{"boot": "{boot}", "sockets": {text}}}'
        (folder / "web").write_text(sockets, errors="replace")
        ListenFile(folder).read("web")


@given(VALUE, st.lists(VALUE, max_size=4))
@example("tcp:80", [[], float("inf")])
def test_any_listener_is_read_or_none(address: object, rest: list[object]) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    noted = {"boot": boot, "sockets": {"main": [address, *rest]}}
    with kept("web", json.dumps(noted)) as folder:
        ListenFile(folder).read("web")


@given(JSON)
def test_any_list_of_included_files_is_known_or_none(text: str) -> None:
    service = replace(spec("web", ("/etc/web.conf",)), included=OF)
    with kept("web.json", text) as folder:
        files = OsFiles(folder / "snapshots", folder / "key")
        (folder / "included").mkdir()
        (folder / "web.json").rename(folder / "included" / "web.json")
        assert isinstance(files.lists.known(service), Listed)


ENTRY = st.fixed_dictionaries(
    dict.fromkeys(("path", "hash", "size", "mode", "uid", "gid", "stored"), SCALAR)
)


@given(
    st.one_of(
        JSON,
        st.fixed_dictionaries(
            {"entries": st.lists(ENTRY, max_size=2), "version": SCALAR},
            optional={"unlisted": SCALAR},
        ).map(json.dumps),
    )
)
@example(
    '{"entries": [{"path": "\\ud800", "hash": "", "size": 1, "mode": 0, "uid": 0, "gid": 0, "stored": 1}], "version": ""}'
)
def test_any_manifest_of_a_snapshot_is_refused(text: str) -> None:
    digest = "sha256:" + "0a" * 32
    with kept("none", "") as folder:
        (folder / "manifests").mkdir()
        path = folder / "manifests" / f"{digest[7:]}.json"
        path.write_text(text, errors="replace")
        assert Snapshots(folder).kept(digest) is None


@given(
    st.one_of(
        st.binary(max_size=100),
        st.lists(
            st.sampled_from(
                [
                    b"HTTP/1.1 ",
                    b"200",
                    b" OK",
                    b"\r\n",
                    b"\n",
                    b"Content-Length: ",
                    b"1",
                    b"-",
                    b"Transfer-Encoding: chunked",
                    b"100",
                    b"x",
                    b":",
                    b"\xb2",
                    b"\0",
                    b"99999999999999999999",
                ]
            ),
            max_size=20,
        ).map(b"".join),
    )
)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n1")
def test_any_bytes_are_an_answer_of_http_or_none(data: bytes) -> None:
    async def ask() -> Said:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            writer.close()

        with tempfile.TemporaryDirectory() as folder:
            async with await asyncio.start_unix_server(serve, f"{folder}/s"):
                url = f"http+unix://{quote(f'{folder}/s', safe='')}/"
                done = CommandResult(0, timed_out=False, error=None, output=())
                probes = OsProbes(Commands(done), Table())
                question = Question(HttpProbe(url, timeout=5.0))
                return await probes.ask(question, 1, PROCESS)

    said = asyncio.run(ask())
    assert (said.value is None) == bool(said.why)


@given(
    st.lists(
        st.tuples(st.integers(-1, 2**31 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=20))
    )
)
def test_any_name_that_a_directory_can_have_is_told(events: list[tuple[int, int, bytes]]) -> None:
    names = [(wd, mask, name.replace(b"\0", b"x")) for wd, mask, name in events]
    padded = [(wd, mask, name + b"\0" * (16 - len(name) % 16)) for wd, mask, name in names]
    data = b"".join(struct.pack("iIII", w, m, 0, len(name)) + name for w, m, name in padded)
    assert list(parse(data)) == [Event(wd, mask, os.fsdecode(name)) for wd, mask, name in names]


@given(st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name))
@example(b") Z 1 (")
def test_a_process_may_be_called_anything(name: bytes) -> None:
    own = Path("/proc/self/comm")
    before = own.read_bytes()
    own.write_bytes(name)
    try:
        found = proctable.stat(os.getpid())
    finally:
        own.write_bytes(before)
    assert found is not None
    assert (found.ppid, found.pgrp, found.session) == (os.getppid(), os.getpgrp(), os.getsid(0))


@contextmanager
def kept(name: str, text: str) -> Iterator[Path]:
    """A directory with one file."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(text, errors="replace")
        yield Path(folder)


@given(
    st.sampled_from(["http://", "http+unix://", "https://", ""]),
    st.sampled_from(
        [
            "127.0.0.1:99999",
            "127.0.0.1:²",
            "a..b",
            "x" * 70,
            "%00",
            "%2F%00",
            "[::1",
            "",
            "127.0.0.1:1",
        ]
    ),
    st.text("/?#%²a\0 ", max_size=4),
)
@example("http://", "127.0.0.1:99999", "/")
@example("http://", "a..b", "/")
@example("http+unix://", "%00", "/")
def test_any_url_is_asked_or_said_to_be_none(scheme: str, authority: str, path: str) -> None:
    async def ask() -> None:
        done = CommandResult(0, timed_out=False, error=None, output=())
        probes = OsProbes(Commands(done), Table())
        probe = HttpProbe(scheme + authority + path)
        assert await probes.probe(probe, 1, PROCESS)
        assert (await probes.ask(Question(probe), 1, PROCESS)).why
        assert await probes.probe(TcpProbe(authority, 99999), 1, PROCESS)

    asyncio.run(ask())


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from(["A", "=", "\n", "\0", '"', "'", "#", ";", " ", "\u2028", "\x0c", "b"])
        ).map(lambda marks: "".join(marks).encode()),
    )
)
@example(b"=x\nA\0=y\nB=y\0\n")
def test_any_environment_file_gives_what_a_process_can_be_given(data: bytes) -> None:
    with kept("none", "") as folder:
        (folder / "env").write_bytes(data)
        process = ProcessSpec(("true",), env_file=(str(folder / "env"),))
        given = environment({}, Spec("web", process), 1, {})
    for name, value in given.items():
        assert name
        assert b"\0" not in os.fsencode(name + value)
        assert "=" not in name
        assert "\n" not in value


def test_a_line_of_an_environment_file_ends_where_a_line_ends() -> None:
    with kept("env", "A=1\x0cB=2\u2028C=3\nD=4\n") as folder:
        process = ProcessSpec(("true",), env_file=(str(folder / "env"),))
        given = environment({}, Spec("web", process), 1, {})
    assert (given["A"], given["D"]) == ("1\x0cB=2\u2028C=3", "4")


@given(st.binary(max_size=30))
@example(b"gitdir: \0")
def test_any_git_file_is_a_work_tree_or_none(data: bytes) -> None:
    with kept(".git", "") as folder:
        (folder / ".git").write_bytes(data)
        repository([str(folder / "web.conf")])


@given(
    st.lists(
        st.sampled_from([*"=,", "socket", "99999999999", "9" * 5000, "\u00b2", "-1", "1000000"])
    )
)
def test_any_word_of_what_an_earlier_image_left_is_read_or_passed_over(words: list[str]) -> None:
    assert received({KEPT: "".join(words)}) == {}
