"""Included files as inputs: when they are listed, what is remembered, and what a list that fails leaves."""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentd.core.manifest import Manifest, Missing
from agentd.core.spec import Included, OnFailure, ProcessSpec, ReloadSpec, Spec
from agentd.ports import CommandResult
from agentd.runtime.listing import Listing
from agentd.system.files import OsFiles
from tests.contract.checks_files import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentd.ports import CommandOrder

OF = Included(("server", "--list"), "^file (.+)$", 5.0)
INCLUDE = re.compile(r"^include (.+)$", re.MULTILINE)


class Server:
    """Reads files that say ``include GLOB``, and cannot list them while one says ``broken``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc"
        self.etc.mkdir()
        self.asked = 0
        self.when_asked: Callable[[], object] = lambda: None
        self.error: str | None = None
        self.writes: tuple[str, ...] = ()
        self.main = self.write("main.conf", "include parts/*.conf\n")
        self.begin()

    def begin(self, clock: Callable[[], int] = time.time_ns) -> None:
        """A new agent."""
        state = self.root / "s"
        self.changed: list[str] = []
        self.files = OsFiles(state / "snapshots", state / "key", run=self.run, wall_ns=clock)
        self.files.lists.changed = self.changed.append

    def write(self, name: str, text: str, *, age: float = 0.0) -> str:
        path = self.etc / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    async def run(self, _: Spec, of: Included) -> CommandResult:
        assert of == OF
        self.asked += 1
        self.when_asked()
        found = self.reads(Path(self.main))
        if self.error or found is None:
            code = None if self.error else 1
            return CommandResult(code, timed_out=False, error=self.error, output=())
        both = tuple(found), self.writes
        return CommandResult(0, timed_out=False, error=None, output=(), found=both)

    def reads(self, path: Path) -> list[str] | None:
        text, found = path.read_text(), [str(path)]
        if "broken" in text:
            return None
        for pattern in INCLUDE.findall(text):
            for one in sorted(self.etc.glob(pattern)):
                inner = self.reads(one)
                if inner is None:
                    return None
                found += inner
        return found

    def take(self, one: Spec, *, anew: bool = False, keep: bool = True) -> Manifest:
        found = asyncio.run(self.files.snapshot(one, keep=keep, anew=anew))
        assert isinstance(found, Manifest), found
        return found

    def missing(self, one: Spec) -> Missing:
        found = asyncio.run(self.files.snapshot(one, keep=True))
        assert isinstance(found, Missing), found
        return found

    def names(self, found: Manifest) -> list[str]:
        return [e.path.removeprefix(f"{self.etc}/") for e in found.entries]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.write("parts/a.conf", "a")
    yield made
    made.files.close()


@pytest.fixture
def web(server: Server) -> Spec:
    return spec(server.main, included=OF)


def test_what_is_included_is_an_input_and_hashed_like_any_other(server: Server, web: Spec) -> None:
    found = server.take(web)
    assert server.names(found) == ["main.conf", "parts/a.conf"]
    assert found.unlisted == ""
    assert found == server.take(spec(server.main, f"{server.etc}/parts/a.conf", name="by hand"))
    assert server.changed == ["web"]
    assert {server.main, f"{server.etc}/parts"} <= set(server.files.watched(web))


def test_it_is_listed_when_bytes_change_and_not_otherwise(server: Server, web: Spec) -> None:
    server.take(web)
    server.asked = 0
    first = server.take(web)
    assert server.take(web, keep=False) == first
    assert server.asked == 0
    server.write("parts/a.conf", "b")
    assert server.take(web) != first
    assert server.asked == 1
    server.take(web, anew=True)
    assert server.asked == 2


def test_a_new_file_beside_one_that_is_included_is_listed_anew(server: Server, web: Spec) -> None:
    first = server.take(web)
    server.write("parts/b.conf", "include more/*\n")
    server.write("more/c", "c")
    second = server.take(web)
    assert server.names(second) == ["main.conf", "more/c", "parts/a.conf", "parts/b.conf"]
    (server.etc / "parts/b.conf").unlink()
    assert server.take(web) == first


def test_a_list_that_names_others_is_asked_for_once_more(server: Server, web: Spec) -> None:
    def meanwhile() -> None:
        if server.asked == 1:
            return
        server.when_asked = lambda: None
        server.write("parts/a.conf", "include late/*\n")

    server.write("late/b", "b")
    server.when_asked = meanwhile
    assert server.names(server.take(web)) == ["late/b", "main.conf", "parts/a.conf"]


def test_files_that_are_older_than_the_question_need_no_second(server: Server, web: Spec) -> None:
    server.begin(lambda: time.time_ns() + 3_600_000_000_000)
    found = server.take(web)
    assert (server.names(found), server.asked) == (["main.conf", "parts/a.conf"], 1)


def test_a_list_that_fails_leaves_the_last_one_and_a_hash_of_its_own(
    server: Server, web: Spec
) -> None:
    good = server.take(web)
    server.write("parts/b.conf", "broken")
    bad = server.take(web)
    assert server.names(bad) == server.names(good)
    assert bad.entries == good.entries
    assert bad.hash != good.hash
    assert bad.unlisted == "cannot list the included files: server says no (exit code 1)"
    assert server.files.snapshots.load(bad.hash) is not None, "a check on a copy of it can be run"
    # It is not asked again for the same, and is when what nobody could name is written.
    server.asked = 0
    assert (server.take(web), server.asked) == (bad, 0)
    server.write("parts/b.conf", "still broken")
    assert (server.take(web).hash, server.asked > 0) == (bad.hash, True)
    server.write("parts/b.conf", "mended")
    mended = server.take(web)
    assert server.names(mended) == ["main.conf", "parts/a.conf", "parts/b.conf"]
    assert mended.unlisted == ""
    assert server.changed == ["web"] * 3


def test_an_edit_that_breaks_the_list_is_another_hash(server: Server, web: Spec) -> None:
    good = server.take(web)
    server.write("parts/a.conf", "broken")
    bad = server.take(web)
    assert (bad.unlisted != "", bad.entries != good.entries) == (True, True)
    server.write("parts/a.conf", "a")
    assert server.take(web) == good


def test_what_the_command_itself_writes_beside_the_files_is_no_change(
    server: Server, web: Spec
) -> None:
    server.take(web)
    server.write("parts/b.conf", "broken")
    server.when_asked = lambda: server.write("parts/error.log", f"{server.asked}")
    bad = server.take(web)
    assert bad.unlisted
    server.asked = 0
    assert (server.take(web).hash, server.asked) == (bad.hash, 0)


def test_a_first_time_without_a_list_says_so(server: Server, web: Spec) -> None:
    server.error = "cannot run server: no such file"
    found = server.take(web)
    assert server.names(found) == ["main.conf"]
    assert found.unlisted == "cannot list the included files: cannot run server: no such file"
    assert found.hash != server.take(spec(server.main, name="by hand")).hash


def test_the_next_agent_knows_the_list_and_asks_once(server: Server, web: Spec) -> None:
    good = server.take(web)
    server.begin()
    server.asked = 0
    assert (server.take(web), server.asked) == (good, 1)
    server.begin()
    server.write("parts/a.conf", "broken")
    assert server.names(server.take(web)) == ["main.conf", "parts/a.conf"]
    # Of another command it says nothing.
    other = spec(server.main, included=Included(OF.argv, "^another (.+)$"))
    assert server.files.lists.known(other).paths == ()
    (server.root / "s/included/web.json").write_text("torn")
    server.begin()
    assert server.files.lists.known(web).paths == ()


def test_what_moves_all_the_time_is_unstable(server: Server, web: Spec) -> None:
    server.when_asked = lambda: server.write("parts/a.conf", f"{server.asked}")
    found = server.missing(web)
    assert found.error_type == "unstable_input"
    assert "what it includes changed while that was listed, 4 times" in found.message


def test_what_is_named_and_not_there_is_no_input(server: Server, web: Spec) -> None:
    server.write("parts/b.conf", "b")
    gone = server.etc / "parts/b.conf"
    server.when_asked = lambda: gone.unlink(missing_ok=True)
    assert server.names(server.take(web)) == ["main.conf", "parts/a.conf"]


def test_what_cannot_be_read_is_named(server: Server, web: Spec) -> None:
    os.mkfifo(server.etc / "parts/pipe")
    server.reads = lambda path: [str(path), str(server.etc / "parts/pipe")]  # type: ignore[method-assign]
    assert "parts/pipe: it is a FIFO" in server.missing(web).message


def test_a_name_with_wildcards_is_that_file_and_no_other(server: Server, web: Spec) -> None:
    odd = server.write("parts/a[1].conf", "x")
    server.write("parts/a1.conf", "y")
    server.reads = lambda path: [str(path), odd.replace("/parts/", "//./parts/")]  # type: ignore[method-assign]
    assert server.names(server.take(web)) == ["main.conf", "parts/a[1].conf"]


def test_what_is_secret_is_secret_also_where_it_is_only_included(server: Server) -> None:
    server.write("parts/key.conf", "secret")
    server.write("parts/key.conf~", "secret")
    server.write("main.conf", "include parts/*\n")
    for secret in (f"{server.etc}/parts", f"{server.etc}/parts/key.*"):
        web = spec(server.main, included=OF, secret=(secret,), name=Path(secret).name[0])
        found = server.take(web)
        kept = server.files.snapshots.kept(found.hash)
        assert kept is not None
        stored = {Path(k.entry.path).name: k.stored for k in kept}
        assert not stored["key.conf"]
        assert not stored["key.conf~"]


@pytest.mark.parametrize("over", ["", "what was found bad"])
def test_what_is_put_back_is_what_was_included_and_nothing_that_was_there_is_removed(
    server: Server, over: str
) -> None:
    """Which of the files that are included now are new is known when the others were put back."""
    web = Spec(
        "web",
        ProcessSpec(("true",)),
        inputs=(server.main,),
        included=OF,
        reload=ReloadSpec(on_failure=OnFailure.RESTORE),
    )
    theirs = server.write("others.conf", "theirs")
    good = server.take(web)
    server.write("parts/a.conf", "edited")
    new = Path(server.write("parts/new.conf", "new"))
    server.write("main.conf", "include parts/*.conf\ninclude others.conf\n")
    bad = server.take(web)
    assert "others.conf" in server.names(bad)
    done = asyncio.run(server.files.restore(web, good.hash, over and bad.hash))
    assert server.take(web) == good
    assert Path(theirs).read_text() == "theirs"
    assert not new.exists()
    assert done.files == 3
    kept = sorted(p.name for p in (server.root / "s/rejected").rglob("*.conf"))
    assert kept == (["a.conf", "main.conf", "new.conf"] if over else [])


def test_a_file_that_breaks_the_list_and_nobody_named_is_left(server: Server, web: Spec) -> None:
    good = server.take(web)
    new = Path(server.write("parts/new.conf", "broken"))
    bad = server.take(web)
    asyncio.run(server.files.restore(web, good.hash, bad.hash))
    assert new.exists()
    assert server.take(web).unlisted


def test_how_the_file_stands_that_it_writes_when_it_took_them(server: Server, web: Spec) -> None:
    pid = server.root / "pid"
    server.take(web)
    assert server.files.written("web") is None, "it names none"
    server.writes = (str(pid),)
    server.take(web, anew=True)
    assert server.files.written("web") == "", "it is named and not there"
    pid.write_text("7")
    first = server.files.written("web")
    new = server.root / "new"
    new.write_text("7")
    new.rename(pid)
    assert server.files.written("web") not in ("", first), "the same text, written again"
    server.begin()
    server.error = "cannot run server: no such file"
    server.take(web)
    assert server.files.written("web"), "the next agent knows it, too"


def test_two_who_read_at_once_ask_once(server: Server, web: Spec) -> None:
    server.take(web)
    server.write("parts/a.conf", "b")
    server.asked = 0

    async def both() -> None:
        read = server.files.snapshot
        one, two = await asyncio.gather(read(web, keep=True), read(web, keep=False))
        assert one == two

    asyncio.run(both())
    assert server.asked == 1


def test_it_runs_as_the_check_does() -> None:
    orders: list[CommandOrder] = []

    class Commands:
        async def run(self, order: CommandOrder) -> CommandResult:
            orders.append(order)
            return CommandResult(0, timed_out=False, error=None, output=())

    process = ProcessSpec(("x",), env=(("A", "1"),), cwd="/srv", umask=0o27)
    one = Spec("web", process, included=OF)
    listing = Listing(Commands(), {"PATH": "/bin", "LISTEN_FDS": "1"})
    asyncio.run(listing.run(one, OF))
    (order,) = orders
    assert (order.argv, order.find, order.timeout) == (OF.argv, (OF.pattern,), OF.timeout)
    asyncio.run(listing.run(one, replace(OF, written="^PID (.+)$")))
    assert orders[-1].find == (OF.pattern, "^PID (.+)$")
    assert order.process == process
    assert dict(order.env).items() >= {"A": "1", "PATH": "/bin", "AGENTD_SERVICE": "web"}.items()
    assert "LISTEN_FDS" not in dict(order.env)
    nobody = Spec("web", ProcessSpec(("x",), user="no-such-user"), included=OF)
    result = asyncio.run(listing.run(nobody, OF))
    assert result.error == "cannot start as user no-such-user: there is no such user"
