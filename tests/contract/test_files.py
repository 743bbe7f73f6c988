"""The real files adapter: consistent readings, what cannot be read, secrets, the store, versions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.manifest import Entry, Manifest, Missing, changes
from agentd.core.spec import AttributeKey, ProcessSpec, Spec, VersionKey
from agentd.ports import AdapterError
from agentd.system.files import OsFiles
from agentd.system.gitversion import repository
from agentd.system.hashing import Moved, Stamp, canonical, chunks
from agentd.system.inotify import Inotify
from agentd.system.snapshots import Snapshots, Spool
from tests.contract.checks_files import check_files, spec, taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class World:
    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.inputs = root / "etc"
        self.inputs.mkdir(exist_ok=True)
        self.files = OsFiles(root / "state/snapshots", root / "state/host.key", **options)

    def write(self, name: str, data: bytes = b"x") -> str:
        path = self.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    def remove(self, name: str) -> None:
        (self.inputs / name).unlink()

    def manifest(self, one: Spec, *, keep: bool = True) -> Manifest:
        return asyncio.run(taken(self, one, keep=keep))

    def missing(self, one: Spec) -> Missing:
        found = asyncio.run(self.files.snapshot(one, keep=True))
        assert isinstance(found, Missing)
        return found

    def names(self, *inputs: str) -> list[str]:
        found = self.manifest(spec(*(f"{self.inputs}/{i}" for i in inputs)), keep=False)
        return [e.path.removeprefix(f"{self.inputs}/") for e in found.entries]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.files.close()


def test_the_contract(world: World) -> None:
    asyncio.run(check_files(lambda: world))


ENTRIES = st.lists(
    st.builds(
        Entry,
        st.binary(min_size=1).map(os.fsdecode),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.integers(0),
    ),
    unique_by=lambda e: e.path,
)


@given(ENTRIES, ENTRIES)
def test_the_hash_is_equal_exactly_when_paths_and_digests_are(
    a: list[Entry], b: list[Entry]
) -> None:
    assert canonical(a) == canonical(a[::-1])
    same = {(e.path, e.hash) for e in a} == {(e.path, e.hash) for e in b}
    assert (canonical(a) == canonical(b)) == same


def test_the_canonical_form_never_changes() -> None:
    """Hashes are stored and compared over releases."""
    assert canonical(()) == (
        "sha256:e49d2b8566b517fc98365a023a933cf6a8041c756eff6ec84f5861352f69a040"
    )
    assert canonical([Entry("/a", "00" * 32, 0)]) == (
        "sha256:24bdd24b590c24138eaca026b16c74286068098c8d68e5793922ae9b8cc8e040"
    )


def test_globs_match_as_in_a_shell(world: World) -> None:
    for name in ("b.conf", "a.conf", ".hidden.conf", "d/c.conf", "d/e/f.conf", ".g/h.conf", "z"):
        world.write(name)
    (world.inputs / "dir.conf").mkdir()
    assert world.names("*.conf") == ["a.conf", "b.conf"]
    assert world.names("[ab].conf", "a.conf") == ["a.conf", "b.conf"]
    assert world.names("**/*.conf") == ["a.conf", "b.conf", "d/c.conf", "d/e/f.conf"]
    assert world.names("*/c.conf") == ["d/c.conf"]
    assert world.names(".*.conf") == [".hidden.conf"]
    assert world.names("d/**") == ["d/c.conf", "d/e/f.conf"]
    assert world.names("none/*.conf", "*.none") == []


def test_a_directory_is_every_file_below_it_but_junk(world: World) -> None:
    junk = ("a.conf~", ".a.conf.swp", "#a.conf#", ".git/HEAD", "4913", "..2026/a")
    for name in ("a.conf", "b/c", ".env", *junk):
        world.write(f"d/{name}")
    (world.inputs / "d/b/up").symlink_to(world.inputs / "d")
    assert world.names("d") == ["d/.env", "d/a.conf", "d/b/c"]


def test_the_names_of_a_kubernetes_volume_outlive_a_swap(world: World) -> None:
    one = spec(f"{world.inputs}/cm")
    world.write("cm/..v1/app.conf", b"1")
    world.write("cm/..v2/app.conf", b"1")
    data = world.inputs / "cm/..data"
    data.symlink_to("..v1")
    (world.inputs / "cm/app.conf").symlink_to("..data/app.conf")
    first = world.manifest(one)
    (world.inputs / "cm/new").symlink_to("..v2")
    (world.inputs / "cm/new").rename(data)
    assert world.manifest(one).hash == first.hash
    world.write("cm/..v2/app.conf", b"2")
    assert changes(first, world.manifest(one))[0].path == f"{world.inputs}/cm/app.conf"


def test_env_files_are_inputs(world: World) -> None:
    env = world.write("env", b"A=1")
    one = Spec("web", ProcessSpec(("true",), env_file=(env,)))
    assert [e.path for e in world.manifest(one).entries] == [env]


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "error_type", "words"),
    [
        (Path.exists, "missing_input", "it does not exist"),
        (lambda p: p.symlink_to("nowhere"), "missing_input", "symbolic link"),
        (lambda p: p.symlink_to(p), "unreadable_input", "symbolic links"),
        (fifo, "unreadable_input", "a FIFO"),
        (lambda p: p.symlink_to("/dev/null"), "unreadable_input", "a device"),
        (lambda p: p.write_bytes(b"x" * 101), "oversized_input", "101 bytes"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, make: Callable[[Path], None], error_type: str, words: str
) -> None:
    world = World(tmp_path, file_limit=100)
    path = world.inputs / "input"
    make(path)
    found = world.missing(spec(str(path)))
    assert found.error_type == error_type
    assert str(path) in found.message
    assert words in found.message
    assert not [*tmp_path.glob("state/**/new-*")]


def test_the_inputs_together_have_a_limit(tmp_path: Path) -> None:
    world = World(tmp_path, total_limit=10)
    for name in "ab":
        world.write(name, b"123456")
    assert world.missing(spec(f"{world.inputs}/*")).error_type == "oversized_input"


def test_names_that_are_not_utf8_are_hashed_and_shown_escaped(world: World) -> None:
    bad = os.fsdecode(os.fsencode(world.inputs) + b"/a\xff.conf")
    assert "a\\xff.conf" in world.missing(spec(bad)).message
    Path(bad).write_bytes(b"1")
    first = world.manifest(spec(f"{world.inputs}/*"))
    assert first.entries[0].path == bad
    assert world.files.snapshots.load(first.hash) == first


class Meddling(Snapshots):
    """Somebody writes to a file as often as it is about to be read."""

    def __init__(self, root: Path, target: Path, times: int) -> None:
        super().__init__(root)
        self.target, self.times, self.spools = target, times, 0

    def spool(self) -> Spool:
        self.spools += 1
        if self.times:
            self.times -= 1
            with self.target.open("ab") as file:
                file.write(b"+")
        return super().spool()


@pytest.mark.parametrize("which", ["itself", "another"])
def test_a_file_that_moves_is_read_again(world: World, tmp_path: Path, which: str) -> None:
    """``another`` was read already when it changes: only the last look at all stamps sees it."""
    a, b = world.write("a"), world.write("b")
    target = Path(b if which == "itself" else a)
    store = Meddling(tmp_path / "s", target, 0)
    world.files.snapshots = store
    world.manifest(spec(a))  # a is known; what follows reads b after it
    store.times = 2
    found = world.manifest(spec(a, b))
    assert target.stat().st_size == 3
    assert {e.path: e.size for e in found.entries}[str(target)] == 3


def test_a_file_that_never_rests_is_unstable(world: World, tmp_path: Path) -> None:
    a = world.write("a")
    world.files.snapshots = Meddling(tmp_path / "s", Path(a), 1000)
    found = world.missing(spec(a))
    assert found.error_type == "unstable_input"
    assert a in found.message
    assert not [*(tmp_path / "s").glob("manifests/*")]


def test_a_file_that_grows_shrinks_or_is_another_stops_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def stamp() -> Stamp:
        return Stamp.of(path.stat())

    path.write_bytes(b"x" * 600_000)
    reading = chunks(str(path), stamp(), lambda: False)
    assert len(next(reading)) == 256 * 1024
    path.write_bytes(b"x" * 300_000)
    with pytest.raises(Moved):
        list(reading)
    reading = chunks(str(path), stamp(), lambda: False)
    next(reading)
    with path.open("r+b") as file:  # the same length
        file.write(b"y")
    with pytest.raises(Moved):
        list(reading)
    stop = False
    reading = chunks(str(path), stamp(), lambda: stop)
    next(reading)
    stop = True
    assert [*reading] == []


class Opened:
    """Which files the kernel saw being opened."""

    def __init__(self, *paths: str) -> None:
        self.inotify = Inotify()
        self.paths = {self.inotify.add(path, 0x20): path for path in paths}  # type: ignore[arg-type]

    def now(self) -> list[str]:
        return sorted({self.paths[e.wd] for e in self.inotify.read()})


def settled(tmp_path: Path) -> World:
    """Everything was written ten seconds ago."""
    return World(tmp_path, wall_ns=lambda: time.time_ns() + 10_000_000_000)


def test_only_settled_files_are_not_read_again(world: World, tmp_path: Path) -> None:
    """A file written in the same tick of the clock as its stamp looks unchanged: what is fresh is read each time."""
    a, b = world.write("a"), world.write("b")
    opened = Opened(a, b)
    for one, again in ((world, [a, b]), (settled(tmp_path), [])):
        first = one.manifest(spec(a, b))
        assert opened.now() == [a, b]
        assert one.manifest(spec(a, b)) == first
        assert opened.now() == again
    Path(a).write_bytes(b"y")
    opened.now()
    assert changes(first, one.manifest(spec(a, b)))[0].path == a
    assert opened.now() == [a]
    Path(b).chmod(0o600)
    kept = one.files.snapshots.kept(one.manifest(spec(a, b)).hash)
    assert kept is not None
    assert kept[1].mode == 0o600
    opened.inotify.close()


def test_other_bytes_under_the_same_stamp_are_found_while_fresh(world: World) -> None:
    a, b = world.write("a", b"one"), world.write("b", b"two")
    wrong = world.manifest(spec(b)).entries[0]
    right = world.manifest(spec(a))
    last = world.files._last["web"]
    read = last.files[a]._replace(entry=wrong)  # as if a had been "two" when it was read
    world.files._last["web"] = last._replace(files={a: read})
    (world.root / "state/snapshots/objects" / right.entries[0].hash[:2]).rename(
        tmp := world.root / "x"
    )
    assert world.manifest(spec(a)) == right
    assert tmp.exists()
    assert world.files.snapshots.read(right.entries[0]) == b"one"


def test_a_snapshot_can_be_read_back(world: World) -> None:
    a = world.write("a", b"one")
    Path(a).chmod(0o640)
    first = world.manifest(spec(a))
    Path(a).write_bytes(b"two")
    store = world.files.snapshots
    assert store.load(first.hash) == first
    assert store.read(first.entries[0]) == b"one"
    kept = store.kept(first.hash)
    assert kept is not None
    assert (kept[0].mode, kept[0].uid, kept[0].stored) == (0o640, os.geteuid(), True)
    state = world.root / "state/snapshots"
    assert {p.stat().st_mode & 0o777 for p in state.rglob("*") if p.is_dir()} == {0o700}
    assert {p.stat().st_mode & 0o777 for p in state.rglob("*") if p.is_file()} == {0o600}


def test_a_damaged_object_is_noticed_and_stored_again(world: World) -> None:
    a = world.write("a", b"one")
    first = world.manifest(spec(a))
    store = world.files.snapshots
    (stored,) = (world.root / "state/snapshots/objects").rglob("*/*")
    stored.write_bytes(b"eno")
    with pytest.raises(AdapterError, match="damaged"):
        store.read(first.entries[0])
    with pytest.raises(AdapterError, match="never kept"):
        store.read(first.entries[0])
    assert world.manifest(spec(a)) == first
    assert store.read(first.entries[0]) == b"one"
    (manifest,) = (world.root / "state/snapshots/manifests").iterdir()
    manifest.write_bytes(manifest.read_bytes()[:-3])
    assert store.load(first.hash) is None


def test_pruning_keeps_what_is_named_and_what_is_young(world: World) -> None:
    a = world.write("a", b"one")
    first = world.manifest(spec(a))
    Path(a).write_bytes(b"two")
    second = world.manifest(spec(a))
    store = world.files.snapshots
    assert store.prune(set()) == 0
    (world.root / f"state/snapshots/manifests/{second.hash[7:]}.json").unlink()
    assert store.prune(set()) == 0  # its manifest may still come
    assert world.manifest(spec(a)) == second
    for path in (world.root / "state").rglob("*"):
        os.utime(path, (0, 0))
    assert store.prune({first.hash}) == 2
    assert store.read(first.entries[0]) == b"one"
    assert store.load(second.hash) is None
    with pytest.raises(AdapterError):
        store.read(second.entries[0])


def test_nothing_is_kept_unless_asked_and_allowed(world: World) -> None:
    a = world.write("a")
    world.manifest(spec(a), keep=False)
    world.manifest(spec(a, snapshot=False))
    assert not (world.root / "state").exists()
    first = world.manifest(spec(a))
    assert world.files.snapshots.load(first.hash) == first


def test_a_store_that_cannot_be_written_is_the_adapters_error(world: World) -> None:
    a = world.write("a")
    (world.root / "state").write_bytes(b"in the way")
    with pytest.raises(AdapterError, match="cannot keep a snapshot"):
        world.manifest(spec(a))


def test_secrets_are_keyed_and_never_kept(world: World, tmp_path: Path) -> None:
    key = world.write("key.pem", b"hunter2")
    (world.inputs / "link.pem").symlink_to("key.pem")
    plain = world.manifest(spec(key, name="plain"), keep=False)
    one = spec(f"{world.inputs}/link.pem", secret=(f"{world.inputs}/key.*",))
    found = world.manifest(one)
    assert [Path(e.path).name for e in found.entries] == ["key.pem", "link.pem"]
    assert plain.entries[0].hash not in {e.hash for e in found.entries}
    kept = [p.read_bytes() for p in (tmp_path / "state/snapshots").rglob("*") if p.is_file()]
    assert not [data for data in kept if b"hunter2" in data]
    host_key = tmp_path / "state/host.key"
    assert len(host_key.read_bytes()) == 32
    assert host_key.stat().st_mode & 0o777 == 0o600
    assert World(tmp_path).manifest(one) == found
    host_key.write_bytes(bytes(32))
    assert World(tmp_path).manifest(one) != found
    host_key.chmod(0o644)
    with pytest.raises(AdapterError, match="chmod 600"):
        World(tmp_path).manifest(one)


def test_a_file_that_becomes_secret_is_read_anew(world: World) -> None:
    key = world.write("key.pem", b"hunter2")
    later = settled(world.root)
    before = later.manifest(spec(key))
    assert later.manifest(spec(key, secret=(key,))).hash != before.hash


@pytest.mark.parametrize(
    ("name", "text", "path", "version"),
    [
        ("r.json", '{"a": [{"b": "v1.2"}]}', "a[0].b", "v1.2"),
        ("r.toml", "a.b = 7", "a.b", "7"),
        ("r.yaml", "a: [b, {c: 2026-11}]", "a[1].c", "2026-11"),
        ("r.yml", "a: !!python/name:os.system", "a", None),
        ("r.json", '{"a": 1}', "b", None),
        ("r.json", '{"a": [1]}', "a[1]", None),
        ("r.json", '{"a": "two\\nlines"}', "a", None),
        ("r.json", "{", "a", None),
    ],
)
def test_a_version_can_be_a_key_of_a_file(
    world: World, name: str, text: str, path: str, version: str | None
) -> None:
    file = world.write(name, text.encode())
    found = world.manifest(spec(file, version=VersionKey(file, path)))
    assert found.version == (version or found.hash[7:19])


MODEL = "model_list[?model_name=='fast'].litellm_params.model | [0]"
YAML = b"""
model_list:
- {model_name: slow, litellm_params: {model: openai/large}}
- {model_name: fast, litellm_params: {model: openai/small-1}}
limits: {rpm: 60, on: true}
"""


def test_attributes_are_read_from_the_bytes_that_are_hashed(world: World) -> None:
    file, other = world.write("c.yaml", YAML), world.write("plain")
    keys = (
        AttributeKey("model.version", file, MODEL),
        AttributeKey("limits.rpm", file, "limits.rpm"),
        AttributeKey("limits.on", file, "limits.on"),  # neither a string nor a number
        AttributeKey("not.there", file, "nothing"),
        AttributeKey("no.input", "/etc/passwd", "root"),
    )
    one = spec(file, other, attributes=keys)
    assert world.manifest(one).attributes == (
        ("model.version", "openai/small-1"),
        ("limits.rpm", "60"),
    )
    world.write("c.yaml", YAML.replace(b"small-1", b"small-2"))
    assert dict(world.manifest(one).attributes)["model.version"] == "openai/small-2"
    world.write("c.yaml", b"[")
    assert world.manifest(one).attributes == ()


def test_a_definition_that_asks_for_more_is_answered_from_files_that_did_not_change(
    world: World,
) -> None:
    file = world.write("c.toml", b"a.b = 'x'")
    os.utime(file, (1e9, 1e9))
    assert world.manifest(spec(file)).attributes == ()
    one = spec(file, attributes=(AttributeKey("a.b", file, "a.b"),))
    assert world.manifest(one).attributes == (("a.b", "x"),)


def test_a_document_of_aliases_of_aliases_costs_nothing(world: World) -> None:
    rows = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    file = world.write("bomb.yaml", f"a0: &a0 x\n{rows}name: fine\n".encode())
    one = spec(file, attributes=(AttributeKey("x.name", file, "name"),))
    assert world.manifest(one).attributes == (("x.name", "fine"),)


def git(*argv: str, cwd: Path) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    return subprocess.run(
        ["git", *who, *argv], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_version_is_the_commit_when_all_inputs_are_clean(world: World, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    a, b = world.write("a", b"1"), world.write("b", b"1")
    git("init", "-q", cwd=world.inputs)
    git("config", "core.fsmonitor", f"touch {ran}; false", cwd=world.inputs)
    one = spec(a, b)

    def named() -> str:
        found = world.manifest(one)
        assert asyncio.run(world.files.version(one, found)) == found.version
        return "hash" if found.version == found.hash[7:19] else found.version

    assert named() == "hash"
    git("-c", "core.fsmonitor=false", "add", "a", cwd=world.inputs)
    git("-c", "core.fsmonitor=false", "commit", "-qm", "a", cwd=world.inputs)
    assert named() == "hash"  # b is untracked
    git("-c", "core.fsmonitor=false", "add", "b", cwd=world.inputs)
    git("-c", "core.fsmonitor=false", "commit", "-qm", "b", cwd=world.inputs)
    assert named() == git("rev-parse", "HEAD", cwd=world.inputs)[:12]
    world.write("unrelated")
    assert named() == git("rev-parse", "HEAD", cwd=world.inputs)[:12]
    world.write("a", b"2")
    assert named() == "hash"
    git("-c", "core.fsmonitor=false", "commit", "-qam", "a2", cwd=world.inputs)
    assert named() == git("rev-parse", "HEAD", cwd=world.inputs)[:12]
    assert not ran.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to somebody else")
def test_a_strangers_repository_is_not_asked(world: World) -> None:
    a = world.write("a")
    git("init", "-q", cwd=world.inputs)
    git("add", "a", cwd=world.inputs)
    git("commit", "-qm", "a", cwd=world.inputs)
    os.chown(world.inputs / ".git", 12345, 12345)
    found = world.manifest(spec(a))
    assert found.version == found.hash[7:19]
    assert repository([a]) is None  # not even asked; git's own check is the second line
    os.chown(world.inputs / ".git", 0, 0)
    assert repository([a]) is not None


def test_a_cancelled_snapshot_stops_reading_and_leaves_nothing(
    world: World, tmp_path: Path
) -> None:
    a = world.write("a", b"x" * 3_000_000)
    started: list[asyncio.Event] = []
    ended: list[asyncio.Event] = []

    class Slow(Snapshots):
        """Cancelled in the middle of the first file."""

        def spool(self) -> Spool:
            spool = super().spool()
            loop.call_soon_threadsafe(started[0].set)
            asyncio.run_coroutine_threadsafe(ended[0].wait(), loop).result()
            return spool

    async def story() -> None:
        started.append(asyncio.Event())
        ended.append(asyncio.Event())
        task = asyncio.ensure_future(world.files.snapshot(spec(a), keep=True))
        await started[0].wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ended[0].set()
        await loop.run_in_executor(None, world.files._pool.shutdown)

    world.files.snapshots = Slow(tmp_path / "s")
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(story())
    assert [p for p in (tmp_path / "s").rglob("*") if p.is_file()] == []
