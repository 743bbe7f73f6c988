"""The table catches what it is there to catch: a verdict that is not what is served, requests that were lost, a row that never ends."""

from __future__ import annotations

import json
import sys

import pytest
from kit import HOST, Flaw, Place, Server
from rows import Lost, Row, Run
from table import render

SERVER = """import http.server, pathlib, signal, sys
port, file, mode = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
words = [file.read_text()]

def told(*_):
    if mode == "gap":
        raise SystemExit(3)
    if mode != "liar":
        words.append(file.read_text())

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = words[-1].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Threads(http.server.ThreadingHTTPServer):
    request_queue_size = 100

signal.signal(signal.SIGHUP, told)
Threads(("127.0.0.1", port), Handler).serve_forever()
"""


class Small(Server):
    """Takes its file at HUP; or only says so; or ends of it."""

    program = sys.executable
    per_second = 100.0
    kept = 2
    edits = 1

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.name = mode

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        at.write("word", word)

    def command(self, at: Place) -> list[str]:
        return [sys.executable, "-c", SERVER, str(at.port), f"{at.dir}/word", self.mode]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/word"]

    def definition(self, at: Place, more: str = "") -> str:
        return f"""[service.web]
command = {json.dumps(self.command(at))}
inputs = {json.dumps(self.inputs(at))}
ready = {{ http = "http://{HOST}:{at.port}/" }}
backoff = {{ first = "0ms" }}
{more}
[service.web.reload]
confirm = ["delivered"]
"""


def row(mode: str, what: str = Flaw.NONE) -> Row:
    return Run(Small(mode))._guarded(what)


def test_one_that_takes_its_file_is_as_wanted() -> None:
    found = row("good")
    assert (found.verdict, found.grade) == ("applied", "declared")
    assert (found.wrong, found.missed) == ([], [])
    assert (found.lost.new, found.lost.kept) == (0, 0)


def test_a_verdict_that_is_not_what_is_served_is_wrong() -> None:
    found = row("liar")
    assert found.verdict == "applied"
    assert found.wrong[0] == "applied, but it serves 'word1', not word2"


def test_what_clients_lost_is_told_and_an_edit_that_takes_the_service_down_is_no_refusal() -> None:
    found = row("gap", Flaw.UNFOUND)
    assert found.verdict == "failed"
    told = " ".join(found.missed)
    assert "failed service_died, wanted refused or rolled_back" in told
    assert "lost:" in told


def test_its_own_command_is_put_beside_it_and_its_death_is_seen() -> None:
    run = Run(Small("gap"))
    own = run._own(Flaw.UNFOUND)
    assert (own.exit, own.after) == (0, "dead")
    assert run._own(Flaw.NONE).after == "dead"
    assert Run(Small("good"))._own(Flaw.NONE).after == "serves the new"
    assert Run(Small("liar"))._own(Flaw.UNFOUND).after == "serves the old"


def test_one_that_is_not_installed_says_what_to_install() -> None:
    class Absent(Server):
        name = "absent"
        program = "no-such-program"
        install = "apt-get install absent"

    assert Absent().missing() == "no-such-program is not installed: apt-get install absent"


@pytest.mark.parametrize("excused", [True, False])
def test_a_loss_that_a_server_names_a_reason_for_is_known_and_any_other_is_missed(
    excused: bool,  # noqa: FBT001 - a case
) -> None:
    class Named(Small):
        allowed = {Flaw.NONE: "it is so"} if excused else {}

    found = Row("x", "1", Flaw.NONE, verdict="applied", lost=Lost(1, 0, 0.0, "1 refused"))
    Run(Named("good"))._judge(found)
    assert found.missed == ([] if excused else ["lost: 1 refused"])
    assert found.excused == (["lost: 1 refused (it is so)"] if excused else [])
    assert ("known" if excused else "MISSED") in render([found])
