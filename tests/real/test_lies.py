"""Servers that lie about their reload, against every evidence: what agentd makes of each, and what is true then.

The lies are the functions of ``apps/liar.py``. No lie may be called applied and *proven*; where *observed* or *declared* is wrong,
``WRONG`` says why nothing better can be had from that evidence.
"""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from apps_run import HOME, Told
from host import Host, free_port, host, until

EVIDENCE = {
    "version": 'confirm = [{ http = "http+unix://@HTTP@/", expect = "{version}" }]',
    "notify": 'confirm = ["notify"]',
    "reply": 'handle = "http"\nrequest = { url = "http+unix://@ADMIN@/" }\nconfirm = ["reply"]',
    "workers": 'confirm = ["workers"]',
    "changes": 'confirm = [{ http = "http+unix://@HTTP@/loaded", changes = true }]',
    "log": 'confirm = [{ log = "^reloaded" }]',
    "delivered": 'confirm = ["delivered"]',
    "none": "confirm = []",
    "replace": 'handle = "replace"',
    "reread": 'confirm = ["reread"]',
    "verified": """confirm = [{ http = "http+unix://@HTTP@/", expect = "{version}" }]
verify = { http = "http+unix://@HTTP@/", for = "2500ms", interval = "50ms", threshold = 2 }""",
}
"""The columns. A replace brings its own evidence: the next generation's answer to the probe."""

TABLE = """
                     version        notify        reply         workers
honest               proven=new     observed=new  observed=new  observed=new
ignores              rejected=old   rejected=old  timed_out=old rejected=old
deaf                 timed_out=old  timed_out=old timed_out=old timed_out=old
reads_when_asked     unverified=old timed_out=old timed_out=old timed_out=old
old_answers          timed_out=old  observed=old  observed=old  timed_out=old
dies_at_once         failed=none    failed=none   failed=none   failed=none
dies_later           proven=new     observed=new  observed=new  observed=new
half                 observed=half  observed=half observed=half timed_out=half
keeps_old            timed_out=old  observed=old  observed=old  observed=old
reexecs              proven=new     observed=new  observed=new  observed=new
moves                proven=new     observed=new  observed=new  observed=new
hangs                timed_out=old  timed_out=old timed_out=old timed_out=old
answers_once         proven=new     observed=new  observed=new  observed=new
ready_after_failure  timed_out=old  observed=old  refused=old   timed_out=old
status_after_failure timed_out=old  refused=old   refused=old   timed_out=old
only_replies         timed_out=old  timed_out=old observed=old  timed_out=old
only_logs            timed_out=old  timed_out=old timed_out=old timed_out=old

                     changes       log           delivered     none            replace
honest               observed=new  observed=new  declared=new  unverified=new  observed=new
ignores              rejected=old  rejected=old  rejected=old  rejected=old    observed=new
deaf                 timed_out=old timed_out=old declared=old  unverified=old  observed=new
reads_when_asked     timed_out=old timed_out=old declared=old  unverified=old  observed=new
old_answers          timed_out=old observed=old  declared=old  unverified=old  refused=old
dies_at_once         failed=none   failed=none   failed=none   failed=none     refused=old
dies_later           observed=new  observed=new  declared=new  unverified=new  observed=new
half                 observed=half observed=half declared=half unverified=half observed=half
keeps_old            observed=old  observed=old  declared=old  unverified=old  observed=old
reexecs              observed=new  observed=new  declared=new  unverified=new  observed=new
moves                timed_out=new observed=new  declared=new  unverified=new  refused=old
hangs                timed_out=old timed_out=old declared=old  unverified=old  refused=old
answers_once         observed=new  observed=new  declared=new  unverified=new  observed=new
ready_after_failure  timed_out=old timed_out=old declared=old  unverified=old  observed=new
status_after_failure timed_out=old timed_out=old declared=old  unverified=old  observed=new
only_replies         timed_out=old timed_out=old declared=old  unverified=old  observed=new
only_logs            timed_out=old observed=old  declared=old  unverified=old  observed=new

                     reread        verified
honest               observed=new  proven=new
ignores              rejected=old  rejected=old
deaf                 timed_out=old timed_out=old
reads_when_asked     timed_out=old unverified=old
old_answers          observed=old  timed_out=old
dies_at_once         failed=none   failed=none
dies_later           observed=new  failed=none
half                 observed=half observed=half
keeps_old            observed=old  timed_out=old
reexecs              observed=new  proven=new
moves                observed=new  proven=new
hangs                observed=old  timed_out=old
answers_once         observed=new  failed=none
ready_after_failure  timed_out=old timed_out=old
status_after_failure timed_out=old timed_out=old
only_replies         timed_out=old timed_out=old
only_logs            timed_out=old timed_out=old
"""
"""Three rows per lie. Left the verdict, or for one that is applied its grade; right what the workers run when it is said.

``verified`` is ``version``, and then whether it is well for longer than the deadly live.
"""

WRONG = {
    "version": ({"half"}, "it speaks for the worker that was asked, and another one is of before"),
    "notify": (
        {"old_answers", "half", "keeps_old", "ready_after_failure"},
        "systemd's handshake has no word for a reload that failed, so READY=1 is no more than its end",
    ),
    "reply": (
        {"old_answers", "half", "keeps_old", "only_replies"},
        "what a yes is worth is known of the servers that recipes are for, and of no others",
    ),
    "workers": ({"keeps_old"}, "new workers can have been given the old configuration"),
    "changes": (
        {"half", "keeps_old"},
        "it tells that something was loaded, not what; and that of the worker that was asked",
    ),
    "log": (
        {"old_answers", "half", "keeps_old", "only_logs"},
        "a line says what the program means to have done",
    ),
    "delivered": (
        {
            *("deaf", "reads_when_asked", "old_answers", "half", "keeps_old", "hangs"),
            *("ready_after_failure", "status_after_failure", "only_replies", "only_logs"),
        },
        "it is the operator's word that being alive is enough",
    ),
    "reread": (
        {"old_answers", "half", "keeps_old", "hangs"},
        "who opened the file is seen, and what it made of it is not",
    ),
    "verified": ({"half"}, "it speaks for the worker that was asked, and another one is of before"),
    "replace": (
        {"half", "keeps_old"},
        "the next generation serves, and which configuration it read nobody has asked it",
    ),
}
"""By evidence, the lies that it takes for the truth, and why it cannot know better."""
CHANCE = {("half", name) for name in ("version", "changes", "verified")} | {("moves", "reread")}
"""Which of two workers is asked is the kernel's choice: where it is the old one each time, nobody is fooled. Nor is anybody where a file
was opened in the moment in which the main process was another one: then it has been opened by nobody that is known."""
DIES = {"dies_later", "answers_once"}
"""They take it, and are dead soon after: right when it is said; the death is told by itself."""


class Cell(NamedTuple):
    verdict: str
    grade: str | None
    truth: str


def _cell(text: str) -> Cell:
    verdict, _, truth = text.partition("=")
    grade = verdict if verdict in ("proven", "observed", "declared") else None
    return Cell("applied" if grade else verdict, grade, truth)


def _matrix() -> dict[str, dict[str, Cell]]:
    found: dict[str, dict[str, Cell]] = {}
    for part in TABLE.split("\n\n"):
        columns, *rows = (line.split() for line in part.strip().splitlines())
        for lie, *cells in rows:
            found.setdefault(lie, {}).update(zip(columns, map(_cell, cells), strict=True))
    return found


MATRIX = _matrix()


def test_no_lie_is_proven_and_every_wrong_cell_has_its_reason() -> None:
    assert all(list(row) == list(EVIDENCE) for row in MATRIX.values())
    cells = {(lie, name): cell for lie, row in MATRIX.items() for name, cell in row.items()}
    wrong = {at for at, c in cells.items() if c.verdict == "applied" and c.truth != "new"}
    assert not {at for at in wrong if cells[at].grade == "proven"}
    assert wrong == {(lie, name) for name, (lies, _) in WRONG.items() for lie in lies}


def definition(directory: Path, lie: str, evidence: str) -> str:
    home = directory / evidence
    home.mkdir()
    ready = 'ready = "notify"'
    if evidence == "replace":
        at = f"127.0.0.1:{free_port()}"
        ready = f"""ready = {{ http = "http://{at}/", interval = "20ms" }}
sockets = [{{ name = "http", listen = "{at}" }}]"""
    reload = EVIDENCE[evidence]
    for word, path in (("@ADMIN@", home / "admin.sock"), ("@HTTP@", home / "http")):
        reload = reload.replace(word, str(path).replace("/", "%2F"))
    return f"""[service.{evidence}]
command = ["{sys.executable}", "-S", "{HOME}/liar.py", "{lie}", "{home}"]
env = {{ APP_FILE = "{directory}/app.json" }}
inputs = ["{directory}/app.json"]
version = {{ file = "{directory}/app.json", path = "version" }}
restart = "never"
start_timeout = "3s"
stop_timeout = "1s"
{ready}
[service.{evidence}.reload]
timeout = "2s"
{reload}
"""


def truth(home: Path) -> str:
    """What the workers that are alive run."""
    found = set()
    for path in home.glob("truth.*"):
        try:
            stat = Path(f"/proc/{path.suffix[1:]}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat.rpartition(")")[2].split()[0] not in "ZX":
            found.add(path.read_text())
    return {"1": "old", "2": "new", "": "none"}.get("".join(found), "half")


def reloaded(running: Host, evidence: str) -> Cell:
    _, reload = running.ctl("reload", evidence)
    if evidence == "replace":
        until(lambda: len(running.service(evidence)["instances"]) < 2, "one generation is left")
    if reload["verdict"] == "failed":  # what the main process left behind is ended, too
        over = ("failed", "down")
        until(lambda: running.service(evidence)["phase"] in over, "nothing of it is left")
    return Cell(reload["verdict"], reload["confirmation_grade"], truth(running.dir / evidence))


@pytest.mark.parametrize("lie", MATRIX)
def test_a_lie_against_every_evidence(tmp_path: Path, lie: str) -> None:
    told = Told(tmp_path)
    with host(tmp_path, "".join(definition(tmp_path, lie, name) for name in EVIDENCE)) as running:
        for name in EVIDENCE:
            running.ready(name)
        told(version="2")
        with ThreadPoolExecutor(len(EVIDENCE)) as pool:
            seen = pool.map(lambda name: reloaded(running, name), EVIDENCE)
            found = dict(zip(EVIDENCE, seen, strict=True))
        expected = MATRIX[lie] | {
            name: cell._replace(verdict="timed_out", grade=None)
            for name, cell in MATRIX[lie].items()
            if (lie, name) in CHANCE and found[name].verdict == "timed_out"
        }
        assert found == expected
        if lie in DIES:
            for name in EVIDENCE.keys() - {"replace"}:
                dies(running, name)


def dies(running: Host, name: str) -> None:
    """Asked once, if that is what it dies of; then agentd says so."""
    if running.service(name)["phase"] == "ready":
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(running.dir / name / "http"))
            s.sendall(b"GET / HTTP/1.1\r\n\r\n")
            s.recv(64)
    until(lambda: running.service(name)["phase"] == "failed", f"{name} is known to be dead")
