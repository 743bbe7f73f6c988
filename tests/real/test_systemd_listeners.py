"""Listeners in the store of the real systemd: clients wait for the next start, whatever happens to the agent meanwhile."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from host import until
from test_systemd import NEWER, Machine, booted

from agentd.system.fdstore import MOST

PORT = 8080
SERVICE = """[service.web]
command = ["/bin/sh", "-c", '''{command}''']
ready = {{ tcp = "127.0.0.1:{port}" }}
start_timeout = "120s"
backoff = {{ first = "{pause}", factor = 1, max = "{pause}" }}
start_limit = {{ burst = 1000, interval = "1s" }}
sockets = [
    {{ name = "http", listen = "127.0.0.1:{port}" }},
    {{ name = "local", listen = "unix:/run/web.sock" }},
    {{ name = "words", listen = "udp:127.0.0.1:{port}" }},
]
"""


class Site:
    """A machine with one service, which serves as soon as it may: before that its process ends, or waits."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        tests = "/opt/agentd/tests/real"
        self.python = "/usr/local/bin/python-of-agentd"
        self.load = f"{tests}/load.py"
        self.serve = f"exec {self.python} {tests}/serve.py well"
        self.may = machine.outside / "may"

    def begin(self, unless: str, pause: str = "3s") -> None:
        """A new agent, with a service that does ``unless`` instead of serving, until it may."""
        self.machine.box.run(self.machine.ctl_path, "shutdown")
        until(lambda: self.machine.show("ActiveState") != "active", "the last one has ended")
        self.may.unlink(missing_ok=True)
        may = f"{self.machine.shared}/may"
        text = SERVICE.format(
            command=f"test -e {may} || {unless}; {self.serve}", port=PORT, pause=pause
        )
        self.define(text)
        self.machine.systemctl("start", "agentd")

    def define(self, text: str) -> None:
        self.machine.box.write("/etc/agentd/agentd.toml", text)

    def phase(self) -> str:
        done = self.machine.box.run(self.machine.ctl_path, "--json", "status")
        services = json.loads(done.stdout)["services"] if done.stdout else []
        return services[0]["phase"] if services else ""

    def comes_to(self, phase: str) -> None:
        until(lambda: self.phase() == phase, f"it is {phase}")

    def stored(self) -> int:
        return int(self.machine.show("NFileDescriptorStore"))

    def refused(self) -> bool:
        asked = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), 5)"
        done = self.machine.box.run(self.python, "-c", asked)
        return "ConnectionRefusedError" in done.stderr

    def main(self) -> str:
        return self.machine.show("MainPID")

    @contextlib.contextmanager
    def asked(self) -> Iterator[dict[str, Any]]:
        """Twenty clients a second, who wait for a minute; what became of them is there at the end."""
        account: dict[str, Any] = {}
        child = self.machine.box.begin(self.python, self.load, str(PORT), "20", "--patience", "60")
        try:
            yield account
            out, _ = child.communicate("\n", timeout=90)
            account |= json.loads(out)
        finally:
            child.kill()
            child.wait()


@pytest.fixture(scope="module", params=["host", NEWER])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with booted(request.param, tmp_path_factory.mktemp("shared")) as machine:
        yield Site(machine)


def restart(site: Site) -> None:
    site.machine.systemctl("restart", "agentd")


def kill(site: Site) -> None:
    main = site.main()
    site.machine.box.run("kill", "-KILL", main)
    until(lambda: site.machine.another(main), "systemd starts the next agent")


def kill_both(site: Site) -> None:
    """The agent and, before there is another one, every process that had the listeners."""
    main = site.main()
    pids = site.machine.box.run("pgrep", "-f", "serve.py well").stdout.split()
    site.machine.box.run("kill", "-KILL", main, *pids)
    until(lambda: site.machine.another(main), "systemd starts the next agent")


def upgrade(site: Site) -> None:
    done = site.machine.box.run(site.machine.ctl_path, "upgrade")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("ends", [restart, kill, upgrade])
def test_clients_of_a_service_in_backoff_wait(site: Site, ends: Any) -> None:
    site.begin("exit 1")
    site.comes_to("backoff")
    assert site.stored() == 3
    with site.asked() as account:
        ends(site)
        site.comes_to("backoff")
        site.may.touch()
        site.comes_to("ready")
    print(account)
    assert account["bad"] == {}
    assert account["good"] > 20
    assert site.stored() == 3
    assert "closed" not in site.machine.journal()
    assert site.machine.box.run(site.machine.ctl_path, "stop", "web").returncode == 0
    assert site.stored() == 0
    assert site.machine.box.run(site.machine.ctl_path, "start", "web").returncode == 0


def test_clients_of_one_that_dies_while_no_agent_is_there_wait(site: Site) -> None:
    site.begin("while ! test -e /shared/may; do sleep 0.1; done")
    site.comes_to("starting")
    with site.asked() as account:
        kill_both(site)
        site.comes_to("starting")
        site.may.touch()
        site.comes_to("ready")
    print(account)
    assert account["bad"] == {}
    with site.asked() as account:
        for _ in range(3):
            kill_both(site)
            site.comes_to("ready")
    print(account)
    # What a process had taken dies with it; nobody is turned away.
    assert account["bad"].keys() <= {"reset", "closed", "cut"}
    assert sum(account["bad"].values()) < account["good"]


def test_nobody_is_kept_waiting_for_who_does_not_come_back(site: Site) -> None:
    site.begin("exit 1")
    site.comes_to("backoff")
    assert site.machine.box.run(site.machine.ctl_path, "stop", "web").returncode == 0
    assert site.refused()
    assert site.stored() == 0
    site.begin("exit 1")
    assert site.machine.box.run(site.machine.ctl_path, "start", "web").returncode != 0
    site.comes_to("backoff")
    assert site.stored() == 3
    site.define("")
    restart(site)
    assert site.stored() == 0
    assert site.refused()
    assert "kept as web/http/" in site.machine.journal()
    site.begin("exit 1")
    site.comes_to("backoff")
    site.machine.systemctl("stop", "agentd")
    assert site.refused(), "the unit is stopped: nobody is to come"
    site.machine.systemctl("start", "agentd")


def test_as_many_as_are_stored_can_be_handed_over(site: Site) -> None:
    """systemd needs room to put them in their places: with more it would not start the next agent."""
    site.machine.box.run(site.machine.ctl_path, "shutdown")
    until(lambda: site.machine.show("ActiveState") != "active", "the last one has ended")
    text = ""
    for name in "abcdef":
        paths = [f"/run/{name}{n}.sock" for n in range(90)]
        listen = ", ".join(f'{{ name = "s{n}", listen = "{p}" }}' for n, p in enumerate(paths))
        text += f'[service.{name}]\ncommand = ["sleep", "1000"]\nready = {{ after = "0s" }}\n'
        text += f"sockets = [{listen}]\n"
    site.define(text)
    site.machine.systemctl("start", "agentd")
    pids = until(site.machine.pids, "all are up")
    assert site.stored() == MOST < 6 * 90
    assert f"takes {MOST}; raise" in site.machine.journal()
    restart(site)
    assert until(site.machine.pids, "all are adopted") == pids
    assert site.stored() == MOST
