"""The values with a shape of their own: ready, check, watch, confirm, and the small tables.

Decides what each form means as a value of the core. Which keys take them, and the help, is ``schema``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agentd.config.keys import Key, Kind, table
from agentd.config.kinds import (
    ARGV,
    DURATION,
    FILLED,
    LOG_SIZE,
    NUMBER,
    PATH,
    POSITIVE,
    integer,
    list_of,
    pairs_of,
)
from agentd.config.problems import At, Fault, Wrong, shown, type_name
from agentd.config.questions import QUESTIONS, URL, VERSION_EVIDENCE, askable
from agentd.core.spec import (
    Alive,
    Backoff,
    Check,
    ExecProbe,
    HttpProbe,
    Included,
    LogSpec,
    Probe,
    Ready,
    ReadyAfter,
    ReadyNotify,
    ReadyProbe,
    StartLimit,
    TcpProbe,
    Verify,
    VersionKey,
    WatchSpec,
    WorkersProbe,
)
from agentd.core.steps import CallHttp
from agentd.evidence import KINDS, Changes, Hints, Version

_RECEIVER = re.compile(
    r"https?://(?:[^/\s?#@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[^/\s?#@:\[\]]+)(?::[0-9]{1,5})?(?:[/?][!-~]*)?",
    re.ASCII,
)
_TCP = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\s\[\]/]+)):([0-9]{1,5})", re.ASCII)
_LAST_PORT = 65535


def _receiver(value: object) -> str:
    """It may hold a password, so a mistake is told without it."""
    if not _RECEIVER.fullmatch(FILLED.parse(value)):
        forms = '"http://HOST:PORT" or "https://HOST/PATH"'
        raise Wrong.here(f"is not an address that telemetry can be sent to; write {forms}")
    if str(value).rstrip("/").endswith(("/v1/traces", "/v1/logs", "/v1/metrics")):
        raise Wrong.here("is the address of one signal; write it without /v1/..., which is added")
    return str(value)


def _address(value: object) -> tuple[str, int]:
    found = _TCP.fullmatch(FILLED.parse(value))
    if found is None or not 0 < int(found[3]) <= _LAST_PORT:
        raise Wrong.here(f'{shown(value)} is not an address; write "HOST:PORT" or "[IPV6]:PORT"')
    return found[1] or found[2], int(found[3])


def _ready(
    *,
    http: str | None,
    tcp: tuple[str, int] | None,
    exec: tuple[str, ...] | None,  # noqa: A002 - the key in the file
    after: float | None,
    interval: float | None,
    timeout: float | None,
) -> Ready:
    _exactly_one(http=http, tcp=tcp, exec=exec, after=after)
    if after is not None:
        if interval is not None or timeout is not None:
            raise Wrong.here("interval and timeout mean nothing beside after: nothing is asked")
        return ReadyAfter(after)
    probe = _probe(http, tcp, exec, timeout)
    return ReadyProbe(probe) if interval is None else ReadyProbe(probe, interval)


def _exactly_one(**given: object) -> None:
    there = [name for name, value in given.items() if value is not None]
    if len(there) != 1:
        wanted, got = ", ".join(given), " and ".join(there) or "none"
        raise Wrong.here(f"expected exactly one of {wanted}; got {got}")


def _probe(
    http: str | None,
    tcp: tuple[str, int] | None,
    argv: tuple[str, ...] | None,
    timeout: float | None,
) -> Probe:
    probe: Probe
    if http is not None:
        probe = HttpProbe(http)
    elif tcp is not None:
        probe = TcpProbe(*tcp)
    else:
        assert argv is not None
        probe = ExecProbe(argv)
    return probe if timeout is None else replace(probe, timeout=timeout)


_ASKED = (
    Key(
        "http",
        URL,
        "GET answers 2xx or 3xx; http://HOST:PORT/PATH, or http+unix:// with the socket's path percent-encoded.",
    ),
    Key("tcp", Kind('"HOST:PORT"', _address), "A connection is accepted."),
    Key("exec", ARGV, "The command exits 0; it runs as the service's user."),
)
_READY_TABLE = table(
    'a table, "notify" or "workers"',
    _ready,
    *_ASKED,
    Key("after", DURATION, "It has lived this long: a guess, for services that cannot say."),
    Key("interval", POSITIVE, "Pause between two probes.", when_unset='"100ms"'),
    Key("timeout", POSITIVE, "How long one probe may take.", when_unset='"2s"; for exec "5s"'),
)


def _parse_ready(value: object) -> Ready:
    match value:
        case "notify":
            return ReadyNotify()
        case "workers":
            return ReadyProbe(WorkersProbe())
        case str():
            raise Wrong.here(
                f'{shown(value)} is unknown; known: "notify", "workers", or a table with http, tcp, exec or after'
            )
        case _:
            return _READY_TABLE.parse(value)


READY = Kind('"notify", "workers" or table', _parse_ready, _READY_TABLE.keys)


def _soak(**given: Any) -> Verify:
    http, tcp, argv = given["http"], given["tcp"], given["exec"]
    _exactly_one(http=http, tcp=tcp, exec=argv)
    probe = _probe(http, tcp, argv, given["timeout"])
    return Verify(probe, given["for"], given["interval"], given["threshold"])


def _verify(**given: Any) -> Verify:
    if given["for"] > _LONGEST_VERIFY:
        why = "is more than 60s; a reload is not held open longer, ask on with: soak = { ... }"
        raise Wrong((("for",), why))
    return _soak(**given)


_LONGEST_VERIFY = 60.0
_WHILE = "How long it is asked again and again"
_LAST = "the last answer of that while must be a pass."


def _well(build: Callable[..., Verify], how_long: str, seconds: str, interval: str) -> Kind[Verify]:
    return table(
        "a table",
        build,
        *_ASKED,
        Key("for", POSITIVE, how_long, seconds),
        Key("interval", POSITIVE, "Pause between two probes.", interval),
        Key("timeout", POSITIVE, "How long one probe may take.", when_unset='"2s"; for exec "5s"'),
        Key("threshold", integer(1, 1000), "So many failures in a row are bad.", 3),
    )


VERIFY = _well(_verify, f"{_WHILE}, at most 60s; {_LAST}", "2s", "200ms")
SOAK = _well(_soak, f"{_WHILE}, under later agents too; {_LAST}", "10m", "5s")


def _alive(**given: Any) -> Alive:
    http, tcp, argv = given["http"], given["tcp"], given["exec"]
    _exactly_one(http=http, tcp=tcp, exec=argv)
    return Alive(_probe(http, tcp, argv, given["timeout"]), given["interval"], given["threshold"])


ALIVE = table(
    "a table",
    _alive,
    *_ASKED,
    Key("interval", POSITIVE, "Pause between two probes.", "10s"),
    Key("timeout", POSITIVE, "How long one probe may take.", when_unset='"2s"; for exec "5s"'),
    Key("threshold", integer(1, 1000), "So many failures in a row are its end.", 3),
)


def _check(*, command: tuple[str, ...], timeout: float, warnings: str | None) -> Check:
    return Check(command, timeout, warnings)


def _pattern(value: object) -> str:
    text = FILLED.parse(value)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise Wrong.here(f"{shown(text)} is not a regular expression: {error}") from None
    return text


_CHECK_TABLE = table(
    "a list of strings or a table",
    _check,
    Key(
        "command",
        ARGV,
        "The command; exit status 0 accepts.",
        required='command = ["PROGRAM", "ARGUMENT"]',
    ),
    Key(
        "timeout", POSITIVE, "When its whole process group is ended; the reload is rejected.", "30s"
    ),
    Key(
        "warnings",
        Kind("regular expression", _pattern),
        "What a line of its output looks like that warnings_as_errors refuses.",
        when_unset="a word such as warn, warning or deprecated",
    ),
)


def _parse_check(value: object) -> Check:
    return Check(ARGV.parse(value)) if isinstance(value, list | str) else _CHECK_TABLE.parse(value)


CHECK = Kind("list of strings or table", _parse_check, _CHECK_TABLE.keys)


def _included(
    *, command: tuple[str, ...], pattern: str, written: str | None, timeout: float
) -> Included:
    return Included(command, pattern, timeout, written)


def _one_group(value: object) -> str:
    text = _pattern(value)
    if re.compile(text).groups != 1:
        raise Wrong.here(f"{shown(text)} has not one group; write one around what is the path")
    return text


_INCLUDED_TABLE = table(
    "false or a table",
    _included,
    Key(
        "command",
        ARGV,
        "The command; exit status 0 says that all are named.",
        required='command = ["PROGRAM", "ARGUMENT"]',
    ),
    Key(
        "pattern",
        Kind("regular expression", _one_group),
        "With one group: of a line of its output in which it is found, the path of a file.",
        required='pattern = "^INCLUDED (.+)$"',
    ),
    Key(
        "written",
        Kind("regular expression", _one_group),
        "With one group: of a line of its output, the path of the file that the service writes anew each time it has taken its "
        "configuration (a pid file, say). Evidence ``workers`` waits for that: what was born before does not count.",
        when_unset="there is no such file",
    ),
    Key(
        "timeout",
        POSITIVE,
        "When its whole process group is ended; there is no answer then.",
        "30s",
    ),
)


def _parse_included(value: object) -> Included | None:
    return None if value is False else _INCLUDED_TABLE.parse(value)


INCLUDED = Kind("false or table", _parse_included, _INCLUDED_TABLE.keys)


def _watch(*, debounce: float, settle_limit: float, rescan: float) -> WatchSpec:
    if settle_limit < debounce:
        raise Wrong.here("settle_limit is shorter than debounce")
    return WatchSpec(debounce, settle_limit, rescan)


_WATCH_TABLE = table(
    "true, false or a table",
    _watch,
    Key("debounce", DURATION, "The inputs must have been quiet this long.", "200ms"),
    Key("settle_limit", POSITIVE, "But it is never waited longer than this.", "5s"),
    Key(
        "rescan",
        POSITIVE,
        "How often the inputs are read although nothing was reported (network file systems).",
        "60s",
    ),
)


def _parse_watch(value: object) -> WatchSpec | None:
    if isinstance(value, bool):
        return WatchSpec() if value else None
    return _WATCH_TABLE.parse(value)


WATCH = Kind("true, false or table", _parse_watch, _WATCH_TABLE.keys)


@dataclass(frozen=True, slots=True)
class Confirm:
    """One declared evidence: its kind, and what it was given; or made already, from a question."""

    kind: str
    argument: str | None = None
    made: Version | Changes | None = None


def _parse_confirm(value: object) -> tuple[Confirm, ...]:
    if not isinstance(value, list):
        raise Wrong.here(f'expected a list such as ["workers"], got {type_name(value)}')
    wanted: list[Confirm] = []
    faults: list[Fault] = []
    for index, item in enumerate(value):
        try:
            wanted.append(_evidence(item))
        except Wrong as wrong:
            faults.extend(wrong.under(index))
    if faults:
        raise Wrong(*faults)
    return tuple(wanted)


def _evidence(item: object) -> Confirm:
    """``"workers"``, or ``{ log = "PATTERN" }``, or a question."""
    at: At = ()
    given: object = None
    if isinstance(item, dict) and not QUESTIONS.isdisjoint(item):
        made = VERSION_EVIDENCE.parse(item)
        return Confirm(made.name, made=made)
    if isinstance(item, str):
        name = item
    elif isinstance(item, dict) and len(item) == 1:
        ((name, given),) = item.items()
        at = (name,)
    else:
        raise Wrong.here('expected "workers", "delivered" or { log = "PATTERN" }')
    takes = _known(name, at)
    return _given(name, given) if takes else Confirm(name)


def _known(name: str, at: At) -> str:
    """What the evidence of this name takes; it must be given that, and no other anything."""
    if name in (Version.name, Changes.name):
        form = '{ http = "http://HOST:PORT/PATH", expect = "{hash}" }'
        raise Wrong((at, f"{name} is what the service answers; write {form}"))
    if name not in KINDS:
        raise Wrong((at, f"{shown(name)} is unknown; known: {', '.join(sorted(KINDS))}"))
    takes = KINDS[name].takes
    if takes and not at:
        raise Wrong.here(f'{name} needs {takes}; write {{ {name} = "..." }}')
    if at and not takes:
        raise Wrong((at, f'{name} takes nothing; write "{name}"'))
    return takes


def _given(name: str, given: object) -> Confirm:
    try:
        argument = FILLED.parse(given)
        KINDS[name].declared(argument, Hints())
    except Wrong as wrong:
        raise Wrong(*wrong.under(name)) from None
    except ValueError as error:
        raise Wrong(((name,), f"{shown(argument)} {error}")) from None
    return Confirm(name, argument)


CONFIRM = Kind("list", _parse_confirm, VERSION_EVIDENCE.keys)


def _call_url(value: object) -> str:
    url = FILLED.parse(value)
    if not askable(url.replace("https://", "http://", 1)):
        forms = '"http://HOST:PORT/PATH", "https://..." or "http+unix://%2Fpath%2Fof.sock/PATH"'
        raise Wrong.here(f"{shown(url)} is not an address that can be asked; write {forms}")
    return url


def _method(value: object) -> str:
    method = FILLED.parse(value)
    if not _METHOD.fullmatch(method):
        raise Wrong.here(f"{shown(method)} is no HTTP method; write one such as POST")
    return method


def _header_name(name: str) -> None:
    if not _METHOD.fullmatch(name):
        raise Wrong.here(f"{shown(name)} is no name of a header")


def _header_value(value: object) -> str:
    text = FILLED.parse(value)
    if not text.isprintable() or not text.isascii():
        raise Wrong.here("holds characters that a header cannot carry")
    return text


_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
REQUEST = table(
    "a table",
    CallHttp,
    Key(
        "url",
        Kind("URL", _call_url),
        "Where to; redirects are not followed.",
        required='url = "http://HOST:PORT/PATH"',
    ),
    Key("method", Kind("method", _method), "The method.", "POST"),
    Key(
        "headers",
        pairs_of(Kind("string", _header_value), "a table of strings", _header_name),
        "Headers that go along.",
        {},
    ),
    Key("body", PATH, "The file whose bytes are sent."),
    Key(
        "match",
        Kind("URL", _call_url),
        "A URL that is read first: its ETag goes along as If-Match, so that a change that somebody else made meanwhile is "
        "not overwritten.",
    ),
    Key(
        "expect",
        list_of(integer(100, 599), "a list of status codes"),
        "The status codes that are a yes; none: 200 to 299.",
        [],
    ),
)
RECEIVER = Kind("address", _receiver)
BACKOFF = table(
    "a table",
    Backoff,
    Key("first", DURATION, "The first pause.", "100ms"),
    Key("factor", NUMBER, "Each further failure multiplies it.", 2),
    Key("max", DURATION, "But it never gets longer than this.", "30s"),
    Key("reset", DURATION, "Having been ready this long forgets the failures.", "60s"),
)
START_LIMIT = table(
    "a table",
    StartLimit,
    Key("burst", integer(1, 10_000), "How many starts within the interval are tried.", 5),
    Key("interval", POSITIVE, "The window they are counted in.", "60s"),
)
LOGS = table(
    "a table",
    LogSpec,
    Key("size", LOG_SIZE, "The captured output is rotated at this size.", "10M"),
    Key("keep", integer(0, 1000), "How many rotated files are kept.", 5),
)
VERSION = table(
    "a table",
    VersionKey,
    Key("file", PATH, "A JSON, TOML or YAML file.", required='file = "/PATH"'),
    Key("path", FILLED, "The key in it, dotted.", required='path = "KEY"'),
)
