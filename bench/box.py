"""A private systemd as pid 1 of namespaces of its own, on an overlay of this host, with this host's network.

Needs root and cgroup v2. What it writes is in memory and goes away with it; of the host's cgroups it makes one and removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from app import Unavailable
from bell import ENV
from kernel import children

SYSTEMD = Path("/lib/systemd/systemd")
NEEDED = ("unshare", "nsenter", "pivot_root", "systemctl")
# $1: a folder with units/ and an empty root/ on which the root is built; the rest: folders that are seen inside as they are.
INIT = r"""set -e
mount --make-rprivate /
R=$1; shift
mount -t tmpfs -o mode=755 tmpfs $R/root; cd $R/root; mkdir up work top; M=$R/root/top
mount -t overlay overlay -o lowerdir=/,upperdir=$R/root/up,workdir=$R/root/work $M
mount -t proc proc $M/proc
mount --bind $M/proc/sys $M/proc/sys; mount -o remount,bind,ro $M/proc/sys
mount -t sysfs sysfs $M/sys; mount -t cgroup2 none $M/sys/fs/cgroup; mount -o remount,bind,ro $M/sys
for d in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $M/$d; done
for d in null zero full random urandom tty; do touch $M/dev/$d; mount --bind /dev/$d $M/dev/$d; done
for d in "$@"; do mkdir -p $M/$d; mount --bind $d $M/$d; done
mkdir $M/run/units; cp $R/units/* $M/run/units
cd $M; mkdir -p oldroot; pivot_root . oldroot; umount -l /oldroot; rmdir /oldroot
exec env -i container=bench PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  SYSTEMD_UNIT_PATH=/run/units:/lib/systemd/system \
  /lib/systemd/systemd --system --log-target=console systemd.unit=bench.target
"""


class Box:
    """``bench.target`` of the units is what is booted."""

    def __init__(self, directory: Path, units: Mapping[str, str], seen: Iterable[Path]) -> None:
        self.dir = directory
        self.seen = [str(path) for path in seen]
        if os.geteuid():
            raise Unavailable("a private systemd needs root")
        if missing := [name for name in NEEDED if shutil.which(name) is None]:
            raise Unavailable(f"a private systemd needs {', '.join(missing)}")
        if not SYSTEMD.exists():
            raise Unavailable(f"there is no {SYSTEMD}")
        self.cgroup = _cgroups() / directory.name
        (directory / "units").mkdir()
        (directory / "root").mkdir()
        for name, text in units.items():
            (directory / "units" / name).write_text(text)
        self.outer: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Starts it; whether it is there, ``alive`` says."""
        self.cgroup.mkdir()
        enter = f"echo $$ >{self.cgroup}/cgroup.procs; exec "
        spaces = "unshare --mount --pid --cgroup --uts --ipc --fork --kill-child=KILL "
        init = ["-c", INIT, "box", str(self.dir), *self.seen]
        with (self.dir / "log").open("wb") as log:
            self.outer = subprocess.Popen(
                ["sh", "-c", f'{enter}{spaces}sh "$@"', "box", *init],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENV, start_new_session=True,
            )  # fmt: skip

    def alive(self) -> bool:
        """Raises RuntimeError when it ended."""
        if self.outer is None or self.outer.poll() is not None:
            log = (self.dir / "log").read_text(errors="replace")
            raise RuntimeError(f"the private systemd ended: {log[-500:]}")
        return bool(self._first())

    def inside(self, *words: str) -> tuple[str, ...]:
        """A command line that runs in the box."""
        return ("nsenter", "--target", str(self._first()), "--all", *words)

    def down(self) -> None:
        """With its pid 1 the kernel ends all of it."""
        if self.outer is None:
            return
        if first := self._first():
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
        self.outer.wait()
        for path in sorted(self.cgroup.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        _removed(self.cgroup)

    def _first(self) -> int | None:
        """Its pid 1, as this host sees it."""
        return next(iter(children(self.outer.pid)), None) if self.outer else None


def _removed(cgroup: Path) -> None:
    """What was killed leaves its cgroup a moment later."""
    for _ in range(100):
        try:
            cgroup.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return


def _cgroups() -> Path:
    """Where cgroup v2 is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    raise Unavailable("a private systemd needs cgroup v2")
