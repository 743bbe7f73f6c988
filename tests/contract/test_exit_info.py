"""How a process ended that is no child of ours: the kernel's word where it has one (Linux 6.15), else unknown."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agentd.core.process import Exit
from agentd.system.reaper import exit_info


def ended(code: str) -> Exit | None:
    """What is told of a grandchild, once whoever started it has reaped it."""
    program = (
        "import os,sys\n"
        "pid=os.fork()\n"
        f"if pid==0:\n    sys.stdin.readline(); {code}\n"
        "print(pid,flush=True)\n"
        "os.waitpid(pid,0); print('reaped',flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import os,sys,signal\n{program}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert exit_info(pidfd) in (None, Exit())
            parent.stdin.write(b"\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == b"reaped\n"
            return exit_info(pidfd)
        finally:
            os.close(pidfd)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os._exit(0)", Exit(code=0)),
        ("os._exit(7)", Exit(code=7)),
        ("os.kill(os.getpid(), signal.SIGKILL)", Exit(signal="KILL")),
        ("signal.signal(40, signal.SIG_DFL); os.kill(os.getpid(), 40)", Exit(signal="RT40")),
    ],
)
def test_the_kernel_tells_or_it_is_unknown(code: str, expected: Exit) -> None:
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    assert ended(code) == (expected if release >= (6, 15) else Exit())


def test_a_kernel_that_does_not_know_the_question_leaves_it_unknown() -> None:
    """A descriptor that is none of a process answers as such a kernel does: ENOTTY."""
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        assert exit_info(fd) == Exit()
    finally:
        os.close(fd)
    assert Exit().clean is False
    assert str(Exit()) == "unknown exit status"
