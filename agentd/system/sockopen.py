"""Opens one held socket as declared, and says in a sentence why it cannot.

Decides what has to be true of an address before it is taken: nobody else listens there. Which generation gets the socket
is not its business.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from pathlib import Path

from agentd.core.spec import Family, ProcessSpec, SocketKind, SocketSpec
from agentd.ports import AdapterError
from agentd.system import holders, sockdiag

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_ACCEPTING = 0.2


def open_first(
    service: str, spec: SocketSpec, process: ProcessSpec, *, instead: bool = False
) -> socket.socket:
    """The first socket of an address. Raises AdapterError, also when somebody else listens there.

    ``instead``: who listens at the Unix path is our own and could not be taken back; new connections come here from now on.
    """
    try:
        match spec.kind:
            case SocketKind.UNIX:
                return _unix(spec, process, instead=instead)
            case SocketKind.UDP:
                return _inet(spec, socket.SOCK_DGRAM)
            case SocketKind.TCP:
                return _alone(spec)
    except OSError as error:
        raise AdapterError(_why(service, spec, error), error.errno or 0) from error


def open_beside(service: str, spec: SocketSpec) -> socket.socket:
    """Another TCP listener for an address that is ours already: it becomes the last of the group. Raises AdapterError."""
    try:
        return _inet(spec, socket.SOCK_STREAM, beside=True)
    except OSError as error:
        raise AdapterError(_why(service, spec, error), error.errno or 0) from error


def give(spec: SocketSpec, process: ProcessSpec) -> None:
    """The path of a Unix socket gets its owner and mode. Raises AdapterError, OSError.

    Who owns the directory may have put something else there by now: that is never given away.
    """
    ids = _owner(spec, process)
    fd = os.open(spec.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_nlink != 1:
            raise FileExistsError(errno.EEXIST, "somebody has put something else there")
        path = f"/proc/self/fd/{fd}"
        os.chown(path, *ids)
        os.chmod(path, spec.mode)  # noqa: PTH101 - a descriptor's
    finally:
        os.close(fd)


def redeclared(service: str, sock: socket.socket, spec: SocketSpec, process: ProcessSpec) -> None:
    """An open socket of the same address becomes what is declared now. Raises AdapterError."""
    try:
        if spec.kind is SocketKind.UNIX:
            give(spec, process)
        if spec.kind is not SocketKind.UDP:
            sock.listen(spec.backlog)
    except OSError as error:
        raise AdapterError(_why(service, spec, error), error.errno or 0) from error


def there(spec: SocketSpec) -> set[int]:
    """The inodes of all sockets that listen at this address, whoever has them."""
    if spec.kind is SocketKind.UNIX:
        return {inode for inode, listens in sockdiag.unix_named(spec.path) if listens}
    udp = spec.kind is SocketKind.UDP
    kind = socket.IPPROTO_UDP if udp else socket.IPPROTO_TCP
    found: set[int] = set()
    for family, host in _places(spec):
        packed = socket.inet_pton(family, host)
        rows = sockdiag.listening(family, spec.port, kind)
        found |= {row.inode for row in rows if row.local == packed and row.inode}
        if found:
            break
    return found


def is_at(candidate: socket.socket, spec: SocketSpec) -> bool:
    """Whether this is a socket that listens (UDP: is bound) at the address."""
    if spec.kind is SocketKind.UDP:
        if candidate.type is not socket.SOCK_DGRAM:
            return False
    elif not candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    if spec.kind is SocketKind.UNIX:
        return candidate.family == socket.AF_UNIX and candidate.getsockname() == spec.path
    name = candidate.getsockname()
    return (candidate.family, name[0]) in _places(spec) and name[1] == spec.port


def _places(spec: SocketSpec) -> list[tuple[socket.AddressFamily, str]]:
    """Family and address, the second only where the first cannot be had."""
    if spec.family is Family.INET:
        return [(socket.AF_INET, spec.host)]
    six = (socket.AF_INET6, spec.host)
    return [six, (socket.AF_INET, "0.0.0.0")] if spec.family is Family.DUAL else [six]  # noqa: S104 - as declared


def _inet(spec: SocketSpec, kind: socket.SocketKind, *, beside: bool = False) -> socket.socket:
    """Bound, and listening; close on exec, blocking as systemd hands them over."""
    places = _places(spec)
    for family, host in places[:-1]:
        try:
            return _bound(spec, family, host, kind, beside=beside)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return _bound(spec, *places[-1], kind, beside=beside)


def _bound(
    spec: SocketSpec,
    family: socket.AddressFamily,
    host: str,
    kind: socket.SocketKind,
    *,
    beside: bool,
) -> socket.socket:
    with contextlib.ExitStack() as undo:
        made = undo.enter_context(socket.socket(family, kind))
        if family == socket.AF_INET6:
            only = spec.family is not Family.DUAL
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # accepted sockets inherit it
            if beside:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, spec.port))
        if kind == socket.SOCK_STREAM:
            # After bind: only now would the kernel have refused an address where somebody listens.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.listen(spec.backlog)
        undo.pop_all()
    return made


def _alone(spec: SocketSpec) -> socket.socket:
    """Between bind and listen another agent may have done the same: then neither gets it."""
    made = _inet(spec, socket.SOCK_STREAM)
    others: set[int] = set()
    with contextlib.suppress(OSError):  # a kernel without sock_diag: bind alone has to do
        others = there(spec) - {os.fstat(made.fileno()).st_ino}
    if others:
        made.close()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return made


def _unix(spec: SocketSpec, process: ProcessSpec, *, instead: bool) -> socket.socket:
    """Owner and mode are set between bind and listen: before that nobody can connect."""
    path = Path(spec.path)
    _owner(spec, process)  # before anything is touched
    if instead:
        path.unlink(missing_ok=True)
    else:
        _clear(path)
    with contextlib.ExitStack() as undo:
        made = undo.enter_context(socket.socket(socket.AF_UNIX))
        made.bind(spec.path)
        undo.callback(path.unlink)
        give(spec, process)
        made.listen(spec.backlog)
        undo.pop_all()
    return made


def _clear(path: Path) -> None:
    """Remove a path that an earlier server left, and nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is something that is not a socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ACCEPTING)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError:  # full, or another kind of socket: somebody has it
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _owner(spec: SocketSpec, process: ProcessSpec) -> tuple[int, int]:
    """-1: as it comes. Raises AdapterError: nobody of that name is on this host."""
    user = spec.user if spec.user is not None else process.user
    group = spec.group if spec.group is not None else process.group
    uid = gid = -1
    try:
        if user is not None:
            if user.isdecimal():
                uid = int(user)
            else:
                account = pwd.getpwnam(user)
                uid, gid = account.pw_uid, account.pw_gid
        if group is not None:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        what = f"cannot listen on {spec.address}: no such owner: {user or group}"
        raise AdapterError(what, errno.EINVAL) from None
    return uid, gid


def _why(service: str, spec: SocketSpec, error: OSError) -> str:
    """What an operator can do about it."""
    parent = Path(spec.path).parent
    match error.errno:
        case errno.EADDRINUSE:
            why = f"the address is in use{_by_whom(spec)}; stop that, or choose another"
        case errno.EACCES | errno.EPERM if spec.kind is SocketKind.UNIX:
            why = f"{error.strerror} in {parent}; it must be writable by the agent's user"
        case errno.EACCES:
            why = f"{error.strerror}: a port below net.ipv4.ip_unprivileged_port_start needs CAP_NET_BIND_SERVICE"
        case errno.ENOENT | errno.ENOTDIR if spec.kind is SocketKind.UNIX:
            why = f"the directory {parent} does not exist; create it"
        case errno.EEXIST:
            why = f"{error.strerror}; it is left alone, remove it or choose another path"
        case errno.EADDRNOTAVAIL:
            why = f"no interface of this host has the address {spec.host}"
        case _:
            why = error.strerror or str(error)
    return f"cannot listen on {spec.address} for {service}: {why}"


def _by_whom(spec: SocketSpec) -> str:
    """The process that has it, where we may see that; also one that listens on all addresses of the port."""
    with contextlib.suppress(OSError):
        inodes = there(spec)
        if spec.kind is SocketKind.TCP:
            rows = sockdiag.listening(socket.AF_INET, spec.port)
            inodes |= {r.inode for r in (*rows, *sockdiag.listening(socket.AF_INET6, spec.port))}
        for inode in inodes - {0}:
            if (pid := holders.holder(inode)) is not None:
                return f" by {holders.named(pid)}"
    return ""
