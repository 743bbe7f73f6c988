"""The output thread: moves bytes from the services' pipes to their files inside the kernel, and sleeps otherwise.

Decides when a pipe is emptied, how much goes before the next rotation, and in which order two generations of a service
share a file. Does not decide what a line means or when a pipe ends: its owner says so (``close``).

``splice`` never holds a byte in this process, so killing it loses and doubles nothing; ``tee`` looks ahead without
taking, to end a file at a line end. What cannot be written (full disk) stays in the pipe and the service blocks: that
is tried again every ``RETRY`` seconds. Room is made before anything is moved, so that a disk that is full within a line
takes none of it: the next agent could not know whose half line it finds. epoll is edge-triggered, because a pipe that is
not empty may have to wait (full disk, half a line while another generation writes) and must not wake the thread
meanwhile. What needs nobody's attention yet (a new pipe, the end of an empty one) is posted without ringing: it is done
before the next byte is moved.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from agentd.system.logfile import LogFile, cut
from agentd.system.pipe import LARGE_PIPE, Pipe, Scratch
from agentd.system.room import make_room

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY = 1.0
"""Seconds between two attempts to write what could not be written."""
LINE_WAIT = 1.0
"""Seconds that one generation waits for another to finish its line; then the line is ended for it."""
_LOOK_AHEAD = 1 << 16
"""How far a line end is looked for at first; a longer line costs a second look."""


class Splicer:
    """The thread and what is posted to it. It starts with the first pipe."""

    def __init__(self, grown: Callable[[LogFile], None]) -> None:
        self._grown = grown
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._inbox: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._pipes: dict[int, Pipe] = {}
        self._busy: set[Pipe] = set()
        self._due: dict[Pipe, float] = {}
        """When to try a pipe again although no new byte woke us."""
        self._scratch: Scratch | None = None
        self._behind: threading.Event | None = None
        self._stopping = False
        self.stalled: frozenset[str] = frozenset()
        """Paths of the files that cannot be written just now."""

    # --- any thread ---------------------------------------------------------------------------------------------

    def post(self, command: Callable[[], None]) -> None:
        """Have the thread do something before it moves another byte, in the order of posting; ``ring`` has it done now."""
        self._inbox.append(command)

    def listen(self, pipe: Pipe) -> None:
        """Be woken by its first byte; post ``add`` before. Raises OSError: no memory, or too many are watched."""
        self._epoll.register(pipe.fd, select.EPOLLIN | select.EPOLLET)
        pipe.armed = True
        self._begin()

    def ring(self) -> None:
        """Wake the thread for what was posted."""
        os.eventfd_write(self._bell, 1)
        self._begin()

    def _begin(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="output", daemon=True)
            self._thread.start()

    def ask(self, command: Callable[[], None], patience: float) -> bool:
        """Post and wait until done; False when it took longer (a stuck disk).

        While an earlier question is still unanswered nobody waits again: one stall must not become one per caller.
        """
        if self._behind is not None and not self._behind.is_set():
            self.post(command)
            self.ring()
            return False
        done = threading.Event()

        def act() -> None:
            command()
            done.set()

        self.post(act)
        self.ring()
        self._behind = None if done.wait(patience) else done
        return self._behind is None

    def stop(self, patience: float) -> None:
        """Take what is in the pipes now, then end for good. The services' ends stay open: they live on."""
        if self._thread is not None and self._thread.is_alive():
            self.post(self._stop)
            self.ring()
            self._thread.join(patience)
            if self._thread.is_alive():
                return  # a stuck disk: the process ends without it
        self._epoll.close()
        os.close(self._bell)

    # --- the thread: what is posted to it -----------------------------------------------------------------------

    def add(self, pipe: Pipe, *, adopted: bool) -> None:
        """Begin to read. An adopted pipe may have to finish the line that the file ends with."""
        pipe.measure()
        self._pipes[pipe.fd] = pipe
        log = pipe.log
        log.pipes = (*log.pipes, pipe)
        if adopted and log.owner is None:
            log.owner = pipe

    def drain(self, log: LogFile) -> None:
        """Take what the pipes of this file hold now, but not what a busy writer goes on adding."""
        for pipe in log.pipes:
            self._drain(pipe)

    def pending(self, log: LogFile) -> int:
        """Bytes that could not be taken yet."""
        return sum(pipe.pending() for pipe in log.pipes)

    def close(self, pipe: Pipe) -> None:
        """Empty the pipe and let it go. One that a stray child still holds is read on until that one ends too."""
        pipe.closing = True
        gone = pipe.others_ended()
        if pipe.pending():
            self.drain(pipe.log)  # first: another generation may be in the middle of its line
            while self._turn(pipe):
                pass
        if pipe.fd < 0 or pipe.pending():
            return
        if gone:
            self._let_go(pipe)
        else:
            self._end_line(pipe)

    def _drain(self, pipe: Pipe) -> None:
        left = pipe.pending()
        while left > 0 and (moved := self._turn(pipe)):
            left -= moved

    def _stop(self) -> None:
        for pipe in tuple(self._pipes.values()):
            self._drain(pipe)
        for pipe in self._pipes.values():
            pipe.release()
            pipe.log.close()
        if self._scratch is not None:
            self._scratch.close()
        self._stopping = True

    # --- the thread: its loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            events = self._epoll.poll(self._patience())
            while self._inbox:  # first: the pipe of an event may be in there
                self._inbox.popleft()()
            for fd, _ in events:
                if fd == self._bell:
                    os.eventfd_read(self._bell)
                elif (pipe := self._pipes.get(fd)) is not None:
                    self._busy.add(pipe)
            self._wake_due()
            pause = 0.0
            for pipe in tuple(self._busy):
                if moved := self._turn(pipe):
                    pause = max(pause, _pause(pipe, moved))
                    self._disarm(pipe)
                else:
                    self._busy.discard(pipe)
                    self._arm(pipe)
            if pause and not self._inbox:
                time.sleep(pause)

    def _patience(self) -> float | None:
        """How long epoll may sleep: not at all while busy, for ever when nothing is due."""
        if self._busy or self._inbox:
            return 0
        return max(min(self._due.values()) - time.monotonic(), 0) if self._due else None

    def _wake_due(self) -> None:
        if self._due:
            now = time.monotonic()
            for pipe in [pipe for pipe, due in self._due.items() if due <= now]:
                del self._due[pipe]
                pipe.waited = True
                self._busy.add(pipe)

    def _arm(self, pipe: Pipe) -> None:
        """Be woken by its next byte; one that came before this is reported at once."""
        if not pipe.armed and not pipe.ended and pipe.fd >= 0:
            self._epoll.register(pipe.fd, select.EPOLLIN | select.EPOLLET)
            pipe.armed = True

    def _disarm(self, pipe: Pipe) -> None:
        """While we come back by ourselves, the writer need not pay for waking us with each line."""
        if pipe.armed and pipe.fd >= 0:
            self._epoll.unregister(pipe.fd)
            pipe.armed = False

    # --- the thread: one pipe -----------------------------------------------------------------------------------

    def _turn(self, pipe: Pipe) -> int:
        """Move one chunk; the bytes moved, 0 when there is nothing to do for now."""
        if pipe.fd < 0 or pipe.ended:
            return 0
        try:
            pipe.log.open()
            moved = self._move(pipe) if self._may_write(pipe) else 0
        except BlockingIOError:
            moved = 0
        except OSError:  # ENOSPC, EDQUOT, EIO, EROFS …: it stays in the pipe
            self._due[pipe] = time.monotonic() + RETRY
            self.stalled |= {pipe.log.path}
            return 0
        if moved:
            self._due.pop(pipe, None)
            pipe.waited = False
            self.stalled -= {pipe.log.path}
            if moved * 2 >= pipe.capacity and pipe.may_grow:
                pipe.grow()
            self._grown(pipe.log)
        if pipe.ended and pipe.closing:
            self._let_go(pipe)
        return moved

    def _may_write(self, pipe: Pipe) -> bool:
        """Whether it is this pipe's turn: it wrote last, or the file ends at a line end, or the other took too long."""
        log, owner = pipe.log, pipe.log.owner
        if owner is pipe:
            return True
        gone = pipe.closing and pipe.others_ended()
        if not pipe.pending():
            pipe.ended = gone
            return False
        if log.midline():
            stuck = (
                log.path in self.stalled
            )  # then the other one cannot finish its line, and we could not write either
            if owner is not None and (stuck or not (pipe.waited or pipe.closing)):
                self._due.setdefault(pipe, time.monotonic() + LINE_WAIT)
                return False
            log.end_line()
        log.owner = pipe
        return True

    def _move(self, pipe: Pipe) -> int:
        """Splice as much as belongs into the current file, and begin the next file where this one ends."""
        log = pipe.log
        log.go_on_at_end()
        if len(log.pipes) == 1:
            if 0 < (pending := pipe.pending()) <= log.room:
                make_room(log.fd, log.current, pending)
                return self._splice(pipe, pending)
            if not pending and log.room >= pipe.capacity:  # its end, or nothing for now
                return self._splice(pipe, pipe.capacity)
            peeked = self._peek(pipe, max(log.room, 0) + _LOOK_AHEAD)
        else:
            peeked = self._whole_lines(pipe)
        if not peeked:
            return 0
        where = cut(peeked, room=log.room, current=log.current, midline=log.midline())
        left = where.take
        if left > 0:
            make_room(log.fd, log.current, left)
        while left > 0:
            left -= self._splice(pipe, left)
        if where.rotate:
            log.rotate()
        return where.take or self._move(pipe)  # the line that did not fit begins the new file

    def _whole_lines(self, pipe: Pipe) -> bytes:
        """What may go to a file that another generation writes too: up to a line end, within reason."""
        peeked = self._peek(pipe, _LOOK_AHEAD)
        end = peeked.rfind(b"\n") + 1
        if not end and len(peeked) == _LOOK_AHEAD:
            peeked = self._peek(pipe, pipe.capacity)
            end = peeked.rfind(b"\n") + 1
        if end or not peeked:
            return peeked[:end]
        full = len(peeked) * 2 >= pipe.capacity
        if (
            full or pipe.waited or pipe.closing or pipe.log.midline()
        ):  # midline: it is ours, or we were not here
            return peeked
        self._due.setdefault(pipe, time.monotonic() + LINE_WAIT)
        return b""

    def _splice(self, pipe: Pipe, count: int) -> int:
        log = pipe.log
        flags = os.SPLICE_F_NONBLOCK
        moved = os.splice(pipe.fd, log.fd, count, offset_dst=log.current, flags=flags)
        pipe.ended = moved == 0
        log.grew(moved)
        return moved

    def _peek(self, pipe: Pipe, count: int) -> bytes:
        """The first bytes in the pipe, which stay there. Raises BlockingIOError when there are none."""
        if self._scratch is None:
            self._scratch = Scratch()
        peeked = self._scratch.peek(pipe, count)
        pipe.ended = not peeked
        return peeked

    def _end_line(self, pipe: Pipe) -> None:
        """Its last words may lack a line end; what comes next must not be glued to them."""
        if pipe.log.owner is pipe:
            pipe.log.owner = None
            try:
                pipe.log.open()
                if pipe.log.midline():
                    pipe.log.end_line()
                    self._grown(pipe.log)
            except OSError:
                return  # the next writer does it

    def _let_go(self, pipe: Pipe) -> None:
        """Closed, empty, and nobody holds the other side: nothing more can come."""
        log = pipe.log
        del self._pipes[pipe.fd]
        self._busy.discard(pipe)
        self._due.pop(pipe, None)
        self._end_line(pipe)
        pipe.release()
        log.pipes = tuple(other for other in log.pipes if other is not pipe)
        if not log.pipes:
            log.owner = None
            log.close()


def _pause(pipe: Pipe, moved: int) -> float:
    """How long to let a line-buffered writer collect; a pipe that was half full again is taken at once."""
    return 0.0 if moved * 2 >= pipe.capacity else pipe.capacity / LARGE_PIPE / 1000
