"""``reloadctl unit``: the systemd unit of agentd, with the paths of this installation.

Decides what an operator gets who writes it to ``/etc/systemd/system/agentd.service`` and changes nothing. It is for systemd
252 and newer, so nothing is in it that 252 would complain of. What each line is for is told in agentd(8).
"""

import os
import sys
from pathlib import Path

from reloadctl.declare import VERBS
from reloadctl.failure import Fail
from reloadctl.jsontext import dumps
from reloadctl.out import write, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNIT = """\
# Printed by "reloadctl unit"; agentd(8) says what each line is for. Change it with: systemctl {edit}edit agentd
[Unit]
Description=agentd, which supervises services and owns how they are reloaded
Documentation=man:agentd(8) man:agentd.toml(5) man:reloadctl(1)
{after}StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={agentd} --on-terminate leave
ExecReload={reload}
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
{state}
# No ProtectSystem=, NoNewPrivileges=, SystemCallFilter= and the like: every service would inherit them.

[Install]
WantedBy={target}
"""
AFTER = "After=network.target nss-user-lookup.target\n"
STATE = "StateDirectory=agentd\nStateDirectoryMode=0700\n"


def run(options: "dict[str, Any]") -> int:
    """Print it."""
    text = unit(program("agentd"), program("reloadctl"), user=options["user"])
    if options["json"]:
        write_bytes(dumps({"unit": text}))
    else:
        write(text)
    return 0


def unit(agentd: str, reloadctl: str, *, user: bool) -> str:
    """The whole file. A user's agent keeps its state where XDG says, which not every systemd does (before 254)."""
    return UNIT.format(
        edit="--user " if user else "",
        after="" if user else AFTER,
        agentd=quoted(agentd),
        # A word with an exit code: over sd_notify a service cannot say that a reload failed.
        reload=f"{quoted(reloadctl)} apply" if "apply" in VERBS else "kill -HUP $MAINPID",
        state="" if user else STATE,
        target="default.target" if user else "multi-user.target",
    )


def program(name: str) -> str:
    """The absolute path of a program of this installation. Fail: it is not there."""
    here = Path(sys.executable).parent
    for place in (here, Path(sys.argv[0]).absolute().parent):
        if os.access(place / name, os.X_OK):
            return str(place / name)
    raise Fail(1, f"cannot find {name} in {here}: install agentd and reloadctl into one place")


def quoted(path: str) -> str:
    """A path as a word of a unit file (systemd.syntax(7), systemd.service(5) "Command lines")."""
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return text if text.isascii() and not set(text) & set(" \t'\"\\;") else f'"{text}"'
