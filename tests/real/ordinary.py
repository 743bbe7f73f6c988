"""The agent of an ordinary user, and a small server that it holds a socket for."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
from pathlib import Path

from apps_run import HOME, Told
from host import Host, clean_env, until

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


def app(python: str, port: int) -> str:
    return f"""
[service.app]
command = ["{python}", "@DIR@/plain.py"]
env = {{ APP_FILE = "@DIR@/app.json" }}
inputs = ["@DIR@/app.json"]
sockets = [{{ name = "http", listen = "127.0.0.1:{port}" }}]
ready = "notify"
stop_timeout = "2s"
drain_timeout = "500ms"
[service.app.reload]
handle = "replace"
"""


def copied(directory: Path) -> Told:
    for name in ("plain.py", "said.py"):
        shutil.copy(HOME / name, directory / name)
    return Told(directory)
