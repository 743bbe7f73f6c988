"""The environment a service's processes start with.

Order, later wins: the agent's own without what was meant for the agent; HOME, USER, LOGNAME and SHELL of ``user``; ``env_file``; ``env``;
what the agent adds (``more``). A TRACEPARENT that the agent itself inherited is weeks old by the time of a restart: it is never passed on.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping

from agentd.core.spec import ProcessSpec, Spec
from agentd.ports import SpawnError

_ENV_FILE_LIMIT = 1 << 20
_NOT_PASSED_ON = frozenset(
    {
        "TRACEPARENT",
        "TRACESTATE",
        "BAGGAGE",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "SYSTEMD_EXEC_PID",
        "MEMORY_PRESSURE_WATCH",
        "MEMORY_PRESSURE_WRITE",
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "FDSTORE",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
        "MAINPID",
        "CREDENTIALS_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "VIRTUAL_ENV",
    }
)


def inherited(agents: Mapping[str, str]) -> dict[str, str]:
    """The agent's own environment without what was meant for the agent."""
    return {
        name: value
        for name, value in agents.items()
        if name not in _NOT_PASSED_ON and not name.startswith(("AGENTD_", "PYTHON"))
    }


def environment(
    base: Mapping[str, str], spec: Spec, generation: int, more: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment in order; ``base`` is ``inherited``. Raises SpawnError: an unknown user, an unreadable env_file."""
    env = dict(base)
    if spec.process.user is not None:
        account = _account(spec.process.user)
        env |= {
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "SHELL": account.pw_shell or "/bin/sh",
        }
    for path in spec.process.env_file:
        env |= dict(_read(path))
    env |= dict(spec.process.env)
    env |= {"AGENTD_SERVICE": spec.name, "AGENTD_GENERATION": str(generation)}
    return {**env, **more}


def owner(process: ProcessSpec, uid: int, gid: int) -> tuple[int, int]:
    """The user and group id a service runs as; ``uid`` and ``gid`` are the agent's. Raises SpawnError."""
    if process.user is not None:
        account = _account(process.user)
        uid, gid = account.pw_uid, account.pw_gid
    if process.group is not None:
        try:
            gid = (
                int(process.group)
                if process.group.isdigit()
                else grp.getgrnam(process.group).gr_gid
            )
        except KeyError:
            what = f"cannot start as group {process.group}: there is no such group"
            raise SpawnError(what, errno.EINVAL, "group") from None
    return uid, gid


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        what = f"cannot start as user {user}: there is no such user"
        raise SpawnError(what, errno.EINVAL, "user") from None


def _read(path: str) -> Iterator[tuple[str, str]]:
    """The assignments of an environment file as systemd.exec(5) has them, without continuation lines and escapes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123 - opened so that a FIFO does not wait for a writer
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise SpawnError(f"cannot read env_file {path}: not a regular file", 0, "env_file")
            text = file.read(_ENV_FILE_LIMIT).decode(errors="surrogateescape")
    except OSError as error:
        what = f"cannot read env_file {path}: {error.strerror}"
        raise SpawnError(what, error.errno or 0, "env_file") from None
    for raw in text.split("\n"):  # nothing else ends a line
        line = raw.strip()
        if not line or line[0] in "#;" or "=" not in line or "\0" in line:
            continue
        name, value = (part.strip() for part in line.split("=", 1))
        if not name:
            continue
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield name, value
