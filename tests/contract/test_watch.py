"""The file watch on the real kernel: every way a file becomes another gives a hint, and the watch stays armed."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agentd.core.included import Listed
from agentd.core.spec import Included, Spec, WatchSpec
from agentd.system.files import OsFiles
from agentd.system.inotify import Event, Inotify, Mask, parse
from agentd.system.watcher import InputWatcher, Survey
from agentd.triggers.base import ReloadRequest
from agentd.triggers.watch import FileWatch
from tests.contract.checks_files import spec
from tests.contract.checks_watch import check_watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    Story = Callable[["World"], Coroutine[None, None, None]]


def watched(one: Spec, rescan: float = 0) -> Spec:
    return replace(one, watch=WatchSpec(rescan=rescan))


class Overheard(InputWatcher):
    """The real watcher; the surveys under way can be waited for, and events can be put in."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.surveys: set[asyncio.Future[Survey]] = set()
        self.count = 0
        self.extra: list[Event] = []

    def survey(self, spec: Spec) -> asyncio.Future[Survey]:
        self.count += 1
        future = super().survey(spec)
        self.surveys.add(future)
        future.add_done_callback(self.surveys.discard)
        return future

    def read(self) -> tuple[Event, ...]:
        extra, self.extra = self.extra, []
        return (*extra, *super().read())


class World:
    def __init__(self, root: Path, kernel: Callable[[], Inotify] = Inotify) -> None:
        self.root = root
        self.problems: list[str] = []
        self.beacon = Path(self.write("beacon/b", b""))
        self.files = OsFiles(root / "s", root / "k")
        self.listed = Listed()
        self.ears = Overheard(self.files._pool, kernel, self._known)
        self.trigger = FileWatch(asyncio.get_running_loop(), self, self.problems.append)
        self.requests: AsyncIterator[ReloadRequest] = self.trigger.requests()
        self.services: list[Spec] = []

    def _known(self, one: Spec) -> Listed:
        return self.listed if one.included else Listed()

    def watcher(self) -> InputWatcher:
        return self.ears

    def write(self, name: str, data: bytes = b"x") -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    def remove(self, name: str) -> None:
        self.path(name).unlink()

    def path(self, name: str) -> Path:
        return self.root / name

    async def watch(self, services: Sequence[Spec]) -> None:
        self.trigger.set([*services, watched(spec(str(self.beacon), name="beacon"))])
        await self.said()

    async def web(self, *inputs: str) -> None:
        await self.watch([watched(spec(*(str(self.root / i) for i in inputs)))])

    async def hint(self) -> str:
        async with asyncio.timeout(5):
            return (await anext(self.requests)).service

    async def said(self) -> set[str]:
        """Until the beacon, touched now, is hinted at, and no survey that may say more is under way."""
        found = set()
        while True:
            os.utime(self.beacon)
            while (name := await self.hint()) != "beacon":
                found.add(name)
            while self.ears.surveys:
                await asyncio.wait(self.ears.surveys)
            if not self.trigger._hints:
                return found

    async def closed(self) -> bool:
        self.trigger.close()
        return [r async for r in self.requests] == []


def play(tmp_path: Path, story: Story, kernel: Callable[[], Inotify] = Inotify) -> World:
    async def run() -> World:
        world = World(tmp_path, kernel)
        try:
            await story(world)
        finally:
            world.trigger.close()
            if world.ears.surveys:
                await asyncio.wait(world.ears.surveys)
            world.files.close()
        return world

    return asyncio.run(run())


def test_the_contract(tmp_path: Path) -> None:
    play(tmp_path, lambda world: check_watch(lambda: world, watched))


def test_the_first_hint_says_that_nobody_was_listening_before(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.trigger.set([watched(spec(world.write("a"), name="one"))])
        before = asyncio.get_running_loop().time()
        request = await anext(world.requests)
        assert request.service == "one"
        assert before <= request.at <= asyncio.get_running_loop().time()

    play(tmp_path, story)


def test_in_place(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("d/a")
        await world.web("d/a")
        with world.path("d/a").open("wb") as file:
            assert await world.said() == {"web"}  # truncated
            surveys = world.ears.count
            file.write(b"slow")
            file.flush()
            assert await world.said() == {"web"}  # written, not closed
            assert world.ears.count == surveys + 1  # the beacon's
        assert await world.said() == {"web"}  # closed
        world.path("d/a").chmod(0o600)
        assert await world.said() == {"web"}

    play(tmp_path, story)


def test_a_hard_link_or_a_mounted_file_changes_elsewhere(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.path("d").mkdir()
        world.path("d/a").hardlink_to(world.write("elsewhere/a"))
        await world.web("d/a")
        world.write("elsewhere/a", b"2")
        assert await world.said() == {"web"}

    play(tmp_path, story)


def test_renamed_over_twice(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("d/a")
        await world.web("d/a")
        for _ in range(2):
            world.write("d/.new")
            assert await world.said() == set()
            world.path("d/.new").rename(world.path("d/a"))
            assert await world.said() == {"web"}
        world.path("d/a").rename(world.path("d/a~"))
        assert await world.said() == {"web"}
        world.write("d/a", b"")
        assert await world.said() == {"web"}

    play(tmp_path, story)


def test_deleted_and_recreated_with_its_parents(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("p/q/r/a")
        await world.web("p/q/r/a", "p/q/r/*.none")
        for _ in range(2):
            shutil.rmtree(world.path("p"))
            assert await world.said() == {"web"}
            assert await world.said() == set()
            world.path("p").mkdir()
            await world.said()
            world.path("p/q").mkdir()
            await world.said()
            world.path("p/q/r").mkdir()
            await world.said()
            world.write("p/q/r/a")
            assert await world.said() == {"web"}
            world.write("p/q/r/a", b"2")
            assert await world.said() == {"web"}
        shutil.rmtree(world.path("p"))
        world.write("p/q/r/a", b"3")
        assert await world.said() == {"web"}
        world.write("p/q/r/a", b"4")
        assert await world.said() == {"web"}

    play(tmp_path, story)


def test_a_directory_in_use_is_removed(tmp_path: Path) -> None:
    """Its own watch says nothing while a service has it as working directory."""

    async def story(world: World) -> None:
        world.write("p/a")
        await world.web("p/a")
        held = os.open(world.path("p"), os.O_RDONLY)
        try:
            world.path("p/a").unlink()
            assert await world.said() == {"web"}
            world.path("p").rmdir()
            assert await world.said() == {"web"}
            world.write("p/a")
            assert await world.said() == {"web"}
            world.write("p/a", b"2")
            assert await world.said() == {"web"}
        finally:
            os.close(held)

    play(tmp_path, story)


def test_a_whole_tree_is_exchanged_by_rename(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("app/current/conf/a", b"1")
        await world.web("app/current/conf/a")
        for n in range(2):
            world.write(f"app/next{n}/conf/a", b"2")
            assert await world.said() == set()
            world.path("app/current").rename(world.path(f"app/old{n}"))
            assert await world.said() == {"web"}
            world.path(f"app/next{n}").rename(world.path("app/current"))
            assert await world.said() == {"web"}
            world.write("app/current/conf/a", b"3")
            assert await world.said() == {"web"}
            world.write(f"app/old{n}/conf/a", b"3")
            assert await world.said() == set()

    play(tmp_path, story)


def test_links_are_exchanged_and_their_targets_written(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("releases/1/a")
        world.write("releases/2/a")
        world.path("current").symlink_to("releases/1")
        world.path("etc").mkdir()
        world.path("etc/a").symlink_to("../current/a")
        await world.web("etc/a")
        world.write("releases/1/a", b"2")
        assert await world.said() == {"web"}
        world.path("next").symlink_to("releases/2")
        world.path("next").rename(world.path("current"))
        assert await world.said() == {"web"}
        world.write("releases/1/a", b"3")
        assert await world.said() == set()
        world.write("releases/2/a", b"3")
        assert await world.said() == {"web"}

    play(tmp_path, story)


@pytest.mark.parametrize("inputs", [("cm/app.conf",), ("cm",), ("cm/*.conf",)])
def test_a_kubernetes_volume_is_swapped(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    """As pkg/volume/util/atomic_writer.go does: a new directory, a link to it renamed over ``..data``, the old removed."""

    async def story(world: World) -> None:
        world.write("cm/..2026_1/app.conf", b"1")
        world.path("cm/..data").symlink_to("..2026_1")
        world.path("cm/app.conf").symlink_to("..data/app.conf")
        await world.web(*inputs)
        for n in (2, 3):
            world.write(f"cm/..2026_{n}/app.conf", b"2")
            assert await world.said() == set()
            world.path("cm/..data_tmp").symlink_to(f"..2026_{n}")
            world.path("cm/..data_tmp").rename(world.path("cm/..data"))
            assert await world.said() == {"web"}
            shutil.rmtree(world.path(f"cm/..2026_{n - 1}"))
            await world.said()
            assert await world.said() == set()

    play(tmp_path, story)


def test_files_appear_where_a_wildcard_looks(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.web("conf.d/*.conf", "sites/**/*.site", "apps/*/app.toml")
        world.path("conf.d").mkdir()
        assert await world.said() == {"web"}
        world.write("conf.d/a.conf")
        assert await world.said() == {"web"}
        for name in ("a.conf~", ".a.conf.swp", "error.log", "b.conf.new"):
            world.write(f"conf.d/{name}")
        assert await world.said() == set()
        world.write("sites/a/b/c/x.site")
        assert await world.said() == {"web"}
        world.write("sites/a/b/c/y.site")
        assert await world.said() == {"web"}
        world.write("sites/a/b/c/y.log")
        assert await world.said() == set()
        world.write("apps/one/app.toml")
        assert await world.said() == {"web"}
        world.write("apps/one/app.toml", b"2")
        assert await world.said() == {"web"}
        world.write("apps/one/other.toml")
        assert await world.said() == set()

    play(tmp_path, story)


def test_beside_a_file_that_was_listed_every_name_that_comes_or_goes_matters(
    tmp_path: Path,
) -> None:
    """It is asked then what is included; a log that is written there is not worth a look, unless nobody can tell."""

    async def story(world: World) -> None:
        main, part = world.write("etc/main"), world.write("parts/a")
        log = Path(world.write("parts/log"))
        world.listed = Listed((main, part))
        web = watched(spec(main, included=Included(("x",), "(.)")))
        await world.watch([web])
        Path(part).write_bytes(b"2")
        assert await world.said() == {"web"}
        log.write_bytes(b"2")
        assert await world.said() == set()
        world.write("parts/b")
        assert await world.said() == {"web"}
        world.write("parts/b~")
        assert await world.said() == set()
        world.remove("parts/b")
        assert await world.said() == {"web"}
        world.remove("parts/a")
        assert await world.said() == {"web"}
        world.write("parts/a")
        assert await world.said() == {"web"}

        world.listed = Listed((main, part), "cannot be told")
        world.trigger.relisted("web")
        world.trigger.relisted("another")
        assert await world.said() == {"web"}, "what was written before it listened"
        log.write_bytes(b"3")
        assert await world.said() == {"web"}

    play(tmp_path, story)


def test_without_watches_the_rescan_finds_a_new_file_beside_one_that_was_listed(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        main = world.write("etc/main")
        world.listed = Listed((main,))
        web = watched(spec(main, included=Included(("x",), "(.)")), rescan=0.02)
        world.trigger.set([web])
        assert await world.hint() == "web"
        world.write("etc/new")
        assert await world.hint() == "web"

    play(tmp_path, story, refuses)


def test_a_directory_is_watched_as_it_grows(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("d/a")
        await world.web("d")
        world.write("d/new/deep/b")
        assert await world.said() == {"web"}
        world.write("d/new/deep/b", b"2")
        assert await world.said() == {"web"}
        world.write("d/new/deep/.b.swp", b"2")
        assert await world.said() == set()

    play(tmp_path, story)


def test_two_services_share_a_file_by_two_names(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("real/a")
        world.write("real/b")
        world.path("other").symlink_to("real")
        one = watched(spec(str(world.path("real/a")), name="one"))
        two = watched(spec(str(world.path("other/a")), str(world.path("other/b")), name="two"))
        await world.watch([one, two])
        world.write("real/a", b"2")
        assert await world.said() == {"one", "two"}
        world.write("real/b", b"2")
        assert await world.said() == {"two"}
        await world.watch([one])
        world.write("real/a", b"3")
        assert await world.said() == {"one"}

    play(tmp_path, story)


def test_lost_events_are_a_hint_for_everyone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        services = [watched(spec(world.write(n), name=n)) for n in ("one", "two")]
        await world.watch(services)
        world.ears.extra += parse(b"\xff\xff\xff\xff" + b"\0\x40\0\0" + bytes(8))
        assert await world.said() == {"one", "two"}

    play(tmp_path, story)


def test_events_are_parsed_with_their_padding() -> None:
    first = b"\1\0\0\0" + b"\2\0\0\0" + bytes(4) + b"\x10\0\0\0" + b"caf\xff".ljust(16, b"\0")
    second = b"\2\0\0\0" + b"\0\1\0\x40" + bytes(8)
    a, b = parse(first + second)
    assert (a.wd, a.name, a.content, a.is_dir) == (1, "caf\udcff", True, False)
    assert (b.wd, b.name, b.content, b.is_dir) == (2, "", False, True)


def test_watches_are_given_back(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.watch([])
        alone = watches(world)
        for n in range(20):
            world.write(f"d/{n}/a")
        await world.web("d")
        assert watches(world) >= alone + 20
        await world.watch([])
        assert watches(world) == alone
        await world.web("d")
        shutil.rmtree(world.path("d"))
        await world.said()
        await world.watch([])
        assert watches(world) == alone

    def watches(world: World) -> int:
        text = Path(f"/proc/self/fdinfo/{world.ears.fd}").read_text()
        return text.count("inotify wd:")

    play(tmp_path, story)


def refuses() -> Inotify:
    raise OSError(errno.EMFILE, "too many")


class Full(Inotify):
    """The limit of watches is reached."""

    def add(self, path: str, mask: Mask) -> int:
        raise OSError(errno.ENOSPC, "no space", path, mask)


@pytest.mark.parametrize(
    ("kernel", "limit"), [(refuses, "max_user_instances"), (Full, "max_user_watches")]
)
def test_without_watches_the_rescan_finds_it(
    tmp_path: Path, kernel: Callable[[], Inotify], limit: str
) -> None:
    async def story(world: World) -> None:
        path = world.write("d/a", b"1")
        world.trigger.set([watched(spec(path), rescan=0.01)])
        while not world.problems:
            await asyncio.wait(world.ears.surveys)
        world.write("d/a", b"22")
        assert await world.hint() == "web"
        world.remove("d/a")
        assert await world.hint() == "web"

    (problem,) = play(tmp_path, story, kernel).problems
    assert limit in problem
    assert "web" in problem


def test_the_rescan_is_silent_while_nothing_changes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.watch([watched(spec(world.write("d/a")), rescan=0.001)])
        surveys = world.ears.count
        while world.ears.count < surveys + 20:
            while world.ears.surveys:
                await asyncio.wait(world.ears.surveys)
            await asyncio.sleep(0.001)
        assert await world.said() == set()

    play(tmp_path, story)


def test_without_a_rescan_nothing_is_timed(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.web("a", "d/*")
        await asyncio.sleep(0.03)
        loop: Any = asyncio.get_running_loop()
        assert [t for t in loop._scheduled if not t.cancelled()] == []

    play(tmp_path, story)


def test_closing_in_the_middle_of_a_survey(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.trigger.set([watched(spec(world.write("a")))])
        assert await world.closed()
        await asyncio.wait(world.ears.surveys)
        await asyncio.sleep(0)
        assert world.ears.fd == -1

    play(tmp_path, story)


class Racing(Inotify):
    """A directory appears after the walk and before the watch."""

    def add(self, path: str, mask: Mask) -> int:
        if path.endswith("/d"):
            Path(path, "new").mkdir(exist_ok=True)
        return super().add(path, mask)


def test_what_appears_between_walk_and_watch_is_watched(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("d/a")
        await world.web("d")
        world.write("d/new/b")
        assert await world.said() == {"web"}

    play(tmp_path, story, Racing)


class Guarded(Inotify):
    """The directories that lead to the inputs may not be watched, nor the file; its directory may."""

    def add(self, path: str, mask: Mask) -> int:
        if not mask & Mask.CREATE:
            raise OSError(errno.EACCES, "denied", path, mask)
        return super().add(path, mask)


def test_a_closed_directory_on_the_way_is_no_problem(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.write("d/a")
        await world.web("d/*")
        world.write("d/a", b"2")
        assert await world.said() == {"web"}

    assert not [p for p in play(tmp_path, story, Guarded).problems if "/d" in p or "web" in p]


@dataclass
class Names:
    names: tuple[str, ...]

    def wants(self, name: str, *, is_dir: bool, **_: bool) -> bool:
        return name in self.names and not is_dir


class Scripted:
    """A watcher whose surveys end when the test says so."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        self.surveys: list[asyncio.Future[Survey]] = []
        self.events: list[Event] = []
        self.forgotten: list[int] = []

    def survey(self, _spec: Spec) -> asyncio.Future[Survey]:
        self.surveys.append(asyncio.get_running_loop().create_future())
        return self.surveys[-1]

    def happen(self, *events: Event) -> None:
        self.events += events
        os.write(self._write, b".")

    def end(self, *points: tuple[int, Any]) -> None:
        """End the oldest survey under way."""
        future = next(f for f in self.surveys if not f.done())
        future.set_result(Survey(points, b"same", ""))

    def read(self) -> tuple[Event, ...]:
        os.read(self.fd, 100)
        events, self.events = self.events, []
        return tuple(events)

    def forget(self, wd: int) -> None:
        self.forgotten.append(wd)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._write)

    def watcher(self) -> Any:
        return self


def script(story: Callable[[Scripted, FileWatch, Callable[[], Any]], Any]) -> None:
    async def run() -> None:
        scripted = Scripted()
        trigger = FileWatch(asyncio.get_running_loop(), scripted, print)
        requests = trigger.requests()

        async def hint() -> str:
            async with asyncio.timeout(5):
                return (await anext(requests)).service

        await story(scripted, trigger, hint)
        trigger.close()
        for future in scripted.surveys:
            future.cancel()
        await asyncio.sleep(0)

    asyncio.run(run())


A, B = Names(("a",)), Names(("a", "b"))
WRITTEN, CREATED = Event(1, Mask.MODIFY, "a"), Event(1, Mask.CREATE, "a")


@pytest.mark.parametrize("grown", [[(1, A), (2, A)], [(1, B)]])
def test_where_nobody_listened_something_may_have_happened(grown: list[Any]) -> None:
    async def story(kernel: Scripted, trigger: FileWatch, hint: Any) -> None:
        trigger.set([watched(spec(name="web"))])
        kernel.end((1, A))
        assert await hint() == "web"
        kernel.happen(CREATED)
        assert await hint() == "web"
        kernel.end(*grown)
        assert await hint() == "web"
        kernel.happen(CREATED)
        assert await hint() == "web"
        kernel.end(*grown)
        await asyncio.sleep(0)
        assert not trigger._hints  # the same as before

    script(story)


def test_what_happens_during_a_survey_is_followed_by_another() -> None:
    async def story(kernel: Scripted, trigger: FileWatch, hint: Any) -> None:
        trigger.set([watched(spec(name="web"))])
        kernel.end((1, A))
        assert await hint() == "web"
        kernel.happen(CREATED)
        assert await hint() == "web"
        assert len(kernel.surveys) == 2
        kernel.happen(CREATED)
        assert await hint() == "web"
        assert len(kernel.surveys) == 2
        kernel.end((1, A))
        await asyncio.sleep(0)
        assert len(kernel.surveys) == 3
        kernel.happen(Event(7, Mask.IGNORED, ""), WRITTEN)  # a watch this survey had just set
        assert await hint() == "web"
        kernel.end((1, A), (7, A))
        await asyncio.sleep(0)
        assert len(kernel.surveys) == 4

    script(story)


def test_no_watch_is_given_back_during_a_survey() -> None:
    async def story(kernel: Scripted, trigger: FileWatch, hint: Any) -> None:
        one, two = (watched(spec(name=n)) for n in ("one", "two"))
        trigger.set([one])
        kernel.end((1, A), (2, A))
        assert await hint() == "one"
        trigger.set([two])  # whose survey may have been told 2 already
        assert kernel.forgotten == []
        kernel.end((2, A))
        assert await hint() == "two"
        assert kernel.forgotten == [1]

    script(story)


def test_the_temporary_file_of_a_rename_does_not_hold_up_the_rename(tmp_path: Path) -> None:
    """Many other files do, for a moment: a log beside the inputs must not wake the agent for each line."""

    async def story(world: World) -> None:
        await world.web("etc/web.conf")
        for _ in range(5):
            world.write("etc/web.new")
            world.trigger._read()
        assert world.trigger._rest is None
        for _ in range(10):
            world.write("etc/web.new")
            world.trigger._read()
        assert world.trigger._rest is not None
        world.path("etc/web.new").rename(world.path("etc/web.conf"))
        assert await world.hint() == "web"

    play(tmp_path, story)
