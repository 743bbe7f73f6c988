"""Several instances of one service: started in turn, reloaded and replaced in turn, under load and over the agent's death."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from apps_run import PLAIN, Told, get
from host import HERE, Host, free_port, host, load, until

TELLING = (sys.executable, str(HERE / "apps" / "telling.py"))
RATE = 400


def plain(port: int, instances: int = 3) -> str:
    return f"""[service.app]
command = {json.dumps(PLAIN)}
instances = {instances}
env = {{ APP_FILE = "@DIR@/app.json" }}
inputs = ["@DIR@/app.json"]
sockets = [{{ name = "http", listen = "127.0.0.1:{port}" }}]
ready = "notify"
stop_timeout = "2s"
drain_timeout = "300ms"
backoff = {{ first = "1s" }}
[service.app.reload]
handle = "replace"
"""


def telling() -> str:
    return f"""[service.app]
command = {json.dumps(TELLING)}
instances = 3
env = {{ APP_FILE = "@DIR@/app.json" }}
inputs = ["@DIR@/app.json"]
ready = "notify"
[service.app.reload]
handle = "signal"
confirm = ["notify"]
signal_handled = true
timeout = "5s"
"""


def serving(running: Host, count: int = 3) -> Any:
    """The instances, when so many are there and nothing beside them."""

    def look() -> Any:
        found = running.service("app")
        there = found["instances"]
        whole = found["phase"] == "ready" and len(there) == count == found["ready_instances"]
        return whole and there

    return until(look, f"{count} instances serve")


def number(pid: int) -> str:
    env = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(one.split(b"=", 1) for one in env if b"=" in one)[
        b"AGENTD_INSTANCE_NUMBER"
    ].decode()


def who(port: int, count: int = 200) -> Counter[str]:
    return Counter(get(port, "/pid") for _ in range(count))


def test_a_replacement_of_three_loses_nothing(tmp_path: Path) -> None:
    port, told = free_port(), Told(tmp_path)
    with host(tmp_path, plain(port)) as running:
        before = serving(running)
        assert [number(i["pid"]) for i in before] == ["0", "1", "2"]
        shares = who(port)
        assert set(shares) == {str(i["pid"]) for i in before}, shares
        assert min(shares.values()) > 20
        with load(port, RATE, "--keep", "10", "--pause", "50") as counts:
            for version in (2, 3):
                told(version=version)
                code, document = running.ctl("reload", "app")
                assert (code, document["verdict"]) == (0, "applied"), document
                assert [i["outcome"] for i in document["instances"]] == ["taken"] * 3
        print(counts)
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})
        assert counts["rate"] >= RATE * 0.9
        after = serving(running)
        assert [i["instance"] for i in after] == [0, 1, 2]
        assert [number(i["pid"]) for i in after] == ["0", "1", "2"]
        assert not {i["pid"] for i in before} & {i["pid"] for i in after}
        assert set(who(port)) == {str(i["pid"]) for i in after}


def test_one_that_is_killed_is_left_out_until_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    Told(tmp_path)
    with host(tmp_path, plain(port)) as running:
        first, second, third = (i["pid"] for i in serving(running))
        os.kill(second, signal.SIGKILL)
        until(lambda: running.service("app")["ready_instances"] == 2, "one is gone")
        found = running.service("app")
        assert (found["phase"], found["why"]) == ("backoff", "instance 1 is backoff: SIGKILL")
        with load(port, RATE) as counts:
            assert set(who(port, 100)) == {str(first), str(third)}
            text = running.text("status").stdout
            assert "ready 2/3" in text, text
            assert running.ctl("status")[0] == 3
            back = serving(running)
        assert counts["bad"] == {}
        assert len(set(who(port))) == 3
        assert [i["generation"] for i in back] == [1, 4, 3]


def test_another_number_of_them_touches_only_the_difference(tmp_path: Path) -> None:
    port = free_port()
    Told(tmp_path)
    with host(tmp_path, plain(port, 2)) as running:
        first, second = (i["pid"] for i in serving(running, 2))
        running.define(plain(port, 3))
        _, planned = running.ctl("plan")
        assert planned["changes"][0]["keys"] == ["instances"], planned
        with load(port, RATE) as counts:
            assert running.ctl("apply")[0] == 0
            assert [i["pid"] for i in serving(running, 3)][:2] == [first, second]
            until(lambda: len(set(who(port, 50))) == 3, "the third has its share")
            running.define(plain(port, 1))
            assert running.ctl("apply")[0] == 0
            (left,) = serving(running, 1)
            assert left["pid"] == first
            assert set(who(port, 50)) == {str(first)}
        assert counts["bad"] == {}


def test_the_second_refuses_and_the_third_is_not_touched(tmp_path: Path) -> None:
    told = Told(tmp_path)
    good = [["RELOADING"], ["READY"]]
    told(say=good)
    with host(tmp_path, telling()) as running:
        pids = [i["pid"] for i in serving(running)]
        told(say=good, instances={"1": [["RELOADING"], ["READY", "ERRNO=22", "STATUS=bad line"]]})
        code, document = running.ctl("reload", "app")
        assert (code, document["verdict"], document["status"]) == (157, "partial", "partial")
        each = [(i["instance"], i["pid"], i["outcome"], i["error"]) for i in document["instances"]]
        assert each == [
            (0, pids[0], "taken", None),
            (1, pids[1], "not_taken", "contradicted"),
            (2, pids[2], "untouched", None),
        ]
        sentence = "instance 0 took it, instance 1 did not, instance 2 was not touched"
        assert document["message"].startswith(sentence), document["message"]
        assert running.service("app")["config"]["live"] is None
        _, shown = running.ctl("show", document["reload_id"])
        spans = shown["trace"]["spans"]
        turns = [s for s in spans if s["name"] == "reload.instance"]
        assert [s["attributes"]["reload.instance.number"] for s in turns] == [0, 1]
        assert [s["attributes"]["reload.instance.outcome"] for s in turns] == ["taken", "not_taken"]
        assert [s["status"] for s in turns] == ["unset", "error"]
        assert [s["resource"]["service.instance.id"] for s in turns] == [
            i["id"] for i in document["instances"][:2]
        ]
        assert [s["resource"]["process.pid"] for s in turns] == pids[:2]
        below = {s["span_id"]: s for s in spans}
        signals = [s for s in spans if s["name"] == "signal SIGHUP"]
        assert [below[below[s["parent_id"]]["parent_id"]] for s in signals] == turns
        assert turns[0]["end_ns"] <= turns[1]["start_ns"]
        root = spans[0]["attributes"]
        counted = [root[f"reload.instances.{word}"] for word in ("total", "succeeded", "failed")]
        assert counted == [3, 1, 1]
        text = running.text("show", document["reload_id"]).stdout
        assert f"instance 1: not taken (contradicted), generation 2, pid {pids[1]}" in text, text
        assert f"instance 2: untouched, generation 3, pid {pids[2]}" in text
        told(say=good)
        assert running.ctl("reload", "app")[0] == 0
        assert running.service("app")["config"]["live"]


def test_what_the_second_refuses_is_put_back_in_all_of_them(tmp_path: Path) -> None:
    told = Told(tmp_path)
    good = [["RELOADING"], ["READY"]]
    told(say=good)
    definition = telling().replace(
        "[service.app.reload]", '[service.app.reload]\non_failure = "restore"'
    )
    with host(tmp_path, definition) as running:
        pids = [i["pid"] for i in serving(running)]
        before = running.service("app")["config"]["live"]
        text = (tmp_path / "app.json").read_text()
        told(say=good, instances={"1": [["RELOADING"], ["READY", "ERRNO=22", "STATUS=bad line"]]})
        code, document = running.ctl("reload", "app")
        assert (code, document["verdict"]) == (157, "partial")
        assert document["message"].endswith(" is put back by a reload of its own")

        def put_back() -> Any:
            newest = running.history("app")[0]
            return newest if newest["trigger"] == "rollback" and newest["verdict"] else None

        back = until(put_back, "the roll-back has ended")
        assert (back["verdict"], [i["outcome"] for i in back["instances"]]) == (
            "applied",
            ["taken"] * 3,
        )
        found = running.service("app")
        assert (found["config"]["live"], [i["pid"] for i in found["instances"]]) == (before, pids)
        assert found["quarantine"]["hash"] == document["hash_after"]
        assert (tmp_path / "app.json").read_text() == text


def test_the_agent_is_killed_in_the_middle_of_a_replacement_of_three(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance, pause = random.Random(seed), threading.Event()
    port, told = free_port(), Told(tmp_path)
    with host(tmp_path, plain(port)) as running:
        serving(running)
        with load(port, RATE, "--keep", "5", "--pause", "50") as counts:
            for version in range(2, 8):
                told(version=version)
                running.ctl("reload", "app", "--no-wait")
                pause.wait(chance.uniform(0.0, 1.0))
                running.kill()
                pause.wait(chance.uniform(0, 0.2))
                running.start()
                there = serving(running)
                until(lambda: all(r["verdict"] for r in running.history("app")), "a verdict")
                there = serving(running)
                assert [number(i["pid"]) for i in there] == ["0", "1", "2"]
        verdicts = Counter(r["verdict"] for r in running.history("app", 1000))
        print(verdicts, counts, running.log().count("the order of its"))
        assert (counts["bad"], counts["kept"]["bad"]) == ({}, {})
        assert set(who(port)) == {str(i["pid"]) for i in serving(running)}
