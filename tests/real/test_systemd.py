"""agentd as a unit of the real systemd: of this host's, and of a newer Debian's with its newer Python."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import until
from sdbox import PATH, Box, debian, missing

ROOT = Path(__file__).parents[2]
CACHE = (
    Path(os.environ["XDG_CACHE_HOME"]) / "agentd-tests"
    if os.environ.get("XDG_CACHE_HOME")
    else ROOT / ".venv" / "debian"
)
NEWER = "trixie"
SERVICE = """[service.{name}]
command = ["/bin/sh", "-c", "trap '{end}; exit 0' TERM; while :; do sleep 0.2; done"]
ready = {{ after = "0s" }}
inputs = ["/etc/hostname"]
{more}
"""
WRAPPER = """#!/bin/sh
export PYTHONPATH=/opt/agentd:/opt/libraries PYTHONPYCACHEPREFIX=/tmp/bytecode
exec /usr/local/bin/python-of-agentd -m {name} "$@"
"""


def definitions(order: str) -> str:
    """Two services that write when they end, the one that is needed faster than the one that needs it."""
    front = SERVICE.format(
        name="front", end=f"sleep 0.5; echo front >> {order}", more='requires = ["base"]'
    )
    return SERVICE.format(name="base", end=f"echo base >> {order}", more="") + front


def ready(status: str) -> dict[str, int]:
    """The pid of every service, once all of them are ready."""
    services: list[Any] = json.loads(status)["services"]
    if any(s["phase"] != "ready" for s in services):
        return {}
    return {s["name"]: s["instances"][0]["pid"] for s in services}


def runs(status: str) -> dict[str, tuple[str | None, int]]:
    """What every service is known to run, and as which generation."""
    services: list[Any] = json.loads(status)["services"]
    return {s["name"]: (s["config"]["live"], s["instances"][0]["generation"]) for s in services}


class Machine:
    """A box with agentd installed as an operator would: the unit is what ``reloadctl unit`` prints there."""

    shared = "/shared"

    def __init__(self, box: Box, ctl: str, outside: Path) -> None:
        """``outside``: what ``shared`` is called on this host."""
        self.box = box
        self.ctl_path = ctl
        self.outside = outside
        box.write("/etc/agentd/agentd.toml", definitions(f"{self.shared}/order"))
        printed = box.run(ctl, "unit")
        assert printed.returncode == 0, printed.stderr
        box.write("/etc/systemd/system/agentd.service", printed.stdout)
        self.drop_in()

    def drop_in(self, **changes: str) -> None:
        """What this host does otherwise."""
        keys = {"RestartSec": "100ms"} | changes
        text = "[Service]\n" + "".join(f"{key}={value}\n" for key, value in keys.items())
        self.box.write("/etc/systemd/system/agentd.service.d/test.conf", text)
        self.systemctl("daemon-reload")

    def systemctl(self, *words: str) -> None:
        done = self.box.run("systemctl", *words)
        assert done.returncode == 0, f"{done.stderr}{self.journal()}"

    def show(self, name: str) -> str:
        return self.box.run("systemctl", "show", "-P", name, "agentd").stdout.strip()

    def journal(self) -> str:
        return self.box.run("journalctl", "-u", "agentd", "-o", "cat", "--no-pager").stdout

    def pids(self) -> dict[str, int]:
        """Every service that is ready, by name; empty while the agent does not answer."""
        done = self.box.run(self.ctl_path, "--json", "status")
        return ready(done.stdout) if done.returncode == 0 else {}

    def runs(self) -> dict[str, tuple[str | None, int]]:
        return runs(self.box.run(self.ctl_path, "--json", "status").stdout)

    def reloads(self) -> int:
        """How many there were."""
        done = self.box.run(self.ctl_path, "--json", "history", "-n", "1000")
        return len(json.loads(done.stdout)["reloads"])

    def alive(self, pids: dict[str, int]) -> bool:
        return all(self.box.run("kill", "-0", str(pid)).returncode == 0 for pid in pids.values())

    def started(self) -> dict[str, int]:
        """The services of an agent that runs as a unit."""
        if self.show("ActiveState") != "active":
            self.systemctl("start", "agentd")
        return until(self.pids, "the services are up")

    def another(self, main: str) -> bool:
        """Whether systemd has started the next agent."""
        return self.show("ActiveState") == "active" and self.show("MainPID") not in ("0", main)


@pytest.fixture(scope="module", params=["host", NEWER])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    with booted(request.param, tmp_path_factory.mktemp("shared")) as made:
        yield made


@contextlib.contextmanager
def booted(which: str, shared: Path) -> Iterator[Machine]:
    """A machine of this host's, or of a newer Debian."""
    if why := missing():
        pytest.skip(why)
    shared.chmod(0o777)
    box = here(shared) if which == "host" else newer(which, shared)
    try:
        yield Machine(box, "/usr/local/bin/reloadctl", shared)
    finally:
        box.close()


def here(shared: Path) -> Box:
    """A machine with this host's disk and Python."""
    base = Path(sys.base_prefix)
    own = {} if base in (Path("/usr"), Path("/usr/local")) else {base: str(base)}
    return with_programs(Path("/"), {**own, shared: "/shared"}, str(Path(sys.executable).resolve()))


def newer(suite: str, shared: Path) -> Box:
    """A newer Debian, with its own Python."""
    root = CACHE / suite
    if why := debian(suite, root):
        pytest.skip(f"no {suite} to test on: {why}")
    return with_programs(root, {shared: "/shared"}, "/usr/bin/python3")


def with_programs(root: Path, folders: dict[Path, str], python: str) -> Box:
    """A machine with the code of this checkout, whatever programs this environment has, installed into /usr/local."""
    libraries = Path(next(p for p in sys.path if p.endswith("site-packages")))
    box = Box(root, {**folders, ROOT: "/opt/agentd", libraries: "/opt/libraries"})
    box.run("ln", "-s", python, "/usr/local/bin/python-of-agentd")
    for name in ("agentd", "reloadctl"):
        box.write(f"/usr/local/bin/{name}", WRAPPER.format(name=name), 0o755)
    return box


def test_a_start_is_over_when_the_agent_answers(machine: Machine) -> None:
    machine.systemctl("start", "agentd")
    done = machine.box.run(machine.ctl_path, "--json", "status")
    assert done.stdout, f"systemctl start came back too early: {done.stderr}"
    machine.started()
    until(lambda: machine.show("StatusText") == "2 services up", "the status line")


def test_services_live_in_groups_below_the_unit_s_own(machine: Machine) -> None:
    pid = machine.started()["base"]
    group = machine.box.run("cat", f"/proc/{pid}/cgroup").stdout.strip()
    assert "/system.slice/agentd.service/" in group


def test_reload(machine: Machine) -> None:
    pids = machine.started()
    machine.systemctl("reload", "agentd")
    assert machine.show("ActiveState") == "active"
    assert machine.pids() == pids


def test_a_reload_with_a_mistake_fails_and_changes_nothing(machine: Machine) -> None:
    pids, main = machine.started(), machine.show("MainPID")
    good = machine.box.run("cat", "/etc/agentd/agentd.toml").stdout
    machine.box.write("/etc/agentd/agentd.toml", f"{good}[service.more]\ncomand = 1\n")
    assert machine.box.run("systemctl", "reload", "agentd").returncode != 0
    assert "service.more.comand" in machine.journal()
    assert (machine.show("ActiveState"), machine.show("MainPID")) == ("active", main)
    machine.box.run("systemctl", "kill", "--signal=HUP", "--kill-whom=main", "agentd")
    notice = "2 services up; the definitions on disk have mistakes and are not taken"
    until(lambda: machine.show("StatusText") == notice, "the status line says why")
    assert machine.pids() == pids
    machine.box.write("/etc/agentd/agentd.toml", good)
    machine.systemctl("reload", "agentd")
    until(lambda: machine.show("StatusText") == "2 services up", "they are taken")
    assert machine.pids() == pids


def test_what_was_shut_down_stays_down(machine: Machine) -> None:
    pids = machine.started()
    done = machine.box.run(machine.ctl_path, "shutdown")
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(machine.alive({name: pid}) for name, pid in pids.items())
    until(lambda: machine.show("SubState") == "dead", "systemd does not start it again")
    assert machine.show("Result") == "success"
    assert machine.box.run("cat", f"{machine.shared}/order").stdout.split() == ["front", "base"]
    machine.box.run("rm", f"{machine.shared}/order")
    assert machine.started().keys() == pids.keys()


def test_restart_touches_no_service(machine: Machine) -> None:
    pids, main = machine.started(), machine.show("MainPID")
    until(lambda: all(live for live, _ in machine.runs().values()), "it is known what they run")
    before, reloads = machine.runs(), machine.reloads()
    machine.systemctl("restart", "agentd")
    assert machine.another(main)
    assert until(machine.pids, "the services are adopted") == pids
    assert (machine.runs(), machine.reloads()) == (before, reloads)


def test_upgrade_keeps_the_process_and_the_services(machine: Machine) -> None:
    pids, main = machine.started(), machine.show("MainPID")
    done = machine.box.run(machine.ctl_path, "upgrade")
    assert (done.returncode, f"pid {main}, " in done.stdout) == (0, True), done.stderr
    assert machine.show("MainPID") == main, machine.journal()
    until(lambda: machine.show("ActiveState") == "active", "systemd knows that it is done")
    assert machine.pids() == pids
    assert machine.journal().count("agentd stopped") > 0
    assert machine.show("NRestarts") == "0" or machine.show("Result") == "success"


def test_stop_leaves_the_services_to_the_next_agent(machine: Machine) -> None:
    pids = machine.started()
    machine.systemctl("stop", "agentd")
    assert machine.show("ActiveState") == "inactive"
    assert machine.alive(pids)
    assert machine.started() == pids


def test_kill_nine(machine: Machine) -> None:
    pids, main = machine.started(), machine.show("MainPID")
    machine.box.run("kill", "-KILL", main)
    until(lambda: machine.another(main), "systemd starts the next agent")
    assert until(machine.pids, "the services are adopted") == pids


def test_the_watchdog_replaces_an_agent_that_hangs(machine: Machine) -> None:
    pids = machine.started()
    machine.drop_in(WatchdogSec="2s")
    machine.systemctl("restart", "agentd")
    main = machine.show("MainPID")
    assert machine.show("WatchdogUSec") == "2s"
    machine.box.run("kill", "-STOP", main)
    until(lambda: machine.another(main), "systemd starts the next agent")
    assert "Watchdog timeout" in machine.box.run("journalctl", "--no-pager").stdout
    assert until(machine.pids, "the services are adopted") == pids
    main = machine.show("MainPID")
    fed = int(machine.show("WatchdogTimestampMonotonic"))
    until(
        lambda: int(machine.show("WatchdogTimestampMonotonic")) > fed + 3_000_000,
        "a healthy agent feeds it",
    )
    assert machine.show("MainPID") == main
    machine.drop_in()
    machine.systemctl("restart", "agentd")


def test_wrong_definitions_are_not_tried_again_and_harm_nobody(machine: Machine) -> None:
    pids = machine.started()
    good = machine.box.run("cat", "/etc/agentd/agentd.toml").stdout
    machine.box.write("/etc/agentd/agentd.toml", "[service.base]\ncomand = 1\n")
    assert machine.box.run("systemctl", "restart", "agentd").returncode != 0
    assert machine.show("ActiveState") == "failed"
    assert machine.show("ExecMainStatus") == "6"
    assert machine.alive(pids)
    machine.box.write("/etc/agentd/agentd.toml", good)
    assert machine.started() == pids


def test_services_that_stop_slowly_get_their_time(machine: Machine) -> None:
    machine.started()
    path = "/etc/agentd/agentd.toml"
    before = machine.box.run("cat", path).stdout
    slow = SERVICE.format(
        name="slow", end=f"sleep 3; echo slow >> {machine.shared}/slow", more='stop_timeout = "20s"'
    )
    # The file stands above the option of the unit.
    machine.box.write(path, f'[agent]\non_terminate = "stop"\n{before}{slow}')
    machine.drop_in(TimeoutStopSec="1s")
    machine.systemctl("restart", "agentd")
    until(lambda: "slow" in machine.pids(), "the slow one is up")
    machine.systemctl("stop", "agentd")
    assert machine.box.run("cat", f"{machine.shared}/slow").stdout == "slow\n"
    assert (machine.show("ActiveState"), machine.show("Result")) == ("inactive", "success")
    assert machine.box.run("cat", f"{machine.shared}/order").stdout.split() == ["front", "base"]
    machine.box.run("rm", f"{machine.shared}/order")
    machine.drop_in()
    machine.box.write(path, f"{before}{slow}")


@pytest.mark.parametrize("births", ["kept", "lost"])
def test_services_are_found_without_the_journal(machine: Machine, births: str) -> None:
    """By their birth files, or by the control groups of the unit."""
    pids = machine.started()
    machine.systemctl("stop", "agentd")
    state, run = "/var/lib/agentd/journal.db", "/run/agentd/births"
    lose = f"rm -f {state}-wal {state}-shm; echo damaged > {state}"
    also = f"; rm -r {run}" if births == "lost" else ""
    done = machine.box.run("sh", "-ec", f"{lose}{also}")
    assert done.returncode == 0, done.stderr
    assert machine.started() == pids
    assert "journal.db.corrupt-" in machine.journal()
    assert machine.box.run("sh", "-c", f"ls {state}.corrupt-*").returncode == 0


@pytest.mark.parametrize(
    "machine", [NEWER], indirect=True
)  # this interpreter may be one that only root can reach
def test_a_user_s_own_agent(machine: Machine) -> None:
    box = machine.box
    order = f"{machine.shared}/order-of-ann"

    def ann(*words: str, allowed: tuple[int, ...] = (0,)) -> str:
        around = ["env", "XDG_RUNTIME_DIR=/run/user/1000", "HOME=/home/ann", f"PATH={PATH}"]
        done = box.run("runuser", "-u", "ann", "--", *around, *words)
        assert done.returncode in allowed, done.stderr
        return done.stdout

    for command in (
        "useradd --uid 1000 --create-home ann",
        "systemctl start dbus systemd-logind",
        "loginctl enable-linger ann",
    ):
        done = box.run(*command.split())
        assert done.returncode == 0, done.stderr
    until(
        lambda: box.run("systemctl", "is-active", "user@1000").stdout.strip() == "active",
        "ann's systemd runs",
    )
    box.write("/home/ann/.config/agentd/agentd.toml", definitions(order))
    box.write("/home/ann/.config/systemd/user/agentd.service", ann("reloadctl", "unit", "--user"))
    box.run("chown", "-R", "ann:", "/home/ann/.config")

    def pids() -> dict[str, int]:
        return ready(ann("reloadctl", "--json", "status", allowed=(0, 3)))

    ann("systemctl", "--user", "daemon-reload")
    ann("systemctl", "--user", "start", "agentd")
    before = until(pids, "ann's services are up")
    ann("systemctl", "--user", "restart", "agentd")
    assert pids() == before
    assert box.run("cat", order).returncode != 0, "nobody has stopped yet"
    box.run("systemctl", "stop", "user@1000")
    assert box.run("cat", order).stdout.split() == ["front", "base"]


def test_a_host_that_goes_down_stops_the_services_in_order(machine: Machine) -> None:
    machine.started()
    assert not (machine.outside / "order").exists(), "nobody has stopped yet"
    machine.box.power_off()
    order = (machine.outside / "order").read_text().split()
    assert order == ["front", "base"], "base was needed until front had ended"
