"""An agent that is not root holds sockets, replaces, is killed and goes on, all the same."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
from pathlib import Path

import pytest
from apps_run import HOME, Told, get
from host import Host, clean_env, free_port, load, public_directory, until

PYTHON = "/usr/bin/python3"
NOBODY = "nobody"


class UserHost(Host):
    """The agent as another user, with a Python that everybody can run."""

    def start(self) -> None:
        words = (
            *(PYTHON, "-m", "agentd", "--config", self.dir / "agentd.toml"),
            *("--socket", self.socket, "--state-dir", self.dir / "state"),
            *("--runtime-dir", self.dir / "run"),
        )
        with (self.dir / "agentd.log").open("ab") as log:
            self.agent = subprocess.Popen(
                words, stdout=log, stderr=log, env=environment(self.dir), cwd="/", **as_nobody()
            )
        until(lambda: self._answers() or self._ended(), "agentd answers")


def environment(home: Path) -> dict[str, str]:
    env = clean_env(HOME=str(home))
    return env | {"PYTHONPATH": os.pathsep.join((env["PYTHONPATH"], *site.getsitepackages()))}


def as_nobody() -> dict[str, object]:
    return {"user": NOBODY, "group": "nogroup", "extra_groups": [], "start_new_session": True}


def possible(home: Path) -> bool:
    """Whether that user can see this checkout and what it needs."""
    words = [PYTHON, "-c", "import agentd.assemble, agentd.system.calls"]
    with_user = as_nobody() | {"env": environment(home), "cwd": "/", "capture_output": True}
    try:
        return not subprocess.run(words, check=False, **with_user).returncode  # type: ignore[call-overload]
    except OSError:
        return False


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_s_agent_replaces_under_load_and_survives_its_death() -> None:
    with public_directory() as directory:
        if not possible(directory):
            pytest.skip(f"{NOBODY} cannot run {PYTHON} on this checkout")
        for name in ("plain.py", "said.py"):
            shutil.copy(HOME / name, directory / name)
        shutil.chown(directory, NOBODY, "nogroup")
        port, told = free_port(), Told(directory)
        running = UserHost(
            directory,
            f"""[service.app]
command = ["{PYTHON}", "@DIR@/plain.py"]
env = {{ APP_FILE = "@DIR@/app.json" }}
inputs = ["@DIR@/app.json"]
sockets = [{{ name = "http", listen = "127.0.0.1:{port}" }}]
ready = "notify"
stop_timeout = "2s"
drain_timeout = "500ms"
[service.app.reload]
handle = "replace"
""",
        )
        try:
            running.start()
            running.ready("app")
            with load(port, 300) as counts:
                for version in range(2, 6):
                    told(version=version)
                    code, reload = running.ctl("reload", "app")
                    assert (code, reload["verdict"]) == (0, "applied"), reload
                    assert get(port) == str(version)
                    if version == 3:
                        running.kill()
                        running.start()
                        running.ready("app")
                until(lambda: len(running.service("app")["instances"]) == 1, "one is left")
            assert counts["bad"] == {}
            assert Path(f"/proc/{running.pid('app')}").owner() == NOBODY
        finally:
            if running.agent is not None and running.agent.poll() is not None:
                running.start()
            running.stop()
