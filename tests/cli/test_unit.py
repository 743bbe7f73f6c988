"""The systemd unit: its whole text, where the programs are, and what systemd says of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agentd.system.fdstore import MOST
from reloadctl.commands.unit import quoted, unit
from reloadctl.declare import VERBS
from tests.cli.canned import command, environment

RELOAD = "/opt/agentd/bin/reloadctl apply" if "apply" in VERBS else "kill -HUP $MAINPID"
SYSTEM = f"""\
# Printed by "reloadctl unit"; agentd(8) says what each line is for. Change it with: systemctl edit agentd
[Unit]
Description=agentd, which supervises services and owns how they are reloaded
Documentation=man:agentd(8) man:agentd.toml(5) man:reloadctl(1)
After=network.target nss-user-lookup.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=/opt/agentd/bin/agentd --on-terminate leave
ExecReload={RELOAD}
Restart=on-failure
RestartSec=1s
RestartPreventExitStatus=2 6
WatchdogSec=30s
TimeoutAbortSec=10s
TimeoutStopSec=90s

# The services are children of agentd and outlive it.
KillMode=process
Delegate=yes
DelegateSubgroup=agent
OOMPolicy=continue
TasksMax=infinity
FileDescriptorStoreMax=500
RuntimeDirectory=agentd
RuntimeDirectoryPreserve=yes
StateDirectory=agentd
StateDirectoryMode=0700

# No ProtectSystem=, NoNewPrivileges=, SystemCallFilter= and the like: every service would inherit them.

[Install]
WantedBy=multi-user.target
"""
PLACES = ("/opt/agentd/bin/agentd", "/opt/agentd/bin/reloadctl")


def test_the_host_s_unit() -> None:
    assert unit(*PLACES, user=False) == SYSTEM


def test_the_agent_counts_on_the_store_of_this_unit() -> None:
    assert f"FileDescriptorStoreMax={MOST}\n" in SYSTEM


def test_a_user_s_unit() -> None:
    lost = ("After=", "StateDirectory")
    lines = [line for line in SYSTEM.splitlines() if not line.startswith(lost)]
    expected = "\n".join(lines) + "\n"
    expected = expected.replace("systemctl edit", "systemctl --user edit")
    expected = expected.replace("multi-user.target", "default.target")
    assert unit(*PLACES, user=True).replace("\n\n\n", "\n\n") == expected.replace("\n\n\n", "\n\n")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/opt/a/bin/agentd", "/opt/a/bin/agentd"),
        ("/opt/a b/agentd", '"/opt/a b/agentd"'),
        ("/opt/100%/agentd", "/opt/100%%/agentd"),
        ('/opt/"x"/agentd', '"/opt/\\"x\\"/agentd"'),
        ("/opt/é/agentd", '"/opt/é/agentd"'),
    ],
)
def test_any_path_is_one_word(path: str, word: str) -> None:
    assert quoted(path) == word


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """An installation with a blank in its path; only the interpreter's folder counts."""
    bin_ = tmp_path / "an installation" / "bin"
    bin_.mkdir(parents=True)
    python, *line = command("unit")
    for name in ("agentd", "reloadctl"):
        (bin_ / name).write_text("#!/bin/sh\n")
        (bin_ / name).chmod(0o755)
    (bin_ / "python").symlink_to(os.path.realpath(python))

    def run(*more: str, without: str = "") -> subprocess.CompletedProcess[str]:
        if without:
            (bin_ / without).unlink()
        return subprocess.run(
            [bin_ / "python", *line, *more],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


def test_the_programs_are_those_beside_the_interpreter(
    installed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = installed()
    place = f"{tmp_path}/an installation/bin/agentd"
    assert f'ExecStart="{place}" --on-terminate leave\n' in done.stdout
    assert json.loads(installed("--json").stdout) == {"unit": done.stdout}


def test_an_installation_in_halves_is_told(
    installed: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = installed(without="agentd")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot find agentd in " in done.stderr


NEWER = r".*: Unknown key.* 'DelegateSubgroup' in section .*, ignoring.\n"
"""What systemd says of it before 254, and does."""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("whose", ["--system", "--user"])
def test_systemd_has_nothing_to_say_about_it(
    installed: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    whose: str,
) -> None:
    path = tmp_path / "agentd.service"
    path.write_text(installed(*(["--user"] if whose == "--user" else [])).stdout)
    verify = ["systemd-analyze", whose, "verify", "--man=no", "--recursive-errors=no"]
    env = {**environment(), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([*verify, path], env=env, capture_output=True, text=True, check=False)
    assert re.sub(NEWER, "", done.stderr) == ""
    assert done.stderr or done.returncode == 0
    broken = path.read_text().replace("KillMode=process", "KillMood=process")
    path.write_text(broken)
    done = subprocess.run([*verify, path], env=env, capture_output=True, text=True, check=False)
    assert "KillMood" in done.stderr, "it would have said so"
