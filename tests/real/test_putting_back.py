"""Going back on real files: by hand, because nobody confirmed, and what is not gone back to; giving up; the timer."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from host import Host, clean_env, host, until
from test_edges import is_loaded, last, loaded, replace, server, sh, up

NOBODY = 65534
NEVER = "confirm = [{ log = '^never' }]"


def newest(running: Host) -> Any:
    return running.history("web", 1)[0]


def reloaded(running: Host, *more: str) -> Any:
    code, reload = running.ctl("reload", "web", *more)
    assert (code, reload["verdict"]) == (0, "applied"), reload
    return reload


def owned(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return path.read_text(), stat.S_IMODE(found.st_mode), found.st_uid


# By hand.


def test_back_and_forth(tmp_path: Path) -> None:
    inputs = tmp_path / "conf"
    inputs.mkdir()
    a, b, c = (inputs / name for name in "abc")
    a.write_text("one")
    a.chmod(0o640)
    b.write_text("only before")
    if os.getuid() == 0:
        os.chown(a, NOBODY, NOBODY)
    first = [owned(path) for path in (a, b)]
    with host(tmp_path, server(tmp_path, "conf")) as running:
        up(running)
        replace(a, "two")
        (inputs / "a.new").unlink(missing_ok=True)
        a.chmod(0o600)
        b.unlink()
        c.write_text("only after")
        second = [owned(path) for path in (a, c)]
        before = reloaded(running)["version_before"]
        is_loaded(running, "two only after")

        code, reload = running.ctl("rollback", "web", "--reason", "errors")
        assert (code, reload["verdict"], reload["trigger"]) == (0, "applied", "rollback"), reload
        assert (reload["version_after"], reload["reason"]) == (before, "errors")
        assert {entry["change"] for entry in reload["changed"]} == {"modified", "added", "removed"}
        assert ([owned(path) for path in (a, b)], c.exists()) == (first, False)
        is_loaded(running, "one only before")
        assert f"inputs put back to {before}, 3 files" in running.log()

        code, reload = running.ctl("rollback", "web", "web^1")
        assert code == 0, reload
        assert ([owned(path) for path in (a, c)], b.exists()) == (second, False)
        is_loaded(running, "two only after")
        assert sorted(path.name for path in inputs.iterdir()) == ["a", "c"], (
            "nothing is left beside"
        )
        shown = running.text("show", "web").stdout
        assert "reload.restore" in shown


def two_versions(tmp_path: Path, path: Path, *more: str) -> Any:
    """A host with a service that has run "one" and now runs "two" from this file."""
    path.write_text("one")
    return host(tmp_path, server(tmp_path, "web.conf", *more))


def refused(running: Host, why: str, *ref: str) -> None:
    told = loaded(running)
    code, reload = running.ctl("rollback", "web", *ref)
    assert (code, reload["verdict"]) == (150, "rejected")
    assert why in reload["message"]
    assert loaded(running) == told, "it was touched all the same"


def test_what_a_symbolic_link_leads_to_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "web.conf").symlink_to(target)
    with two_versions(tmp_path, target) as running:
        up(running)
        target.write_text("two")
        reloaded(running)
        refused(running, f"cannot put back {tmp_path}/web.conf: it is a symbolic link")
        assert (target.read_text(), (tmp_path / "web.conf").is_symlink()) == ("two", True)


def test_a_secret_cannot_be_put_back(tmp_path: Path) -> None:
    conf, key = tmp_path / "web.conf", tmp_path / "key.pem"
    key.write_text("first key")
    with two_versions(tmp_path, conf, 'secret = ["@DIR@/key.pem"]') as running:
        up(running)
        conf.write_text("two")
        key.write_text("second key")
        reloaded(running)
        refused(running, f"{key} is secret")
        assert (conf.read_text(), key.read_text()) == ("two", "second key"), "half of it was done"


def test_what_is_unknown_or_not_kept(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    with two_versions(tmp_path, conf) as running:
        first = up(running)["config"]["live"]
        code, problem = running.ctl("rollback", "web")
        assert (code, "no former configuration" in problem["detail"]) == (5, True)
        conf.write_text("two")
        reloaded(running)
        code, problem = running.ctl("rollback", "web", "v7")
        assert (code, "no configuration or reload v7" in problem["detail"]) == (5, True)
        assert running.ctl("rollback", "nope")[0] == 5
        kept = running.dir / "state" / "snapshots" / "manifests" / f"{first[7:]}.json"
        kept.unlink()
        refused(running, f"configuration {first[7:19]} is not kept", first)
        assert running.ctl("rollback", "web")[0] == 5
        assert conf.read_text() == "two"


# On trial.


def on_trial(running: Host) -> Any:
    return running.service("web")["on_trial"]


def put_back(running: Host, conf: Path, version: str) -> None:
    """By itself, proven by the service, and told."""
    until(lambda: newest(running)["trigger"] == "rollback", "a roll-back was begun")
    assert last(running, "applied")["trigger"] == "rollback"
    is_loaded(running, "one")
    assert conf.read_text() == "one"
    found = running.service("web")
    assert (found["on_trial"], found["config"]["version"]) == (None, version)
    assert found["quarantine"]["reason"] == "not confirmed in time"
    assert newest(running)["reason"] == "not confirmed in time"


def test_it_goes_back_though_the_one_who_asked_was_killed(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    slow = sh("! grep -q two @DIR@/web.conf || sleep 0.5")
    with host(tmp_path, server(tmp_path, "web.conf", check=slow)) as running:
        version = up(running)["config"]["version"]
        conf.write_text("two")
        words = ("--socket", str(running.socket), "reload", "web", "--confirm-within", "2s")
        asking = subprocess.Popen(
            [sys.executable, "-m", "reloadctl", *words], env=clean_env(), stdout=subprocess.PIPE
        )
        until(lambda: running.service("web")["running"], "it has begun")
        asking.kill()
        assert asking.communicate()[0] == b"", "it had answered already"
        assert asking.returncode == -signal.SIGKILL
        trial = until(lambda: on_trial(running), "it is on trial")
        is_loaded(running, "two")
        assert trial["reload_id"] == newest(running)["reload_id"]
        put_back(running, conf, version)


def test_it_goes_back_though_the_agent_was_killed(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    with two_versions(tmp_path, conf) as running:
        version = up(running)["config"]["version"]
        conf.write_text("two")
        told = reloaded(running, "--confirm-within", "2s")
        assert told["on_trial"] == on_trial(running)
        running.kill()
        running.start()
        assert on_trial(running) == told["on_trial"], "the time does not begin anew"
        put_back(running, conf, version)
        running.kill()
        running.start()
        running.ready("web")
        assert (on_trial(running), conf.read_text()) == (None, "one")


def test_what_is_confirmed_stays(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    clock = server(tmp_path, "clock.conf", name="clock")
    (tmp_path / "clock.conf").write_text("tick")
    conf.write_text("one")
    with host(tmp_path, server(tmp_path, "web.conf") + clock) as running:
        up(running)
        conf.write_text("two")
        said = running.text("reload", "web", "--confirm-within", "1s").stdout.splitlines()
        id_ = newest(running)["reload_id"]
        assert said[-1].startswith("  put back at ")
        assert said[-1].endswith(f" UTC unless confirmed: reloadctl confirm {id_}")
        assert f"(reloadctl confirm {id_})" in running.text("status").stdout
        assert running.text("confirm", "web").stdout == f"web  confirmed  {id_}\n"
        assert on_trial(running) is None
        assert running.ctl("confirm", id_)[0] == 7
        running.ctl("hold", "clock", "--for", "1500ms")
        until(lambda: not running.service("clock")["held"], "its time would have been up")
        assert (newest(running)["reload_id"], conf.read_text()) == (id_, "two")
        assert loaded(running)[-1] == "two"


# Giving up.


def waited(running: Host, reload_id: str) -> tuple[int, str]:
    code, reload = running.ctl("wait", reload_id)
    return code, reload["verdict"]


def test_giving_up_what_waits_and_what_is_checked(tmp_path: Path) -> None:
    (tmp_path / "web.conf").write_text("one")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    check = sh("test -e @DIR@/open || read _ < @DIR@/gate")
    (tmp_path / "open").touch()
    with host(tmp_path, server(tmp_path, "web.conf", check=check, timeout="20s")) as running:
        up(running)
        (tmp_path / "open").unlink()
        first = running.ctl("reload", "web", "--no-wait")[1]["reload_id"]
        until(lambda: running.service("web")["running"] == first, "it is being checked")
        second = running.ctl("reload", "web", "--no-wait")[1]["reload_id"]
        assert running.service("web")["waiting"] == second
        assert running.text("cancel", second).stdout == f"web  cancelled  {second}\n"
        assert waited(running, second) == (159, "cancelled")
        assert running.service("web")["running"] == first
        assert running.ctl("cancel", first)[0] == 0
        assert waited(running, first) == (159, "cancelled")
        assert running.ctl("cancel", first)[0] == 7
        assert running.ctl("cancel", "nope")[0] == 5
        assert loaded(running) == ["one"]


def test_giving_up_one_that_settles(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    watch = 'watch = { debounce = "20s", settle_limit = "60s" }'
    with host(tmp_path, server(tmp_path, "web.conf", watch)) as running:
        up(running)
        running.ctl("hold", "web")
        replace(conf, "two")
        until(lambda: running.history("web"), "the change was seen, and held")
        id_ = running.ctl("release", "web")[1]["reload_id"]
        until(lambda: running.service("web")["waiting"] == id_, "it settles")
        assert next(r for r in running.history("web") if r["reload_id"] == id_)["phase"] == "settle"
        assert running.ctl("cancel", id_)[0] == 0
        assert waited(running, id_) == (159, "cancelled")
        assert loaded(running) == ["one"]


def test_what_has_begun_to_act_goes_on(tmp_path: Path) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    definition = server(tmp_path, "web.conf", timeout="2s")
    definition = definition.replace("confirm = [{ log = '^loaded ' }]", NEVER)
    with host(tmp_path, definition) as running:
        running.ready("web")
        until(lambda: loaded(running), "its handler is there")
        conf.write_text("two")
        id_ = running.ctl("reload", "web", "--no-wait")[1]["reload_id"]
        is_loaded(running, "two")
        code, problem = running.ctl("cancel", id_)
        assert (code, "has begun to act" in problem["detail"]) == (160, True)
        assert waited(running, id_) == (153, "timed_out")


# What no watch sees.


@pytest.mark.parametrize("more", ["", 'splay = "100ms"'])
def test_the_timer_notices(tmp_path: Path, more: str) -> None:
    conf = tmp_path / "web.conf"
    conf.write_text("one")
    definition = server(tmp_path, "web.conf") + f'every = "500ms"\n{more}\n'
    with host(tmp_path, definition) as running:
        up(running)
        replace(conf, "two")
        found = until(lambda: running.history("web"), "the timer has looked")
        assert (found[-1]["trigger"], last(running, "applied")["trigger"]) == ("timer", "timer")
        is_loaded(running, "two")


def test_the_timer_does_nothing_while_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "web.conf").write_text("one")
    with host(tmp_path, server(tmp_path, "web.conf") + 'every = "200ms"\n') as running:
        up(running)
        looked = until(lambda: running.history("web")[2:] and running.history("web"), "it looks")
        assert {(r["trigger"], r["verdict"]) for r in looked if r["verdict"]} == {
            ("timer", "unchanged")
        }
        assert loaded(running) == ["one"]
