"""The one table of keys: names, kinds, defaults and help; read by the loader, printed in the manual.

Decides which keys exist. Their defaults are those of ``agentd.core.spec``, which a test compares.
"""

from __future__ import annotations

from typing import NamedTuple

from agentd import recipes
from agentd.config import host, shapes
from agentd.config import kinds as k
from agentd.config.access import Access
from agentd.config.definitions import AgentSpec, OnTerminate
from agentd.config.keys import Key, Kind, table
from agentd.core.spec import (
    Backoff,
    Check,
    LogSpec,
    Ready,
    Restart,
    StartLimit,
    VersionKey,
    WatchSpec,
)
from agentd.handles import HANDLES


class ReloadTable(NamedTuple):
    """[service.NAME.reload] as parsed; None: not declared, and no recipe knows."""

    handle: str
    signal: str
    signal_handled: bool
    check: Check | None
    confirm: tuple[shapes.Confirm, ...] | None
    timeout: float


class ServiceTable(NamedTuple):
    """[service.NAME] as parsed, recipe included; its fields are the keys."""

    command: tuple[str, ...]
    recipe: str | None
    inputs: tuple[str, ...]
    secret: tuple[str, ...]
    snapshot: bool
    version: VersionKey | None
    user: str | None
    group: str | None
    cwd: str | None
    umask: int | None
    nice: int | None
    env: tuple[tuple[str, str], ...]
    env_file: tuple[str, ...]
    limits: tuple[tuple[str, int], ...]
    ready: Ready | None
    start_timeout: float
    stop_signal: str
    stop_timeout: float
    restart: Restart
    backoff: Backoff
    start_limit: StartLimit
    after: tuple[str, ...]
    requires: tuple[str, ...]
    watch: WatchSpec | None
    logs: LogSpec
    reload: ReloadTable


_NO_ACCESS = 'Each entry is "*", "user:NAME" or "group:NAME"; a level includes those before it.'

ACCESS: Kind[Access] = table(
    "a table",
    Access,
    Key(
        "read", host.PRINCIPALS, f"Status, history, and reloads without output. {_NO_ACCESS}", ["*"]
    ),
    Key(
        "inspect",
        host.PRINCIPALS,
        "Logs, diffs and the output of checks: what may hold secrets.",
        [],
    ),
    Key("operate", host.PRINCIPALS, "Reload, check, start, stop, restart, hold and release.", []),
    Key("admin", host.PRINCIPALS, "The agent itself: its definitions and its end.", []),
)

AGENT: Kind[AgentSpec] = table(
    "a table",
    AgentSpec,
    Key(
        "include",
        k.GLOBS,
        "More files with services, as globs relative to this file; read in the order written, each glob's in the order "
        "of names. Only the first file may have [agent].",
        [],
    ),
    Key(
        "on_terminate",
        k.one_of(OnTerminate),
        "What SIGTERM to the agent does: stop every service, or leave them running for the next agent to adopt. "
        "When the host goes down they are stopped all the same.",
        when_unset='what agentd --on-terminate says, else "stop"',
    ),
    Key("access", ACCESS, "Who may ask for what.", {}),
)

RELOAD: Kind[ReloadTable] = table(
    "a table",
    ReloadTable,
    Key(
        "handle",
        k.name_in(lambda: tuple(HANDLES), "handle"),
        "How the service takes new configuration: signal sends a signal to its main process.",
        "signal",
    ),
    Key("signal", host.HANDLED_SIGNAL, "The signal that asks for it, with or without SIG.", "HUP"),
    Key(
        "signal_handled",
        k.BOOLEAN,
        "The service is known to handle the signal although that cannot be seen from outside (Go, JVM). Otherwise a "
        "signal that would end the service is not sent.",
        default=False,
    ),
    Key(
        "check",
        shapes.CHECK,
        "The command that says whether the inputs are acceptable; it runs as the service's user before anything is "
        "touched, and when it does not exit 0 the reload is rejected.",
        when_unset="the recipe's, else none",
    ),
    Key(
        "confirm",
        shapes.CONFIRM,
        'What shows that a reload took effect; every entry must agree. "workers": new children serve and the old ones '
        'are gone or draining. { log = "REGEX" }: a line of the output, after the signal. "delivered": your word that '
        "being alive shortly after is enough. Without any, reloads end unverified.",
        when_unset="the recipe's, else []",
    ),
    Key("timeout", k.POSITIVE, "Bound on the signal and the evidence together.", "30s"),
)

SERVICE: Kind[ServiceTable] = table(
    "a table",
    ServiceTable,
    Key(
        "command",
        k.ARGV,
        "The program and its arguments; it must stay in the foreground. A bare name is searched for in PATH. No shell "
        "is involved.",
        required='command = ["PROGRAM", "ARGUMENT"]',
    ),
    Key(
        "recipe",
        k.name_in(recipes.names, "recipe"),
        "What is known of a common server fills in the keys that are not set here.",
    ),
    Key(
        "inputs",
        k.PATHS,
        "The files, directories and globs whose bytes are the service's configuration.",
        [],
    ),
    Key("secret", k.PATHS, "Inputs that are hashed with a key of this host and never kept.", []),
    Key(
        "snapshot",
        k.BOOLEAN,
        "Keep the bytes of the inputs privately, for diffs; false: hashes only.",
        default=True,
    ),
    Key(
        "version",
        shapes.VERSION,
        "Where the inputs' human version is written.",
        when_unset="the git commit when clean, else 12 hex digits of the hash",
    ),
    Key("user", host.USER, "User to run as, a name or digits.", when_unset="the agent's"),
    Key("group", host.GROUP, "Group to run as, a name or digits.", when_unset="the user's"),
    Key("cwd", k.PATH, "Directory to run in.", when_unset="the agent's"),
    Key(
        "umask",
        k.UMASK,
        'File mode mask, octal digits in a string such as "0022".',
        when_unset="the agent's",
    ),
    Key("nice", k.integer(-20, 19), "Scheduling priority.", when_unset="the agent's"),
    Key("env", k.ENV, "Environment variables, over those of env_file.", {}),
    Key(
        "env_file",
        k.PATH_OR_PATHS,
        "Files of NAME=VALUE lines; a path or a list, later ones win.",
        [],
    ),
    Key(
        "limits",
        host.LIMITS,
        'Resource limits by their setrlimit(2) name: { nofile = 65536, core = "unlimited" }.',
        {},
    ),
    Key(
        "ready",
        shapes.READY,
        'When a start has succeeded. "notify": the service says READY=1 (sd_notify(3)). "workers": its main process '
        "has a child. A table: what is asked, exactly one of http, tcp, exec and after.",
        when_unset='the recipe\'s, else { after = "1s" }',
    ),
    Key("start_timeout", k.POSITIVE, "How long a start may take until ready.", "30s"),
    Key("stop_signal", host.SIGNAL, "The signal that asks it to end.", "TERM"),
    Key(
        "stop_timeout", k.POSITIVE, "How long it may take to end; then its group is killed.", "10s"
    ),
    Key(
        "restart",
        k.one_of(Restart),
        "When a service that ended by itself is started again.",
        "on-failure",
    ),
    Key("backoff", shapes.BACKOFF, "The pauses between failed starts.", {}),
    Key("start_limit", shapes.START_LIMIT, "When starting is given up.", {}),
    Key(
        "after",
        k.SERVICES,
        "Services that are started before this one, where they are started too.",
        [],
    ),
    Key("requires", k.SERVICES, "Services that must be ready before this one starts.", []),
    Key(
        "watch",
        shapes.WATCH,
        "Reload by itself when the inputs change; true: with the defaults of the table.",
        default=False,
    ),
    Key("logs", shapes.LOGS, "How much of the service's output is kept.", {}),
    Key("reload", RELOAD, "How it takes new configuration.", {}),
)

TABLES: tuple[tuple[str, tuple[Key, ...]], ...] = (
    ("agent", AGENT.keys),
    ("agent.access", ACCESS.keys),
    ("service.NAME", SERVICE.keys),
    ("service.NAME.reload", RELOAD.keys),
)
"""Every table of the file, in the order of the manual."""
