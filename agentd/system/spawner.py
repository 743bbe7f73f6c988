"""The spawner: a program of its own that gives birth to the agent's children. Run as a file, never imported.

It decides nothing: who runs as what comes in the request, and what a failure means is the agent's business. It exists
because the steps between fork and exec (session, cgroup, limits, user, the wait for "go") need code in the child, and
code after a fork is only sound in a process with one thread. The agent has several; this program has one and imports
little. This is the one place where the product forks.

A request is one byte on the SOCK_SEQPACKET socket that is descriptor 0, with SCM_RIGHTS [channel, output, spec,
listeners...], and with "l" instead of "s" as its byte the leaf as the last one.
``channel`` is a SEQPACKET socket of this child alone, so that a thousand births need no routing of answers:

    child → agent   ("born", pid, in_leaf) with a pidfd      it exists, and waits
    agent → child   one byte                                 go; the end of the file instead: exit without exec
    child → agent   ("failed", errno, step, what)            and exits; the end of the file instead: exec succeeded

``spec`` is a memfd with the marshalled request, read by the child. The program leaves when its socket ends.
"""

import _socket
import ctypes
import marshal
import posix
import sys

CLONE_PARENT = 0x8000
CLONE_INTO_CGROUP = 0x2_0000_0000
SYS_CLONE3 = 435  # the same on every architecture
SYS_RT_SIGACTION = 13 if posix.uname().machine == "x86_64" else 134
EPERM, EINTR, EAGAIN, EACCES, EINVAL, ENOTDIR, ENOSYS = 1, 4, 11, 13, 22, 20, 38
ENOENT = 2
MOST = 253  # descriptors in one message: SCM_MAX_FD of the kernel
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

end = posix._exit  # noqa: SLF001 - its public name is os._exit, and os is not imported to stay small
libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL keeps the GIL: nothing to take back in the child
libc.syscall.restype = ctypes.c_long


class CloneArgs(ctypes.Structure):
    """``struct clone_args`` of clone3(2), 88 bytes (Linux 5.7, the first with ``cgroup``)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


class Clone:
    """Births a child of the agent: by clone3 with CLONE_PARENT, or by two forks where that is not permitted."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed

    def __call__(self, leaf: int | None) -> tuple[int, bool]:
        """(0, inside the leaf) in the child, (not 0, …) in the spawner. Raises OSError."""
        if self.allowed:
            pid, error = self._clone(leaf)
            # Born outside when the leaf is not to be had: a service must never fail because of cgroups.
            if error and error not in (EAGAIN, EPERM, ENOSYS) and leaf is not None:
                leaf = None
                pid, error = self._clone(None)
            if error == 0:
                return pid, leaf is not None
            if error not in (EPERM, ENOSYS, EINVAL):
                raise OSError(error, "clone3")
            self.allowed = False  # an old kernel, or a seccomp filter of a container
        return fork_twice(leaf)

    def _clone(self, leaf: int | None) -> tuple[int, int]:
        args = CloneArgs(
            flags=CLONE_PARENT
        )  # exit_signal must be 0: it is taken over from the caller
        if leaf is not None:
            args.flags |= CLONE_INTO_CGROUP
            args.cgroup = leaf
        pid = libc.syscall(SYS_CLONE3, ctypes.byref(args), ctypes.sizeof(args))
        return pid, ctypes.get_errno() if pid < 0 else 0


def fork_twice(leaf: int | None) -> tuple[int, bool]:
    """The middle process exits at once, so the child falls to the nearest subreaper, which is the agent."""
    settled, settle = posix.pipe()
    middle = posix.fork()
    if middle == 0:
        try:
            child = posix.fork()
        except OSError as error:
            end(error.errno or EAGAIN)
        if child:
            end(0)
        posix.close(settle)
        posix.read(settled, 1)  # only once the middle is reaped is the agent the parent for certain
        posix.close(settled)
        return 0, leaf is not None and enter(leaf)
    posix.close(settled)
    status = posix.waitstatus_to_exitcode(posix.waitpid(middle, 0)[1])
    posix.close(settle)
    if status:
        raise OSError(status if status > 0 else EAGAIN, "fork")
    return middle, False


def enter(leaf: int) -> bool:
    """Move this process into the leaf; False when it may not."""
    try:
        procs = posix.open("cgroup.procs", posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=leaf)
        posix.write(procs, b"0")
        posix.close(procs)
    except OSError:
        return False
    return True


def default_signals() -> None:
    """Every disposition default, nothing blocked: Python ignores SIGPIPE, ``nohup`` SIGHUP, and exec hands that on."""
    default = ctypes.byref((ctypes.c_uint64 * 4)())
    for number in range(
        1, 65
    ):  # past the C library, which keeps 32 and 33 to itself: whoever ignored those is not undone
        libc.syscall(SYS_RT_SIGACTION, number, default, None, 8)
    libc.sigprocmask(2, ctypes.byref((ctypes.c_uint64 * 16)()), None)


def execute(argv: list[bytes], env: dict[bytes, bytes]) -> OSError:
    """execvpe(3) with the PATH the child will have; returns only to say why not."""
    paths = [argv[0]]
    if b"/" not in argv[0]:
        paths = [(d or b".") + b"/" + argv[0] for d in env.get(b"PATH", DEFAULT_PATH).split(b":")]
    said = OSError(ENOENT, "exec")
    for path in paths:
        try:
            posix.execve(path, argv, env)
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                said = error  # EACCES of one directory does not hide the program in the next (execvp(3))
                if error.errno != EACCES:
                    break
    return said


def prepare(
    channel: _socket.socket, output: int, spec: int, null: int, listeners: list[int]
) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Everything before exec, in the order that rights allow; the failing step is named to the agent."""
    step = "descriptors"
    what = b""
    try:
        posix.dup2(null, 0)  # this also lets go of the spawner's own socket
        posix.dup2(output, 1)
        posix.dup2(output, 2)
        for i, listener in enumerate(listeners):
            posix.dup2(listener, 3 + i)
        size = posix.fstat(spec).st_size
        argv, env, cwd, umask, nice, limits, ids = marshal.loads(  # noqa: S302 - from the agent
            posix.pread(spec, size, 0)
        )
        if listeners:
            env[b"LISTEN_PID"] = b"%d" % posix.getpid()
        if b"WATCHDOG_USEC" in env:
            env[b"WATCHDOG_PID"] = b"%d" % posix.getpid()
        if nice is not None:
            step, what = "nice", b"%d" % nice
            posix.setpriority(posix.PRIO_PROCESS, 0, nice)
        for name, number, value in limits:
            import resource  # noqa: PLC0415 - most services set none, and the spawner is kept small

            step, what = "rlimit " + name, b"%d" % value
            resource.setrlimit(number, (value, value))
        if ids is not None:
            uid, gid, groups = ids
            step, what = "setgroups", b""
            posix.setgroups(groups)
            step, what = "setgid", b"%d" % gid
            posix.setresgid(gid, gid, gid)
            step, what = "setuid", b"%d" % uid
            posix.setresuid(uid, uid, uid)
        if umask is not None:
            posix.umask(umask)
        if cwd is not None:
            step, what = "chdir", cwd
            posix.chdir(cwd)
    except (OSError, ValueError) as error:
        fail(channel, getattr(error, "errno", None) or EINVAL, step, what, wait=True)
    return argv, env


def say(channel: _socket.socket, message: bytes) -> None:
    """Tell the agent; it may have given this one up meanwhile."""
    try:  # noqa: SIM105 - contextlib is not imported to stay small
        channel.send(message, _socket.MSG_NOSIGNAL)
    except OSError:
        pass


def fail(channel: _socket.socket, errno: int, step: str, what: bytes, *, wait: bool) -> None:
    """Say why, and end. ``wait``: take the "go" first, or its arrival at a closed socket would hide what was said."""
    say(channel, marshal.dumps(("failed", errno, step, what)))
    if wait:
        channel.recv(1)
    end(127)


def lift(fds: list[int], beyond: int) -> list[int]:
    """Copies above all of them and above ``beyond``, so that none is overwritten while others are put in their places."""
    base = max(beyond, *fds) + 1
    return [posix.dup2(fd, base + i, inheritable=False) for i, fd in enumerate(fds)]


def child(fds: list[int], null: int, *, inside: bool) -> None:
    """From birth to exec; ``fds`` are channel, output, spec and listeners. Never returns."""
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fds[0])
    posix.setsid()
    pid = posix.getpid()
    pidfd = posix.pidfd_open(pid, 0).to_bytes(4, sys.byteorder)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pidfd)]
    channel.sendmsg([marshal.dumps(("born", pid, inside))], rights, _socket.MSG_NOSIGNAL)
    if len(fds) > 3:  # noqa: PLR2004
        try:
            fds = lift(fds, max(null, len(fds)))
        except OSError as error:
            fail(channel, error.errno or EINVAL, "descriptors", b"", wait=True)
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fds[0])
    argv, env = prepare(channel, fds[1], fds[2], null, fds[3:])
    if not channel.recv(1):
        end(127)  # no permit, or no agent any more: nothing may run that is not written down
    try:
        why = execute(argv, env)
    except ValueError:  # a NUL byte in an argument
        why = OSError(EINVAL, "exec")
    fail(channel, why.errno or EINVAL, "exec", argv[0], wait=False)


def born(clone: Clone, fds: list[int], leaf: int | None, null: int) -> None:
    """Serve one request. What goes wrong before there is a child is told on its channel."""
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fds[0])
    try:
        pid, inside = clone(leaf)
    except OSError as error:
        say(channel, marshal.dumps(("failed", error.errno, "fork", b"")))
        pid = -1
    if pid == 0:
        try:
            child(fds, null, inside=inside)
        finally:
            end(127)  # whatever happened: a second spawner must not come out of a child
    channel.close()
    for fd in fds[1:]:
        posix.close(fd)
    if leaf is not None:
        posix.close(leaf)


def main() -> None:
    """Serve until the agent's end of the socket is closed."""
    default_signals()
    while (null := posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)) <= 2:  # noqa: PLR2004
        pass  # 0 to 2 are taken from now on: no received descriptor can be one of them
    clone = Clone(allowed=sys.argv[1:] != ["fork"])
    requests = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, 0)
    size = _socket.CMSG_SPACE(MOST * 4)
    while True:
        data, rights, _, _ = requests.recvmsg(1, size, _socket.MSG_CMSG_CLOEXEC)
        if not data:
            return
        fds = [
            int.from_bytes(block[i : i + 4], sys.byteorder)
            for _, _, block in rights
            for i in range(0, len(block) - 3, 4)
        ]
        born(clone, fds, fds.pop() if data == b"l" else None, null)


if __name__ == "__main__":
    main()
