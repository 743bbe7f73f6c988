"""The one table of keys: names, kinds, defaults and help; read by the loader, printed in the manual.

Decides which keys exist. Their defaults are those of ``agentd.core.spec``, which a test compares.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agentd import recipes
from agentd.config import attributes, host, questions, shapes, sockets
from agentd.config import kinds as k
from agentd.config.access import Access
from agentd.config.definitions import AgentSpec, OnTerminate, Retain, Telemetry
from agentd.config.keys import Key, Kind, table
from agentd.config.problems import Fault, Wrong
from agentd.core.question import Question
from agentd.core.spec import (
    Alive,
    AttributeKey,
    Backoff,
    Check,
    Included,
    LogSpec,
    OnFailure,
    Ready,
    Restart,
    SocketSpec,
    StartLimit,
    Verify,
    VersionKey,
    WatchSpec,
)
from agentd.core.steps import CallHttp
from agentd.handles import HANDLES


class ReloadTable(NamedTuple):
    """[service.NAME.reload] as parsed; None: not declared, and no recipe knows."""

    handle: str
    command: tuple[str, ...] | None
    request: CallHttp | None
    signal: str
    signal_handled: bool
    check: Check | None
    warnings_as_errors: bool
    confirm: tuple[shapes.Confirm, ...] | None
    verify: Verify | None
    soak: Verify | None
    on_failure: OnFailure
    report: Question | None
    timeout: float
    every: float | None
    splay: float


def _reload(**given: Any) -> ReloadTable:
    """Each handle has what it needs, and nothing stands there for another one."""
    made = ReloadTable(**given)
    faults: list[Fault] = []
    for name, handle in HANDLES.items():
        key = handle.needs
        if not key:
            continue
        there = given[key] is not None
        if name == made.handle and not there:
            faults.append(((), f'handle = "{name}" needs {key}; write {_NEEDED[key]}'))
        elif there and name != made.handle:
            faults.append(((key,), f'is for handle = "{name}", and this one is "{made.handle}"'))
    if made.confirm and HANDLES[made.handle].confirm is None:
        what = f'handle = "{made.handle}" starts a new process, whose being ready is the evidence'
        faults.append((("confirm",), f"{what}; declare ready instead"))
    if made.report and HANDLES[made.handle].confirm is None:
        what = f'handle = "{made.handle}" starts a new process, which takes everything'
        faults.append((("report",), what))
    if faults:
        raise Wrong(*faults)
    return made


_NEEDED = {
    "command": 'command = ["PROGRAM", "ARGUMENT"]',
    "request": 'request = { url = "http://HOST:PORT/PATH" }',
}


class ServiceTable(NamedTuple):
    """[service.NAME] as parsed, recipe included; its fields are the keys."""

    command: tuple[str, ...]
    recipe: str | None
    inputs: tuple[str, ...]
    included: Included | None
    secret: tuple[str, ...]
    snapshot: bool
    version: VersionKey | None
    attributes: tuple[AttributeKey, ...]
    user: str | None
    group: str | None
    cwd: str | None
    umask: int | None
    nice: int | None
    env: tuple[tuple[str, str], ...]
    env_file: tuple[str, ...]
    limits: tuple[tuple[str, int], ...]
    watchdog: float | None
    ready: Ready | None
    start_timeout: float
    alive: Alive | None
    pid_file: str | None
    stop_signal: str
    stop_timeout: float
    restart: Restart
    backoff: Backoff
    start_limit: StartLimit
    after: tuple[str, ...]
    requires: tuple[str, ...]
    overlap: bool
    instances: int
    max_generations: int
    drain_timeout: float
    takes_over: bool
    sockets: tuple[SocketSpec, ...]
    watch: WatchSpec | None
    logs: LogSpec
    reload: ReloadTable


def _service(**values: Any) -> ServiceTable:
    made = ServiceTable(**values)
    attributes.not_secret(made.attributes, made.secret)
    check = made.reload.check
    if made.pid_file is not None and made.instances > 1:
        raise Wrong((("pid_file",), "names one process, and there are several instances"))
    if made.takes_over and (why := _no_takeover(made)):
        raise Wrong((("takes_over",), f"is for one process with listeners of its own, and {why}"))
    if check is not None and check.staged and (made.secret or not made.snapshot):
        what = "cannot be staged: of secret inputs, and with snapshot = false, no copy is kept"
        raise Wrong((("reload", "check"), what))
    return made


def _no_takeover(made: ServiceTable) -> str:
    """Why none can take over from another by itself; empty: it can."""
    if made.sockets:
        return "agentd holds its sockets"
    if made.instances > 1:
        return "there are several instances"
    return "" if made.overlap else "overlap = false ends the old one first"


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
    Key(
        "operate",
        host.PRINCIPALS,
        "Reload, roll back, confirm, cancel, check, start, stop, restart, hold and release.",
        [],
    ),
    Key("admin", host.PRINCIPALS, "The agent itself: plan, apply, upgrade and shutdown.", []),
)

TELEMETRY: Kind[Telemetry] = table(
    "a table",
    Telemetry,
    Key(
        "endpoint",
        shapes.RECEIVER,
        "The receiver of OTLP over HTTP; /v1/traces, /v1/logs and /v1/metrics are added. What it has not received is kept "
        "in the journal and sent when it can be.",
        when_unset="what $OTEL_EXPORTER_OTLP_ENDPOINT says, else nothing is sent",
    ),
    Key(
        "retain",
        table(
            "a table",
            Retain,
            Key("age", k.POSITIVE, "How old a reload may become.", "90d"),
            Key("size", k.JOURNAL_SIZE, "How large the journal may become.", "256M"),
            Key("count", k.integer(1, 10_000_000), "How many reloads and starts.", 100_000),
        ),
        "How much history is kept, the oldest going first, also when nobody has received it; then that is said.",
        {},
    ),
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
    Key("telemetry", TELEMETRY, "Where traces, events and metrics go.", {}),
)

RELOAD: Kind[ReloadTable] = table(
    "a table",
    _reload,
    Key(
        "handle",
        k.name_in(lambda: tuple(HANDLES), "handle"),
        "How the service takes new configuration. signal: a signal to its main process. notify: a signal, and the service "
        "says itself when it has reloaded (RELOADING=1, READY=1). exec: a command. http: a request. restart: stop, then "
        "start. replace: the next generation is ready before the old one is drained and stopped.",
        "signal",
    ),
    Key(
        "command",
        k.ARGV,
        "Of handle exec: the command that makes the service reload, run as the service's user; exit code 0 is a yes.",
    ),
    Key(
        "request",
        shapes.REQUEST,
        "Of handle http: the request that makes the service reload.",
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
        "touched, and when it does not exit 0 or cannot be run the reload is rejected. {staged} in it stands for a private "
        "directory in which every input has its whole path and exactly the bytes that were read; some recipes write it.",
        when_unset="the recipe's, else none",
    ),
    Key(
        "warnings_as_errors",
        k.BOOLEAN,
        "A check that exits 0 with a warning in its output rejects the reload, too.",
        default=False,
    ),
    Key(
        "confirm",
        shapes.CONFIRM,
        'What shows that a reload took effect; every entry must agree. "notify": the service says RELOADING=1 with '
        'MONOTONIC_USEC, then READY=1; ERRNO or a STATUS that begins with words such as "Reload failed" refuse, and with '
        "X_AGENTD_CONFIG_HASH, the hash of what it took, it is proof. "
        '"reply": the command or the request answers only when it is done, and said yes. "workers": new children '
        'serve and the old ones are gone or draining. "reread": its processes opened every input that changed (only '
        'where the kernel tells who opens files: CAP_SYS_ADMIN). { log = "REGEX" }: a line of the output, after the signal. '
        "A table with http or exec: the service is asked what it runs, before the act and after it; its keys are below. "
        '"delivered": your word that being alive shortly after is enough. Without any, reloads end unverified. With '
        "restart and replace the new process is the evidence, when it is ready.",
        when_unset="the recipe's, else []",
    ),
    Key(
        "verify",
        shapes.VERIFY,
        "What shows that it is well with what it took: asked after the evidence, before the verdict, also when a start loads "
        "other bytes than the last good ones. Exactly one of http, tcp and exec; an answer over http or tcp counts only when "
        "a process of the service itself gave it, of a replace the next generation.",
        when_unset="nothing is asked",
    ),
    Key(
        "soak",
        shapes.SOAK,
        "The same for longer, after the verdict and in a trace of its own: a probe that fails too often in a row, or a service that "
        "ends unasked, tells that what was applied was bad after all. It is quarantined then, and with on_failure other than keep "
        "what was good before is put back. Of several instances each is asked in its turn.",
        when_unset="nothing is asked",
    ),
    Key(
        "on_failure",
        k.one_of(OnFailure),
        "What becomes of bytes that were found bad. keep: they stay, and what was before goes on where the server kept it. "
        "restore: the last good configuration is put back, taken and verified again, also when the service died of the bad "
        "one, and a start never loads bytes that were rejected; inputs that are read-only, behind symbolic links or tracked "
        "in git are left alone. force: those are written, too.",
        "keep",
    ),
    Key(
        "report",
        questions.REPORT,
        "What is asked once the reload is confirmed, or the service said that it took only some of it: which settings were not "
        "taken, or only will be after a restart. Any that is named makes it partial; a confirmed one without an answer is unverified.",
    ),
    Key("timeout", k.POSITIVE, "Bound on the act and the evidence together.", "30s"),
    Key(
        "every",
        k.POSITIVE,
        "Look at the inputs again this often, and reload when they changed; for inputs that no watch can see.",
        when_unset="never",
    ),
    Key(
        "splay",
        k.DURATION,
        "At most this long, drawn by chance, is added to every and to what a watch waits: many hosts do not reload at the same moment.",
        "0s",
    ),
)

SERVICE: Kind[ServiceTable] = table(
    "a table",
    _service,
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
    Key(
        "included",
        shapes.INCLUDED,
        "The command that names the files which the inputs include: these are inputs, too. It runs as the check does, when bytes of "
        "a known file or names beside one that it has named have changed, and when a person asks for a reload. While it fails, "
        "the files that it named last stay, and no reload goes further than the check; false: nothing is asked.",
        when_unset="the recipe's, else nothing is asked",
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
    Key(
        "attributes",
        attributes.ATTRIBUTES,
        "What the configuration says of itself, for the spans of this service's reloads: model.version, "
        "prompt.template.id and prompt.template.version have twins there by the names of OpenTelemetry's conventions for "
        "generative AI. The names are dotted and quoted.",
        {},
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
        'Limits of each process by their setrlimit(2) name: { nofile = 65536, core = "unlimited" }. And of the service as a '
        'whole, by its control group: memory_max, memory_high and memory_swap_max (sizes such as "512M"), pids_max, cpu_weight '
        "(1 to 10000, others have 100). Where agentd cannot set those of the group (cgroup v1, no controller, not delegated) the "
        "service runs without, and loading the definition warns and says why.",
        {},
    ),
    Key(
        "watchdog",
        k.POSITIVE,
        "The service must say that it lives at least this often (WATCHDOG=1, sd_notify(3)), from the moment it is ready; it "
        "finds this in WATCHDOG_USEC. When it was silent for so long it is ended (SIGABRT, after stop_timeout SIGKILL) and started "
        "again like one that failed. While it drains or stops nobody listens.",
        when_unset="nobody listens",
    ),
    Key(
        "ready",
        shapes.READY,
        'When a start has succeeded. "notify": the service says READY=1 (sd_notify(3)). "workers": its main process '
        "has a child. A table: what is asked, exactly one of http, tcp, exec and after.",
        when_unset='the recipe\'s, else { after = "1s" }',
    ),
    Key("start_timeout", k.POSITIVE, "How long a start may take until ready.", "30s"),
    Key(
        "alive",
        shapes.ALIVE,
        "What shows that a service that is ready still serves: when it fails too often in a row the service is stopped and started "
        "again like one that failed, and the reason is named. Exactly one of http, tcp and exec; an answer over http or tcp counts "
        "only when a process of the service itself gave it. While a reload of it runs nobody asks.",
        when_unset="nothing is asked",
    ),
    Key(
        "pid_file",
        k.PATH,
        "Where the service writes the pid of its main process, when that may become another one: a daemon that goes into the "
        "background, a new binary or a successor in place (nginx, gunicorn and Unicorn by USR2). It is read when the service is ready and "
        "when its main process has ended, then for two seconds, or until start_timeout while it starts. It is believed when that process "
        "belongs to the service and nobody but root and the service's user can write the file. A service that says MAINPID= "
        "(sd_notify(3)) needs none.",
        when_unset="the first process is the main one",
    ),
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
        "overlap",
        k.BOOLEAN,
        "The next generation starts while the old one serves; false: the old one ends first, and clients of sockets wait.",
        default=True,
    ),
    Key(
        "instances",
        k.integer(1, 64),
        "How many of it run side by side, numbered from 0 in AGENTD_INSTANCE_NUMBER. They are started, reloaded and replaced one "
        "after the other, and each crashes, pauses and is given up by itself; sockets spread connections over those that are ready.",
        1,
    ),
    Key(
        "max_generations",
        k.integer(2, 100),
        "How many generations of each instance may be alive at once, those that drain included; then the oldest is ended.",
        3,
    ),
    Key(
        "drain_timeout",
        k.DURATION,
        "How long a former generation may go on with the connections it has before it is stopped.",
        "30s",
    ),
    Key(
        "takes_over",
        k.BOOLEAN,
        "The next generation, once it is ready, has taken what listens from the former one by itself, and that one ends by itself, "
        "as with a hot restart of Envoy: it is told to stop only after drain_timeout, and does not get its place back. "
        "AGENTD_TAKEOVERS says how many have done so in a row; 0: nobody is there to take over from.",
        default=False,
    ),
    Key(
        "sockets",
        sockets.SOCKETS,
        "Sockets that agentd opens, keeps over restarts, and hands to the service by the socket activation protocol "
        "(sd_listen_fds(3)), in this order from descriptor 3 on.",
        [],
    ),
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
    ("agent.telemetry", TELEMETRY.keys),
    ("service.NAME", SERVICE.keys),
    ("service.NAME.reload", RELOAD.keys),
)
"""Every table of the file, in the order of the manual."""
