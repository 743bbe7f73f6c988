"""A machine that boots the real systemd as pid 1, in namespaces beside this host, in a second. Only root can make one.

Its disk is this host's own or an unpacked Debian, with a layer in memory over it that goes with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from host import until

HERE = Path(__file__).parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = ("unshare", "nsenter", "ip", "systemctl")
PACKAGES = (
    "systemd,systemd-sysv,libpam-systemd,dbus,python3-minimal,libpython3-stdlib,procps,iproute2"
)
_NUMBERS = itertools.count()


class Box:
    """One machine."""

    def __init__(self, root: Path, shared: dict[Path, str]) -> None:
        """``shared``: folders of this host, and what they are called inside."""
        self._scratch = Path(tempfile.mkdtemp(prefix="sdbox-"))
        self._log = self._scratch.with_suffix(".log")
        self._group = cgroup() / f"sdbox-{os.getpid()}-{next(_NUMBERS)}"
        self._group.mkdir()
        namespaces = ("mount", "pid", "cgroup", "uts", "ipc", "net")
        command = [
            *("unshare", *(f"--{name}" for name in namespaces), "--fork", "--kill-child=KILL"),
            *(
                str(HERE / "sdbox.sh"),
                str(self._scratch),
                str(root),
                *(f"{path}={inside}" for path, inside in shared.items()),
            ),
        ]
        enter = f'echo $$ > "{self._group}/cgroup.procs"; exec "$@"'
        with self._log.open("wb") as log:
            self._outer = subprocess.Popen(
                ["sh", "-c", enter, "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._pid = until(self._first, "systemd runs")
            until(self._booted, "the machine is up", 30)
        except BaseException:
            self.close()
            raise

    def _first(self) -> int | None:
        """The pid of the machine's pid 1, once it is systemd."""
        assert self._outer.poll() is None, self._log.read_text(errors="replace")
        outer = self._outer.pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        for pid in children:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return int(pid)
        return None

    def _booted(self) -> bool:
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        return subprocess.run(
            self._inside(*words), capture_output=True, text=True, timeout=60, check=False
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """A command inside that goes on until its standard input is closed; then it gets a TERM, and tells the rest."""
        script = 'exec 3<&0; "$@" < /dev/null & read -r _ <&3; kill $!; wait $!'
        return subprocess.Popen(
            self._inside("sh", "-c", script, "sh", *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _inside(self, *words: str | Path) -> list[str | Path]:
        enter = ("nsenter", "-t", str(self._pid), "-a")
        return [*enter, "env", "-i", f"PATH={PATH}", "LC_ALL=C.UTF-8", *words]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file inside."""
        script = 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1" && chmod "$3" "$1"'
        done = self.run("sh", "-c", script, "sh", path, text, f"{mode:o}")
        assert done.returncode == 0, done.stderr

    def power_off(self) -> None:
        """As an operator would, to its end."""
        self.run("systemctl", "poweroff")
        self._outer.wait(60)

    def close(self) -> None:
        """Nothing of it is left."""
        if self._outer.poll() is None:
            self._outer.kill()  # --kill-child takes pid 1 with it, and the kernel everything else
            self._outer.wait()

        def gone() -> bool:
            for folder, _, _ in os.walk(self._group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
            return not self._group.exists()

        until(gone, "the machine's control groups are empty")
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._log.unlink(missing_ok=True)


def cgroup() -> Path:
    """Where control groups of version 2 can be made. FileNotFoundError: nowhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise FileNotFoundError("no control groups of version 2 are mounted")


def missing() -> str:
    """Why no machine can be made here; empty: it can."""
    if os.getuid() != 0:
        return "only root can boot a machine of namespaces"
    if lacking := [name for name in NEEDED if shutil.which(name) is None]:
        return f"{', '.join(lacking)} is not installed"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed; on Debian: apt-get install systemd"
    try:
        where = cgroup()
    except FileNotFoundError as error:
        return str(error)
    if not os.access(where, os.W_OK):
        return f"{where} is read-only"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False)
    return "this container may not make namespaces" if tried.returncode else ""


def debian(suite: str, folder: Path) -> str:
    """Have an unpacked Debian in ``folder``, from the mirror that this system uses; why not, if it cannot be had."""
    if (folder / "lib/systemd/systemd").exists():
        return ""
    if shutil.which("debootstrap") is None:
        return "debootstrap is not installed"
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(partial)]
    try:
        done = subprocess.run(
            [*command, *mirror()], capture_output=True, text=True, timeout=180, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{suite} was not unpacked within three minutes"
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        return f"debootstrap of {suite} failed: {''.join(last)}"
    partial.rename(folder)
    return ""


def mirror() -> list[str]:
    """What apt fetches Debian itself from, if it says; debootstrap has a default."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN)"],
        capture_output=True,
        text=True,
        check=False,
    )
    sites = [line.split()[0] for line in done.stdout.splitlines() if line.endswith(" Debian")]
    return [site for site in sites if "security" not in site][:1]
