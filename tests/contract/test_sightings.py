"""Who is known by what it shows, and who is a stranger all the same."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.core.found import Seen
from agentd.ports import Key
from agentd.system import groups, proctable, sightings
from agentd.system.marks import mark, proven
from agentd.system.sightings import Signs
from agentd.takeover import Marks

KEY = secrets.token_bytes(32)
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
SLEEPER = (sys.executable, "-I", "-S", "-c", "print('up', flush=True); input()")
CHILD_TOO = (
    *(sys.executable, "-I", "-S", "-c"),
    "import os\nif os.fork() == 0:\n    os.setsid()\n    print('up', flush=True)\ninput()\n",
)
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


def shown(name: str = "web", generation: int = 3, **more: str) -> dict[str, str]:
    """The environment of an instance."""
    said = mark(KEY, name, generation, "cookie")
    ours = {"AGENTD_SERVICE": name, "AGENTD_GENERATION": str(generation), "AGENTD_INSTANCE": said}
    return ours | more


@contextlib.contextmanager
def running(
    env: dict[str, str], command: tuple[str, ...] = SLEEPER, **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """It waits for a line, which never comes, and ends with its input."""
    how = {"start_new_session": True, "cwd": "/"} | how
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
        **how,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate()


def look(
    uid: int | None = None,
    *,
    key: bytes | None = KEY,
    base: str = "agentd-none",
    mount: Path | None = None,
) -> sightings.Sightings:
    user = os.getuid() if uid is None else uid
    return sightings.look(
        ("web",), lambda _: user if user >= 0 else None, Signs(BOOT, key, base, mount)
    )


def one(found: sightings.Sightings) -> Seen:
    (seen,) = found.seen
    return seen


def test_a_mark_is_of_one_key_one_service_and_one_generation() -> None:
    made = mark(KEY, "web", 3, "cookie")
    assert made.startswith("cookie.")
    assert proven(KEY, "web", 3, made)
    assert not any(
        (
            proven(b"another", "web", 3, made),
            proven(KEY, "db", 3, made),
            proven(KEY, "web", 4, made),
            proven(KEY, "web", 3, "cookie"),
            proven(KEY, "web", 3, ""),
            proven(KEY, "web", 3, f"x{made}"),
            proven(KEY, "web", 3, "é.ü"),
        )
    )


def test_without_a_key_of_our_own_the_cookie_is_all_there_is_and_that_is_said(
    tmp_path: Path,
) -> None:
    path, said = tmp_path / "host.key", list[str]()
    good = Marks(path, said.append)
    assert good.key is not None
    assert proven(good.key, "web", 3, good(Key("web", 3), "cookie"))
    assert said == []
    path.chmod(0o644)
    bad = Marks(path, said.append)
    assert (bad.key, bad(Key("web", 3), "cookie"), len(said)) == (None, "cookie", 1)


def test_who_has_a_mark_is_known_with_all_that_is_needed_to_take_it_over() -> None:
    env = shown(AGENTD_INSTANCE_NUMBER="2", AGENTD_TAKEOVERS="5")
    with running(env) as process:
        seen = one(look())
        s = proctable.stat(process.pid)
        assert s is not None
        assert process.stdout is not None
        assert (seen.service, seen.generation, seen.slot, seen.takeovers) == ("web", 3, 2, 5)
        known = seen.process
        assert (known.pid, known.started, known.boot) == (process.pid, s.started, BOOT)
        assert (known.cookie, known.session) == (env["AGENTD_INSTANCE"], 0)
        assert known.output == os.fstat(process.stdout.fileno()).st_ino
    assert look().seen == ()


@pytest.mark.parametrize(
    "env",
    [
        shown() | {"AGENTD_INSTANCE": "cookie"},
        shown() | {"AGENTD_GENERATION": "4"},
        shown() | {"AGENTD_GENERATION": "9" * 30},
        shown() | {"AGENTD_SERVICE": "db"},
        {"AGENTD_SERVICE": "web", "AGENTD_GENERATION": "3"},
    ],
)
def test_a_mark_that_does_not_fit_is_none(env: dict[str, str]) -> None:
    with running(env):
        assert look() == sightings.Sightings(())


def test_without_a_key_no_mark_counts() -> None:
    with running(shown()):
        assert look(key=None).seen == ()


def test_the_main_process_is_the_one_that_none_of_its_own_has_started() -> None:
    with running(shown(), CHILD_TOO) as process:
        assert one(look()).process.pid == process.pid


def test_of_two_of_whom_neither_started_the_other_the_older_one_counts() -> None:
    with running(shown()) as process, running(shown(), start_new_session=False):
        assert one(look()).process.pid == process.pid


def test_the_session_is_told_where_it_is_not_its_own() -> None:
    with running(shown(), start_new_session=False):
        assert one(look()).process.session == os.getsid(0)


def test_what_is_not_declared_is_seen_whoever_it_runs_as() -> None:
    with running(shown("old", 7)) as process:
        seen = one(look(-1))
        assert (seen.service, seen.generation, seen.process.pid) == ("old", 7, process.pid)


def test_one_of_another_user_is_a_stranger() -> None:
    with running(shown()) as process:
        found = look(os.getuid() + 1)
        assert found.seen == ()
        assert found.refused[0].startswith(f"pid {process.pid} shows the mark of web")
        assert "that user is not known" in look(-1).refused[0]


@ROOT
def test_a_copied_mark_does_not_make_another_user_s_process_an_instance() -> None:
    shell = ("/bin/sh", "-c", "echo up; read line")  # which everybody may run
    with running(shown(), shell, user="nobody", group="nogroup", extra_groups=[]):
        found = look()
        assert (found.seen, len(found.refused)) == ((), 1)


@ROOT
def test_and_does_not_keep_the_real_one_from_being_found() -> None:
    shell = ("/bin/sh", "-c", "echo up; read line")
    with (
        running(shown(), shell, user="nobody", group="nogroup", extra_groups=[]),
        running(shown()) as process,
    ):
        assert one(look()).process.pid == process.pid


@pytest.fixture
def base() -> Iterator[Path]:
    """A group with a leaf of the third generation."""
    mount = groups.find_mount()
    if mount is None or os.getuid() != 0:
        pytest.skip("needs root and cgroup v2")
    path = mount / f"agentd-{secrets.token_hex(4)}"
    leaf = path / "web.3"
    try:
        leaf.mkdir(parents=True)
    except OSError:
        pytest.skip("no group can be made here")
    try:
        yield path
    finally:
        leaf.rmdir()
        path.rmdir()


def enter(pid: int, leaf: Path) -> None:
    (leaf / "cgroup.procs").write_text(f"{pid}\n")


def test_who_is_in_a_leaf_of_ours_is_known_without_a_word(base: Path) -> None:
    with running({}) as process:
        enter(process.pid, base / "web.3")
        seen = one(look(key=None, base=base.name, mount=base.parent))
        assert (seen.service, seen.generation, seen.slot) == ("web", 3, None)
        assert seen.process.pid == process.pid
        assert len(seen.process.cookie) > 16  # nobody else's empty mark must be equal to it
        assert look(key=None, base="agentd-other", mount=base.parent).seen == ()


def test_a_group_of_the_same_name_that_somebody_else_has_made_is_not_ours(base: Path) -> None:
    with running({}) as process:
        enter(process.pid, base / "web.3")
        os.chown(base / "web.3", 65534, 65534)
        assert look(key=None, base=base.name, mount=base.parent) == sightings.Sightings(())


def test_who_copied_a_mark_does_not_take_the_place_of_one_in_the_leaf(base: Path) -> None:
    with running(shown()), running(shown()) as process:
        enter(process.pid, base / "web.3")
        assert one(look(base=base.name, mount=base.parent)).process.pid == process.pid
