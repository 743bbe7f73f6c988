"""The agent dies around Envoy's hot restart, and no client notices: the next one takes over whatever epochs there are, and one is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import Host, clean_env, host, load, public_directory, until
from kit import Flaw, Place, Server
from known.envoy import Envoy, EnvoyHot
from seen import alive

KILLS = 6
LONGEST = 0.6
"""Seconds from asking for a reload to the agent's death, at most: a hot restart takes about a third of it."""


@pytest.fixture
def at() -> Iterator[Place]:
    if why := Envoy().missing():
        pytest.skip(why)
    with public_directory() as directory:
        place = Place(directory)
        with place.taken:
            yield place


def started(at: Place, server: Server) -> str:
    server.prepare(at)
    server.write(at, "word0")
    return server.definition(at)


def epochs(at: Place) -> dict[int, int]:
    """The pid and the parent of every Envoy of this place."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                parts = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # gone meanwhile
            of_ours = f"{at.dir}/envoy.json".encode() in words
            if of_ours and words[0].endswith(b"/envoy") and parts[0] not in "ZX":
                found[int(entry.name)] = int(parts[1])
    return found


def asked(running: Host) -> subprocess.Popen[bytes]:
    """A reload under way."""
    words = [sys.executable, "-m", "reloadctl", "--socket", str(running.socket), "reload", "web"]
    return subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_env()
    )


def one_is_left(running: Host, at: Place) -> None:
    """And it is the one that the agent knows, behind its shell."""
    until(lambda: len(running.service("web")["instances"]) == 1, "the old ones have ended")
    assert list(epochs(at).values()) == [running.pid("web")]


def test_kill_nine_at_random_moments_of_hot_restarts(at: Place) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance, pause, server = random.Random(seed), threading.Event(), EnvoyHot()
    with host(at.dir, started(at, server)) as running:
        running.ready("web")
        with load(at.port, 200, "--keep", "5", "--pause", "50") as counts:
            for number in range(1, KILLS + 1):
                server.write(at, f"word{number}")
                asker = asked(running)
                pause.wait(chance.uniform(0.0, LONGEST))
                running.kill()
                pause.wait(chance.uniform(0, 0.2))
                running.start()
                asker.wait(30)
                running.ready("web")
            server.write(at, "the last word")
            _, last = running.ctl("reload", "web")
            assert last["verdict"] == "applied", last
            until(lambda: server.get(at) == "the last word", "it serves what was applied")
            one_is_left(running, at)
        verdicts = [r["verdict"] for r in running.history("web")]
        print(verdicts, counts)
        # The next edit comes before some are over, which then cannot tell what was read, or go on as one with the next.
        assert set(verdicts) <= {"applied", "unverified", "cancelled"}
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})


def test_an_epoch_that_ended_the_former_one_while_no_agent_was_there_is_taken_over(
    at: Place,
) -> None:
    server = EnvoyHot()
    with host(at.dir, started(at, server)) as running:
        running.ready("web")
        (first,) = epochs(at)
        with load(at.port, 200) as counts:
            server.write(at, "word1")
            asker = asked(running)
            until(lambda: len(epochs(at)) == 2, "the next epoch is on its way")
            running.kill()
            until(lambda: first not in epochs(at), "it has ended the former one")
            (second,) = epochs(at)
            running.start()
            asker.wait(30)
            running.ready("web")
            assert server.get(at) == "word1"
        assert list(epochs(at)) == [second]
        assert [r["verdict"] for r in running.history("web")] == ["applied"]
        assert counts["bad"] == {}
        one_is_left(running, at)


def test_a_bad_epoch_that_failed_while_no_agent_was_there_is_refused(at: Place) -> None:
    server = EnvoyHot()
    with host(at.dir, started(at, server)) as running:
        running.ready("web")
        (first,) = epochs(at)
        with load(at.port, 200) as counts:
            server.write(at, "word1", Flaw.UNFOUND)
            asker = asked(running)
            until(lambda: len(epochs(at)) == 2, "the next epoch is on its way")
            running.kill()
            until(lambda: len(epochs(at)) == 1, "it has failed")
            running.start()
            asker.wait(30)
            verdicts = until(
                lambda: (found := running.history("web")) and found[0]["verdict"] and found,
                "it has a verdict",
            )
            assert [r["verdict"] for r in verdicts] == ["refused"]
            assert list(epochs(at)) == [first]
            server.write(at, "word2")
            assert running.ctl("reload", "web")[1]["verdict"] == "applied"
            until(lambda: server.get(at) == "word2", "it serves what was applied")
            one_is_left(running, at)
        assert counts["bad"] == {}


def test_without_hot_restart_envoy_outlives_the_agent(at: Place) -> None:
    server = Envoy()
    with host(at.dir, started(at, server)) as running:
        running.ready("web")
        pid = running.pid("web")
        running.kill()
        (epoch,) = epochs(at)
        assert epoch == pid
        threading.Event().wait(
            0.5
        )  # it would have been told by the kernel, and needs a moment to go
        assert alive(pid)
        assert server.get(at) == "word0"
        running.start()
        running.ready("web")
        assert running.pid("web") == pid
