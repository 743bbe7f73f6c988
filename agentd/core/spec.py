"""What an operator declares about one service, parsed: the *spec* half of spec/status.

Only values and their defaults live here. Reading files, finding users and expanding recipes is ``agentd.config``'s work.
Durations are seconds, sizes are bytes, signals are names without ``SIG``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentd.core.question import Question
    from agentd.core.steps import Evidence, Step


class Restart(StrEnum):
    """When a service that ended by itself is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause before the next start: ``first * factor ** (failures - 1)``, at most ``max``; forgotten after ``reset`` in ready."""

    first: float = 0.1
    factor: float = 2.0
    max: float = 30.0
    reset: float = 60.0


@dataclass(frozen=True, slots=True)
class StartLimit:
    """More than ``burst`` starts within ``interval`` seconds and the instance is failed (systemd's StartLimitBurst=)."""

    burst: int = 5
    interval: float = 60.0


@dataclass(frozen=True, slots=True)
class ReadyNotify:
    """Ready when the service sends ``READY=1`` (sd_notify(3))."""


@dataclass(frozen=True, slots=True)
class ReadyAfter:
    """A declared guess: ready when it has lived this long."""

    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """GET answers 2xx or 3xx. ``url`` is ``http://host:port/path`` or ``http+unix://%2Fpath%2Fof.sock/path``."""

    url: str
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A TCP connection is accepted."""

    host: str
    port: int
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class ExecProbe:
    """The command exits 0; it runs as the service's user."""

    argv: tuple[str, ...]
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class WorkersProbe:
    """The main process has at least one child: a master that parsed its file and bound its sockets (nginx, HAProxy -W)."""

    timeout: float = 2.0


Probe = HttpProbe | TcpProbe | ExecProbe | WorkersProbe


@dataclass(frozen=True, slots=True)
class ReadyProbe:
    """Ready when the probe passes; asked every ``interval`` seconds until the start timeout."""

    probe: Probe
    interval: float = 0.1


Ready = ReadyNotify | ReadyAfter | ReadyProbe


@dataclass(frozen=True, slots=True)
class Verify:
    """Whether the service is well with what it took: asked for a while, and only an answer of its own processes counts.

    It is found bad by ``threshold`` failures in a row, or by its end; it is good when the last answer of that while was a pass.
    """

    probe: Probe
    seconds: float = 2.0
    interval: float = 0.2
    threshold: int = 3


@dataclass(frozen=True, slots=True)
class Alive:
    """Whether a service that is ready still serves: asked every ``interval`` seconds; ``threshold`` failures in a row are its end."""

    probe: Probe
    interval: float = 10.0
    threshold: int = 3


class OnFailure(StrEnum):
    """What becomes of bytes that were found bad."""

    KEEP = "keep"
    """They stay, and what was before goes on where the server kept it."""
    RESTORE = "restore"
    """The last good configuration is put back, taken and verified again."""
    FORCE = "force"
    """The same, also over inputs that are read-only, symbolic links, or kept in git."""

    @property
    def restores(self) -> bool:
        """Whether anything is put back."""
        return self is not OnFailure.KEEP


GROUP_LIMITS = {
    "memory_max": "memory",
    "memory_high": "memory",
    "memory_swap_max": "memory",
    "pids_max": "pids",
    "cpu_weight": "cpu",
}
"""The limits of a service as a whole, and the controller of cgroup v2 that each takes. Its files have dots for the underscores."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What the spawner needs to know to start the service's main process."""

    command: tuple[str, ...]
    user: str | None = None
    group: str | None = None
    cwd: str | None = None
    umask: int | None = None
    nice: int | None = None
    env: tuple[tuple[str, str], ...] = ()
    env_file: tuple[str, ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    """Resource limits by setrlimit(2) name in lower case without RLIMIT_ ("nofile"); soft and hard are set to the value.

    And those of its control group (``GROUP_LIMITS``). -1: unlimited.
    """
    watchdog: float | None = None
    """Seconds in which the service, once ready, says each time that it lives; None: nobody waits for that."""


@dataclass(frozen=True, slots=True)
class Check:
    """The command that says whether the inputs are acceptable; runs as the service's user, its whole group ends at ``timeout``."""

    argv: tuple[str, ...]
    timeout: float = 30.0
    warnings: str | None = None
    """Regular expression: a line of its output that is no acceptance, whatever the exit code; None: warnings are none of our business."""

    @property
    def staged(self) -> bool:
        """Whether it looks at a copy of what was read, and not at the files themselves."""
        return any(STAGED in word for word in self.argv)

    def on(self, copy: str) -> tuple[str, ...]:
        """The command for a copy in this directory."""
        return tuple(word.replace(STAGED, copy) for word in self.argv)

    def warned(self, output: Iterable[str]) -> str:
        """The first line that is a warning; empty: none is, or they are allowed."""
        if self.warnings is None:
            return ""
        found = re.compile(self.warnings)
        return next((line for line in output if found.search(line)), "")


@dataclass(frozen=True, slots=True)
class Included:
    """The command that names the files which the inputs include; runs as the check does, its whole group ends at ``timeout``."""

    argv: tuple[str, ...]
    pattern: str
    """Regular expression with one group: of a line of its output in which it is found, the path of a file."""
    timeout: float = 30.0
    written: str | None = None
    """The same for the file that the service writes anew each time it has taken its configuration."""


STAGED = "{staged}"
"""Stands in a check for the directory of the copy."""


class SocketKind(StrEnum):
    """What a held socket is."""

    TCP = "tcp"
    UNIX = "unix"
    UDP = "udp"


class Family(StrEnum):
    """Which internet protocol a held socket speaks; Unix sockets do not look at it."""

    INET = "inet"
    INET6 = "inet6"
    DUAL = "dual"
    """Both, by one IPv6 socket; IPv4 alone on a host without IPv6."""


@dataclass(frozen=True, slots=True)
class SocketSpec:
    """A socket that the agent opens, keeps, and hands to each generation of the service."""

    name: str
    """What the service finds in LISTEN_FDNAMES."""
    kind: SocketKind
    host: str = ""
    """A numeric address; of TCP and UDP."""
    port: int = 0
    path: str = ""
    """Of Unix sockets; absolute."""
    mode: int = 0o660
    user: str | None = None
    """Owner of the path; None: the service's user."""
    group: str | None = None
    backlog: int = 4096
    """How many connections may wait; the kernel allows at most net.core.somaxconn."""
    family: Family = Family.INET

    @property
    def address(self) -> str:
        """As an operator would write it."""
        if self.kind is SocketKind.UNIX:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        prefix = "udp:" if self.kind is SocketKind.UDP else ""
        return f"{prefix}{'' if self.family is Family.DUAL else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class WatchSpec:
    """How a change of the inputs becomes a reload."""

    debounce: float = 0.2
    settle_limit: float = 5.0
    rescan: float = 60.0


@dataclass(frozen=True, slots=True)
class LogSpec:
    """The service's captured output: rotated at ``size`` bytes, ``keep`` old files."""

    size: int = 10 * 1024 * 1024
    keep: int = 5


@dataclass(frozen=True, slots=True)
class VersionKey:
    """The version's name is read from this key (dotted path) of this JSON, TOML or YAML file."""

    file: str
    path: str


@dataclass(frozen=True, slots=True)
class AttributeKey:
    """An attribute of this service's reload spans, read from one of its inputs (JSON, TOML or YAML, by the file's name)."""

    name: str
    file: str
    """Absolute path of the input."""
    path: str
    """JMESPath expression (jmespath.org) whose value is a string or a number."""


@dataclass(frozen=True, slots=True)
class ReloadSpec:
    """How the service takes new configuration."""

    handle: str = "signal"
    steps: tuple[Step, ...] = ()
    """What the handle expanded to; performed in order in the phase ``apply``."""
    check: Check | None = None
    confirm: tuple[Evidence, ...] = ()
    """Each one must agree; the strongest names the verdict's confirmation. Empty: reloads end ``unverified``."""
    timeout: float = 30.0
    """Bound on apply and confirm together."""
    every: float | None = None
    """Seconds after which the inputs are looked at again unasked."""
    splay: float = 0.0
    """At most so many seconds, drawn by chance, are added to that and to what a watch waits: not all hosts reload at once."""
    verify: Verify | None = None
    """Asked when it has taken them, before the verdict."""
    soak: Verify | None = None
    """Asked seldom and for a long while, after the verdict; None: nobody looks after it."""
    on_failure: OnFailure = OnFailure.KEEP
    missing_grace: float = 2.0
    """How long an input may be absent before a watch calls it missing."""
    report: Question | None = None
    """What names the settings that were not taken, or only after a restart; None: there is no such answer."""
    partial: str | None = None
    """Regular expression: the words by which the service, refusing, says that it took some of it."""

    def some(self, lines: Iterable[str]) -> bool:
        """Whether it says so in one of these."""
        return self.partial is not None and any(re.search(self.partial, line) for line in lines)


@dataclass(frozen=True, slots=True)
class Spec:
    """One service as declared."""

    name: str
    process: ProcessSpec
    inputs: tuple[str, ...] = ()
    """Absolute paths, globs and directories, in the order written."""
    included: Included | None = None
    """What names further inputs: the files that these include."""
    secret: tuple[str, ...] = ()
    snapshot: bool = True
    version: VersionKey | None = None
    attributes: tuple[AttributeKey, ...] = ()
    """What the configuration says of itself, for the spans."""
    ready: Ready = field(default_factory=ReadyAfter)
    start_timeout: float = 30.0
    alive: Alive | None = None
    """None: nobody asks."""
    pid_file: str | None = None
    """Where the service writes which of its processes is the main one; None: nowhere."""
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    restart: Restart = Restart.ON_FAILURE
    backoff: Backoff = field(default_factory=Backoff)
    start_limit: StartLimit = field(default_factory=StartLimit)
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    overlap: bool = True
    """Two generations may run at once; False: the old one ends before the next one starts."""
    instances: int = 1
    """So many of it run side by side; each has its own generations."""
    max_generations: int = 3
    """At most so many of one instance are alive at once, those that drain included."""
    drain_timeout: float = 30.0
    """How long a former generation may go on with the connections it has."""
    takes_over: bool = False
    """The next generation takes what listens from the former one by itself, and that one then ends by itself."""
    sockets: tuple[SocketSpec, ...] = ()
    """In the order in which the service gets them, from descriptor 3 on."""
    watch: WatchSpec | None = None
    logs: LogSpec = field(default_factory=LogSpec)
    reload: ReloadSpec = field(default_factory=ReloadSpec)
    removed: bool = False
    """It is declared no more and only here to be stopped; what was wanted of it is not forgotten."""
    digest: str = ""
    """Hash of the definition itself: with the inputs' hash, what a quarantine is tied to."""
