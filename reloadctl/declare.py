"""Every verb, option, kind and exit code of reloadctl, as plain tuples; imports nothing.

Two readers use this table: the short strict one of ``__main__`` and typer's, whose commands ``cli`` makes from it. The
manual page is tested against it. How an option is obeyed is not decided here.

An option is ``(long, short, kind, placeholder, help)``; a verb is ``(argument, least, most, help, options)``. Kinds:
``flag``, ``text``, ``duration`` (seconds), ``count`` (1 or more), or the words allowed, separated by ``|``.
"""

MANY = 1 << 30
"""As many arguments as the operator likes."""

VERDICTS = "applied|unchanged|rejected|refused|rolled_back|timed_out|unverified|held|cancelled|partial|failed"

Option = tuple[str, str, str, str, str]
Verb = tuple[str, int, int, str, tuple[Option, ...]]

GLOBALS: tuple[Option, ...] = (
    ("--socket", "", "text", "PATH", "the agent's socket; default $AGENTD_SOCKET"),
    ("--json", "", "flag", "", "print the agent's JSON, and nothing else"),
    ("--color", "", "auto|always|never", "WHEN", "colours: auto (on a terminal), always, never"),
)

_WAITING: tuple[Option, ...] = (
    ("--no-wait", "", "flag", "", "do not wait for the end"),
    ("--timeout", "", "duration", "D", "wait at most this long; what was asked goes on"),
)
_REASON: Option = ("--reason", "", "text", "TEXT", "why, for the history")

VERBS: dict[str, Verb] = {
    "reload": (
        "SVC", 0, MANY, "make services take up their configuration, and print the verdict",
        (
            ("--all", "", "flag", "", "every service that is wanted up and not held"),
            ("--if-changed", "", "flag", "", "do nothing when the live configuration is the one on disk"),
            ("--force", "", "flag", "", "reload in spite of a hold"),
            *_WAITING,
            _REASON,
            ("--max-parallel", "", "count", "N", "how many services at once; default 1"),
            ("--keep-going", "", "flag", "", "go on with the others when one has failed"),
            ("--require-proof", "", "flag", "", "accept proven evidence only"),
            ("--confirm-within", "", "duration", "D", "put it back unless it is confirmed within this time"),
        ),
    ),
    "rollback": (
        "SVC [REF]", 1, 2, "put a former version back and reload it; default: the newest good one that is not on disk",
        (("--force", "", "flag", "", "reload in spite of a hold"), *_WAITING, _REASON),
    ),
    "confirm": ("RELOAD", 1, 1, "keep a change that --confirm-within would put back", ()),
    "cancel": ("RELOAD", 1, 1, "give up a reload that waits, or that has touched nothing yet", ()),
    "status": ("SVC", 0, MANY, "how services stand, and which configuration they run", ()),
    "start": ("SVC", 1, MANY, "want services up, over restarts of the agent too", _WAITING),
    "stop": ("SVC", 1, MANY, "want services down, over restarts of the agent too", _WAITING),
    "restart": ("SVC", 1, MANY, "stop services, then start them", _WAITING),
    "check": ("SVC", 1, MANY, "run the check on the inputs as they are; touch nothing", ()),
    "history": (
        "SVC", 0, 1, "past and running reloads, newest first",
        (
            ("--number", "-n", "count", "N", "how many; default 20"),
            ("--verdict", "", VERDICTS, "V", "only those that ended so"),
            ("--starts", "", "flag", "", "starts of processes too"),
        ),
    ),
    "show": (
        "REF", 0, 1, "one reload as a waterfall; default: the newest",
        (("--otlp", "", "flag", "", "print its trace as one OTLP/JSON document"),),
    ),
    "diff": (
        "SVC", 1, 3, "what changed between two configurations, secrets masked; default: live and on_disk",
        (("--exit-code", "", "flag", "", "exit with 1 when they differ"),),
    ),
    "hold": (
        "SVC", 1, 1, "no reload of a service until it is released",
        (_REASON, ("--for", "", "duration", "D", "release by itself after this long")),
    ),
    "release": ("SVC", 1, 1, "allow reloads again; one that was turned away is run", ()),
    "logs": (
        "SVC", 1, 1, "the captured output of a service",
        (
            ("--follow", "-f", "flag", "", "go on printing what comes"),
            ("--lines", "-n", "count", "N", "how many lines of the past; default 50"),
        ),
    ),
    "wait": (
        "RELOAD", 1, 1, "follow a reload that was started with --no-wait, and print its verdict",
        (("--timeout", "", "duration", "D", "wait at most this long; the reload goes on"),),
    ),
    "export": (
        "", 0, 0, "the traces of all reloads and starts as OTLP JSON Lines, oldest first",
        (("--since", "", "duration", "D", "only what was asked for in this last while"),),
    ),
    "plan": ("", 0, 0, "what the definitions on disk would change, and which key forces what; touch nothing", ()),
    "apply": (
        "", 0, 0, "put the definitions on disk in force, whole or not at all, and print what became of each service",
        (*_WAITING, _REASON),
    ),
    "upgrade": (
        "", 0, 0, "replace the agent's code by what is installed now, in the same process; services go on",
        (("--timeout", "", "duration", "D", "wait at most this long for reloads that run"),),
    ),
    "shutdown": (
        "", 0, 0, "stop every service in reverse order, and the agent",
        (("--no-wait", "", "flag", "", "do not wait for the end"),),
    ),
    "version": ("", 0, 0, "the version of reloadctl and of the agent", ()),
    "demo": ("", 0, 0, "see reloads work and fail, on an agent of its own", ()),
    "unit": (
        "", 0, 0, "the systemd unit for this installation",
        (("--user", "", "flag", "", "for the systemd of a user instead of the host's"),),
    ),
    "completion": ("SHELL", 1, 1, "what makes a shell complete: bash, zsh or fish", ()),
}  # fmt: skip

EXITS: tuple[tuple[int, str], ...] = (
    (0, "done: applied, unchanged, passed"),
    (
        1,
        "a bug of reloadctl itself, or its output could not be written; diff --exit-code: they differ",
    ),
    (2, "the command line is not understood"),
    (3, "status: a service that is named, or wanted up, is not up"),
    (4, "status: no such service"),
    (5, "no such service or reload"),
    (6, "a definition is invalid"),
    (7, "the service is not running"),
    (77, "denied"),
    (130, "interrupted; the reload goes on"),
    (150, "rejected: the check said no; nothing was touched"),
    (151, "refused: the service did not take it; the old configuration still serves"),
    (152, "rolled_back: it was applied, found bad, and the last good one is live again"),
    (153, "timed_out: the declared evidence did not come in time"),
    (154, "unverified: delivered, and nothing could prove it"),
    (155, "held: not run"),
    (156, "the agent is not reachable"),
    (157, "partial: some instances or settings took it"),
    (158, "failed: the service is down or its configuration unknown"),
    (159, "cancelled: not run"),
    (160, "still running when --timeout ended"),
)

WORST_FIRST = (
    1,
    130,
    156,
    77,
    158,
    157,
    152,
    151,
    153,
    154,
    150,
    160,
    155,
    159,
    6,
    5,
    4,
    7,
    3,
    2,
    0,
)
"""With several services the worst exit code counts: the verdicts in the order of the design, the others around them."""

LONGEST = 9
"""Digits of a number on the command line; more is a mistake, and some would overflow a timeout."""

_UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0))


def name(option: Option) -> str:
    """The key of an option's value: ``--if-changed`` is ``if_changed``."""
    return option[0][2:].replace("-", "_")


def value(kind: str, text: str) -> object:
    """What a word means for an option of this kind; ValueError says how it is written."""
    if kind == "text":
        return text
    if kind == "count":
        if text.isascii() and text.isdigit() and len(text) <= LONGEST and int(text):
            return int(text)
        raise ValueError("a whole number from 1 on is needed")
    if kind == "duration":
        return _duration(text)
    if text in kind.split("|"):
        return text
    raise ValueError(f"known: {kind.replace('|', ', ')}")


def _duration(text: str) -> float:
    for unit, seconds in _UNITS:
        number = text.removesuffix(unit)
        whole, _, rest = number.partition(".")
        digits = whole + rest
        if (
            number != text
            and whole
            and digits.isascii()
            and digits.isdigit()
            and len(digits) <= LONGEST
            and digits.strip("0")
        ):
            return float(number) * seconds
    raise ValueError("durations are written like 500ms, 5s, 2m, 1h, 7d, and are more than 0")
