"""Real nginx: reloaded by hand and by watch, a bad edit rejected, no request lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from host import Host, Nginx, host, load, until

WATCH = 'watch = { debounce = "50ms" }\n'


def spans(running: Host, ref: str) -> list[Any]:
    _, document = running.ctl("show", ref, "--otlp")
    return [s for r in document["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]]


def attributes(span: Any) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


def test_a_reload_by_hand_is_applied_with_evidence_and_one_subtree_of_spans(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        before = running.ready("web")
        nginx.serve("two")
        parent = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
        code, reload = running.ctl("reload", "web", "--reason", "a test", TRACEPARENT=parent)
        assert (code, reload["verdict"], reload["status"]) == (0, "applied", "success")
        assert (reload["confirmation"], reload["confirmation_grade"]) == ("workers", "observed")
        assert reload["trace_id"] == "ab" * 16
        assert reload["hash_before"] == before["config"]["live"] != reload["hash_after"]
        assert reload["changed"] == [{"path": str(nginx.conf), "change": "modified"}]
        assert nginx.get() == "two"
        after = running.service("web")
        assert after["config"]["live"] == after["config"]["on_disk"] == reload["hash_after"]
        assert after["config"]["in_sync"]
        assert running.pid("web") == before["instances"][0]["pid"]

        tree = spans(running, reload["reload_id"])
        root = next(s for s in tree if s["name"] == "reload web")
        assert root["parentSpanId"] == "cd" * 8
        assert {s["traceId"] for s in tree} == {"ab" * 16}
        ids = {s["spanId"] for s in tree}
        assert all(s["parentSpanId"] in ids for s in tree if s is not root)
        names = {s["name"] for s in tree}
        assert {"reload.snapshot", "reload.check", "reload.apply", "reload.confirm"} <= names
        assert {"reload.commit", "signal SIGHUP"} <= names
        said = attributes(root)
        assert said["config.hash"] == reload["hash_after"]
        assert said["config.previous_hash"] == reload["hash_before"]
        assert said["reload.event.type"] == "manual_api_call"
        assert said["reload.verdict"] == "applied"
        assert all(int(s["startTimeUnixNano"]) <= int(s["endTimeUnixNano"]) for s in tree)


def test_an_edit_under_watch_is_applied_and_a_syntax_error_touches_nothing(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition + WATCH) as running:
        running.ready("web")
        nginx.serve("two")
        until(lambda: nginx.get() == "two", "the edit is served")

        def last(verdict: str) -> Any:
            found = running.service("web")
            return found["last_reload"] and found["last_reload"]["verdict"] == verdict and found

        good = until(lambda: last("applied"), "the verdict")
        assert good["last_reload"]["trigger"] == "watch"
        nginx.serve("three", broken="nonsense on;")
        bad = until(lambda: last("rejected"), "the bad edit is rejected")
        assert bad["config"]["live"] == good["config"]["live"]
        assert not bad["config"]["in_sync"]
        assert bad["quarantine"]["hash"] == bad["config"]["on_disk"]
        assert nginx.get() == "two"
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (150, "rejected", "check_failed")
        assert any("nonsense" in line for line in reload["output"])
        (tmp_path / "conf.d" / "extra.conf").write_text("# an include\n")
        nginx.serve("four")
        until(lambda: nginx.get() == "four", "the mended file is served")
        names = [s["name"] for s in spans(running, bad["last_reload"]["reload_id"])]
        assert "signal SIGHUP" not in names


def test_a_reload_behind_the_agents_back_is_noticed(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        assert running.ready("web")["config"]["in_sync"]
        nginx.serve("two")
        os.kill(running.pid("web"), signal.SIGHUP)
        until(lambda: running.service("web")["config"]["live"] is None, "live is not known")
        log = running.log()
        assert "reloaded behind the agent's back: its workers are new ones" in log
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["hash_before"]) == (0, "applied", None)
        assert running.service("web")["config"]["in_sync"]
        assert log.count("behind") == 1


def test_touching_without_changing_is_counted_and_not_traced(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition + WATCH) as running:
        running.ready("web")
        events = running.socket  # the journal is followed over the socket
        assert events.exists()
        nginx.serve("one")
        nginx.serve("one")
        nginx.serve("two")
        until(lambda: nginx.get() == "two", "the real change is served")
        nginx.serve("two")
        code, _ = running.ctl("reload", "web", "--if-changed")
        assert code == 0
        kinds = [(r["trigger"], r["verdict"]) for r in running.history("web")]
        assert kinds.count(("watch", "applied")) == 1
        assert ("watch", "unchanged") not in kinds


def test_fifty_reloads_under_five_hundred_new_connections_a_second_lose_none(
    tmp_path: Path,
) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        running.ready("web")
        with load(nginx.port, 600) as counts:
            for number in range(50):
                nginx.serve(f"body {number}")
                code, reload = running.ctl("reload", "web")
                assert (code, reload["verdict"]) == (0, "applied"), json.dumps(reload)
        assert counts["bad"] == {}
        assert counts["rate"] >= 500
        assert len(counts["bodies"]) > 40
