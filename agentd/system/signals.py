"""What a signal would do to a process: nothing, end it, or be handled. It reads; sending is ``processes``' work.

"Caught" is necessary, not sufficient: the Go runtime and the JVM catch everything and then die of HUP all the same. And
"not caught" is not fatal when the signal is blocked in every thread (signalfd) or a thread waits in sigwait, which the
mask does not show, because the kernel unblocks the set while it waits. Whether that thread had blocked it before, as
sigwait(3) demands, nothing shows: one that had not will die of the signal. The window between this look and the sending
stays open; nothing on Linux closes it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal as names
import struct

from agentd.ports import AdapterError, Disposition

_SIGTIMEDWAIT = {"x86_64": b"128", "aarch64": b"137", "riscv64": b"137"}
_STABLE = 0.02
_LOOKS = 10
_HARMLESS = {"CHLD", "URG", "WINCH", "CONT"}
"""Whose default action is to do nothing (signal(7)); CONT continues what was stopped."""


def number(signal: str) -> int:
    """The number of a signal's name without SIG. Raises AdapterError."""
    try:
        return names.Signals[f"SIG{signal}"].value
    except KeyError:
        raise AdapterError(f'cannot send signal "{signal}": no such signal') from None


async def disposition(pid: int, signal: str) -> Disposition:
    """Safe as soon as one look says so. A no needs two equal looks: a re-exec has no handlers for ~13 ms (haproxy -W)."""
    before = look(pid, signal)
    for _ in range(_LOOKS):
        if before.safe:
            break
        await asyncio.sleep(_STABLE)
        now = look(pid, signal)
        if now == before:
            break
        before = now
    return before


def look(pid: int, signal: str) -> Disposition:
    """What one reading of /proc says. Never raises for a process that is gone."""
    bit = 1 << (number(signal) - 1)
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123 - hot
            status = file.read()
        if _mask(status, b"SigIgn") & bit:
            return Disposition(safe=False, why=f"ignores SIG{signal}: the signal would do nothing")
        if _mask(status, b"SigCgt") & bit:
            return _runtime(pid, signal)
        tids = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
        if all(_blocks(pid, tid, bit) for tid in tids):
            return Disposition(
                safe=True,
                why=f"SIG{signal} is blocked in every thread: it is read from a descriptor",
            )
        if _some_wait_and_none_is_open(pid, tids, bit):
            return Disposition(safe=True, why=f"a thread waits for SIG{signal}")
    except (FileNotFoundError, ProcessLookupError):
        return Disposition(safe=False, why=f"process {pid} is gone")
    if signal in _HARMLESS:
        return Disposition(
            safe=False, why=f"no handler for SIG{signal}: the signal would do nothing"
        )
    return Disposition(safe=False, why=f"SIG{signal} would terminate it: no handler")


def _mask(status: bytes, name: bytes) -> int:
    start = status.find(b"\n" + name + b":")
    return (
        int(status[start + len(name) + 2 : status.index(b"\n", start + 1)], 16) if start >= 0 else 0
    )


def _blocks(pid: int, tid: str, bit: int) -> bool:
    """``/proc/PID/status`` shows the main thread alone, so each is asked; one that just ended does not count."""
    try:
        with open(f"/proc/{pid}/task/{tid}/status", "rb") as file:  # noqa: PTH123 - hot
            return bool(_mask(file.read(), b"SigBlk") & bit)
    except (FileNotFoundError, ProcessLookupError):
        return True


def _some_wait_and_none_is_open(pid: int, tids: list[str], bit: int) -> bool:
    """One that waits does not help when another, the main thread first of all, neither waits nor blocks."""
    # The kernel gives it the signal, and its default action ends them all (complete_signal in kernel/signal.c).
    waiting = {tid for tid in tids if _waits(pid, tid, bit)}
    return bool(waiting) and all(tid in waiting or _blocks(pid, tid, bit) for tid in tids)


def _waits(pid: int, tid: str, bit: int) -> bool:
    """Whether the thread sits in rt_sigtimedwait(2) for this signal; False too when we may not look (needs ptrace rights)."""
    try:
        with open(f"/proc/{pid}/task/{tid}/syscall", "rb") as file:  # noqa: PTH123 - hot
            call = file.read().split()
        if len(call) < 2 or call[0] != _SIGTIMEDWAIT.get(platform.machine()):  # noqa: PLR2004
            return False
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
            memory.seek(int(call[1], 16))
            return bool(struct.unpack("Q", memory.read(8))[0] & bit)
    except (OSError, ValueError, struct.error):
        return False


def _runtime(pid: int, signal: str) -> Disposition:
    """Caught, but by whom: a runtime that catches everything proves nothing about the program."""
    runtime = "Java" if _is_java(pid) else "Go" if _is_go(f"/proc/{pid}/exe") else None
    if runtime is None:
        return Disposition(safe=True, why=f"SIG{signal} is caught")
    why = f"the {runtime} runtime catches SIG{signal} and may die of it; if the program handles it, set signal_handled = true"
    return Disposition(safe=False, why=why)


def _is_java(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123
            if file.read().strip() == b"java":
                return True
        with open(f"/proc/{pid}/maps", "rb") as file:  # noqa: PTH123
            return any(line.rstrip().endswith(b"/libjvm.so") for line in file)
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return False


def _is_go(path: str) -> bool:
    """Whether an ELF file has the note that the Go linker writes (``.note.go.buildid``, name "Go"), stripped or not."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(64)
            if head[:4] != b"\x7fELF" or head[4] != 2:  # noqa: PLR2004 - 64 bit; others are rare enough to stay unknown
                return False
            order = "<" if head[5] == 1 else ">"
            (offset,) = struct.unpack_from(order + "Q", head, 32)
            size, count = struct.unpack_from(order + "HH", head, 54)
            file.seek(offset)
            table = file.read(size * count)
            for i in range(count):
                kind, _, start, _, _, length = struct.unpack_from(order + "IIQQQQ", table, i * size)
                if kind == 4:  # noqa: PLR2004 - PT_NOTE
                    file.seek(start)
                    if _has_go_note(file.read(min(length, 1 << 16)), order):
                        return True
    except (OSError, struct.error):
        return False
    return False


def _has_go_note(notes: bytes, order: str) -> bool:
    at = 0
    while at + 12 <= len(notes):
        name, desc, kind = struct.unpack_from(order + "III", notes, at)
        if kind == 4 and notes[at + 12 : at + 12 + name] == b"Go\0\0":  # noqa: PLR2004 - its build id
            return True
        at += 12 + (name + 3 & ~3) + (desc + 3 & ~3)
    return False
