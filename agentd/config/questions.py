"""Questions to a service in the file: how it is asked what it runs, and what its answer must be.

Decides which keys belong together. What an answer proves is ``agentd.evidence.version``'s.
"""

from __future__ import annotations

import re
from dataclasses import replace

from agentd.config.attributes import EXPRESSION
from agentd.config.keys import Key, Kind, table
from agentd.config.kinds import ARGV, FILLED, POSITIVE
from agentd.config.problems import Wrong, shown
from agentd.core.question import Question
from agentd.core.spec import ExecProbe, HttpProbe
from agentd.evidence import Changes, Version
from agentd.evidence.version import HASH, VERSION

_HTTP = re.compile(r"http://[^/\s?#@]+(?:/[^\s#]*)?|http\+unix://%2[Ff][^/\s?#]+(?:/[^\s#]*)?")
_LAST_PORT = 65535


def askable(url: str) -> bool:
    """Whether it has the form of an address that can be asked, with a port that there can be."""
    if not _HTTP.fullmatch(url):
        return False
    _, colon, port = url.partition("://")[2].partition("/")[0].rpartition(":")
    if not colon or "]" in port or url.startswith("http+"):
        return True
    return port.isascii() and port.isdigit() and len(port) < 6 and int(port) <= _LAST_PORT  # noqa: PLR2004 - digits


def _url(value: object) -> str:
    url = FILLED.parse(value)
    if not askable(url):
        forms = '"http://HOST:PORT/PATH" or "http+unix://%2Fpath%2Fof.sock/PATH"'
        raise Wrong.here(f"{shown(url)} is not an address that can be asked; write {forms}")
    return url


URL = Kind("URL", _url)


def _probed(
    http: str | None,
    exec: tuple[str, ...] | None,  # noqa: A002 - the key in the file
    timeout: float | None,
) -> HttpProbe | ExecProbe:
    if (http is None) == (exec is None):
        raise Wrong.here(f"expected exactly one of http, exec; got {'both' if http else 'none'}")
    probe: HttpProbe | ExecProbe = HttpProbe(http) if http is not None else ExecProbe(exec or ())
    return probe if timeout is None else replace(probe, timeout=timeout)


def _version_evidence(
    *,
    http: str | None,
    exec: tuple[str, ...] | None,  # noqa: A002 - the key in the file
    path: str | None,
    metric: str | None,
    expect: str | None,
    changes: str | bool | None,
    timeout: float | None,
) -> Version | Changes:
    probe = _probed(http, exec, timeout)
    if path is not None and metric is not None:
        raise Wrong.here("path is for JSON and metric for Prometheus' format; write one of them")
    question = Question(probe, path or "", metric or "")
    if expect is None:
        if changes is not True:
            raise Wrong.here('needs expect = "{hash}", "{version}" or a text; or changes = true')
        return Changes(question)
    if changes is True:
        what = "beside expect it names another value of the same answer, not true"
        raise Wrong((("changes",), what))
    if changes and not (path or metric):
        raise Wrong(
            (("changes",), "needs path or metric beside it: both name a value of one answer")
        )
    names = expect in (HASH, VERSION)
    return Version(replace(question, names=names, mark=changes or ""), expect)


def _changes(value: object) -> str | bool:
    return value if isinstance(value, bool) else FILLED.parse(value)


_HTTP_KEY = Key(
    "http",
    URL,
    "GET answers 200 to 299 with it; only an answer of the service's own processes counts. http://HOST:PORT/PATH, or "
    "http+unix:// with the socket's path percent-encoded.",
)
_EXEC_KEY = Key("exec", ARGV, "The command prints it and exits 0; it runs as the service's user.")
_PATH_KEY = Key(
    "path",
    EXPRESSION,
    "The answer is JSON, and this JMESPath expression is where the value stands.",
)
_TIMEOUT_KEY = Key(
    "timeout", POSITIVE, "How long one answer may take.", when_unset='"2s"; for exec "5s"'
)
VERSION_EVIDENCE = table(
    'a table such as { http = "http://HOST:PORT/version", expect = "{hash}" }',
    _version_evidence,
    _HTTP_KEY,
    _EXEC_KEY,
    _PATH_KEY,
    Key(
        "metric",
        FILLED,
        "The answer is in Prometheus' text format, and this is the metric whose value counts, with its labels where "
        "there are several.",
    ),
    Key(
        "expect",
        FILLED,
        'What the answer must be: "{hash}" (whole, or its first 12 digits and more), "{version}", or a text; and it must '
        "not have been so before a reload that changes something.",
    ),
    Key(
        "changes",
        Kind("true, path or metric", _changes),
        "Without expect, true: the answer must differ from the one before the act (a generation counter, the time of the "
        "last load). Beside expect: the path or metric of such a value in the same answer; then expect is the result of the "
        "last reload, which counts only when that value has changed.",
    ),
    _TIMEOUT_KEY,
)


def _report(
    *,
    http: str | None,
    exec: tuple[str, ...] | None,  # noqa: A002 - the key in the file
    path: str | None,
    timeout: float | None,
) -> Question:
    return Question(_probed(http, exec, timeout), path or "")


REPORT = table(
    'a table such as { exec = ["PROGRAM", "ARGUMENT"] }',
    _report,
    _HTTP_KEY,
    _EXEC_KEY,
    Key(
        "path",
        EXPRESSION,
        "The answer is JSON, and this JMESPath expression is the list: of names, or of objects with a name. Without it each "
        "line of the answer is one.",
    ),
    _TIMEOUT_KEY,
)
QUESTIONS = frozenset({"http", "exec"})
"""The keys by which a table is known to be one."""
