"""The agent is killed with -9 at random moments of a busy life: nobody else may notice."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from host import HERE, Host, Nginx, clean_env, host, load, until

CHATTER = f"""
[service.chatter]
command = ["{sys.executable}", "{HERE}/chatter.py", "10000"]
ready = {{ after = "0s" }}
logs = {{ size = "4M", keep = 100 }}
"""
KILLS = 20


def captured(running: Host) -> list[int]:
    """The line numbers in the captured output, in the order of the files; a torn line fails here."""
    logs = running.dir / "state" / "logs"
    old = [p for p in logs.glob("chatter.log.*") if p.suffix[1:].isdigit()]
    old.sort(key=lambda p: -int(p.suffix[1:]))
    text = "".join(p.read_text() for p in [*old, logs / "chatter.log"])
    lines = text.split("\n")
    whole = re.compile(r"line (\d{9}) of a service that talks a lot")
    found = [whole.fullmatch(line) for line in lines[:-1]]
    assert all(found), next(line for line, ok in zip(lines, found, strict=False) if not ok)
    return [int(match[1]) for match in found if match]


def reload_until_told(running: Host, stop: threading.Event, asked: list[Any]) -> None:
    """Reload again and again; while there is no agent the answer is 156."""
    while not stop.is_set():
        got = subprocess.run(
            [sys.executable, "-m", "reloadctl", "--socket", running.socket, "reload", "web"],
            capture_output=True,
            text=True,
            env=clean_env(),
            check=False,
        )
        assert "Traceback" not in got.stderr
        asked.append(got.returncode)


def test_kill_nine_at_twenty_random_moments(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    with host(tmp_path, nginx.definition + CHATTER) as running:
        running.ready("web")
        running.ready("chatter")
        pids = running.pid("web"), running.pid("chatter")
        stop, asked = threading.Event(), []
        asker = threading.Thread(target=reload_until_told, args=(running, stop, asked))
        with load(nginx.port, 500) as counts:
            asker.start()
            for _ in range(KILLS):
                stop.wait(chance.uniform(0.02, 0.5))
                running.kill()
                stop.wait(chance.uniform(0, 0.2))
                running.start()
            stop.set()
            asker.join(60)
        assert counts["bad"] == {}
        assert (running.pid("web"), running.pid("chatter")) == pids
        assert set(asked) <= {0, 156, 158}, sorted(set(asked))
        assert 0 in asked

        def all_ended() -> list[Any]:
            found = running.history("web", 1000)
            return found if all(r["verdict"] for r in found) else []

        history = until(all_ended, "every reload has a verdict")
        assert len({r["reload_id"] for r in history}) == len(history)
        reloads = [r for r in history if r["trigger"] != "start"]
        assert {r["trigger"] for r in reloads} == {"cli"}
        assert len(reloads) <= len(asked)  # nobody else asked
        for r in reloads:
            assert r["verdict"] == "applied" or r["error"] == "agent_interrupted", r
        running.ctl("stop", "chatter")
        numbers = captured(running)
        assert numbers == list(range(1, len(numbers) + 1))


def test_wants_holds_and_generations_outlive_the_agent(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    definition = nginx.definition + CHATTER
    with host(tmp_path, definition) as running:
        running.ready("web")
        running.ready("chatter")
        running.ctl("restart", "web")
        running.ctl("hold", "web", "--reason", "freeze")
        running.ctl("stop", "chatter")
        before = running.service("web")
        running.kill()
        running.start()
        after = running.service("web")
        assert after["instances"][0]["pid"] == before["instances"][0]["pid"]
        assert after["instances"][0]["generation"] == 2
        assert after["held"]
        assert after["config"] == before["config"]
        assert running.service("chatter")["phase"] == "down"
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (155, "held")


def test_a_service_that_died_while_no_agent_was_there_is_started_again(tmp_path: Path) -> None:
    """How it ended is known only where the kernel still tells; until then (two seconds at most) it counts as running."""
    definition = '[service.idle]\ncommand = ["sleep", "1000"]\nready = { after = "0s" }\n'
    with host(tmp_path, definition) as running:
        running.ready("idle")
        pid = running.pid("idle")
        running.kill()
        os.kill(pid, signal.SIGKILL)
        running.start()

        def again() -> Any:
            found = running.service("idle")
            return found["phase"] == "ready" and found["instances"][0]["generation"] == 2 and found

        assert until(again, "it is started again")["instances"][0]["pid"] != pid


def test_workers_left_behind_by_a_master_that_died_with_its_agent_are_ended_first(
    tmp_path: Path,
) -> None:
    """They hold the port: a new master beside them could not bind it."""
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        running.ready("web")
        master = running.pid("web")
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        assert children
        running.kill()
        os.kill(master, signal.SIGKILL)
        until(lambda: nginx.get() == "one", "the workers go on without their master")
        running.start()

        def again() -> Any:
            found = running.service("web")
            return found["phase"] == "ready" and found["instances"][0]["generation"] == 2

        until(again, "a new master is ready")
        assert nginx.get() == "one"
        assert not any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in children)


def _alive(pid: str) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
