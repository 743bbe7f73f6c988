"""The agent is killed with -9 in the middle of replaces under load: no connection, no generation and no verdict is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from apps_run import COMMANDS, HOME, Told, get
from host import Host, clean_env, free_port, host, load, until

KILLS = 12
RATE = 500
LONGEST = 0.7
"""Seconds from the request to the kill; a replace takes half of that."""

_APPS = str(HOME).encode()


def definition(app: str, port: int) -> str:
    # gunicorn says READY before it has a worker.
    ready = f'{{ http = "http://127.0.0.1:{port}/" }}' if app == "gunicorn" else '"notify"'
    return f"""[service.app]
command = {json.dumps(COMMANDS[app])}
env = {{ APP_FILE = "@DIR@/app.json" }}
inputs = ["@DIR@/app.json"]
sockets = [{{ name = "http", listen = "127.0.0.1:{port}" }}]
ready = {ready}
stop_timeout = "2s"
drain_timeout = "300ms"
[service.app.reload]
handle = "replace"
"""


class Census(threading.Thread):
    """Looks again and again which processes of the service there are, by generation; workers of a master are none."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self._mark = f"APP_FILE={directory}/app.json".encode()
        self._over = threading.Event()
        self.seen: dict[int, set[int]] = {}
        self.most = 0

    def run(self) -> None:
        while not self._over.wait(0.03):
            now = self.alive()
            self.most = max(self.most, len(now))
            for generation, pids in now.items():
                self.seen.setdefault(generation, set()).update(pids)

    def alive(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                try:
                    if _APPS not in Path(entry.path, "cmdline").read_bytes():
                        continue  # not one of ours: nothing else of it is looked at
                    env = Path(entry.path, "environ").read_bytes().split(b"\0")
                    parts = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # gone meanwhile
                if self._mark in env and parts[0] not in "ZX" and parts[3] == entry.name:
                    pairs = dict(one.split(b"=", 1) for one in env if b"=" in one)
                    found.setdefault(int(pairs[b"AGENTD_GENERATION"]), set()).add(int(entry.name))
        return found

    def end(self) -> None:
        self._over.set()
        self.join()


def asked(running: Host) -> subprocess.Popen[bytes]:
    """A reload under way."""
    words = [sys.executable, "-m", "reloadctl", "--socket", str(running.socket), "reload", "app"]
    return subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_env()
    )


def judged(running: Host) -> Counter[str]:
    """How many verdicts each reload has, by the records themselves."""
    path = running.dir / "state" / "journal.db"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found: Counter[str] = Counter()
    for (id_,) in db.execute("SELECT reload_id FROM record WHERE kind = 'Judged'"):
        found[id_] += 1
    db.close()
    return found


@pytest.mark.parametrize("app", COMMANDS)
def test_kill_nine_at_random_moments_of_replaces(app: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    port, told = free_port(), Told(tmp_path)
    with host(tmp_path, definition(app, port)) as running:
        running.ready("app")
        census, codes, pause = Census(tmp_path), [], threading.Event()
        census.start()
        with load(port, RATE, "--keep", "5", "--pause", "50") as counts:
            for number in range(2, KILLS + 2):
                told(version=number)
                asker = asked(running)
                pause.wait(chance.uniform(0.0, LONGEST))
                running.kill()
                pause.wait(chance.uniform(0, 0.2))
                running.start()
                codes.append(asker.wait(30))
                running.ready("app")
            history = until(lambda: ended(running), "every reload has a verdict")
            until(lambda: len(running.service("app")["instances"]) == 1, "the old ones have ended")
            served = get(port)
        census.end()
        verdicts = Counter(r["verdict"] for r in history)
        print(f"\n{app}: {codes} {verdicts}, at most {census.most} generations, {counts}")
        assert counts["bad"] == {}
        assert counts["kept"]["bad"] == {}
        assert counts["rate"] >= RATE * 0.9
        doubled = {g: pids for g, pids in census.seen.items() if len(pids) > 1}
        assert doubled == {}, "two processes of one generation"
        assert census.most <= 3
        (instance,) = running.service("app")["instances"]
        assert census.alive() == {instance["generation"]: {instance["pid"]}}, "one is not known"
        counted = judged(running)
        assert set(counted.values()) == {1}, counted
        assert set(counted) >= {r["reload_id"] for r in history}
        live = running.service("app")["config"]["live"]
        last = next(r for r in history if r["verdict"] == "applied")
        assert (live, served) == (last["hash_after"], str(KILLS + 1)), last


def ended(running: Host) -> Any:
    found = running.history("app", 1000)
    return found if all(r["verdict"] for r in found) else None
