"""What the answer of a command that lists included files is worth, and what a reload makes of no answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core import facts
from agentd.core.included import MOST, Answered, Listed, listed
from agentd.core.manifest import Manifest
from agentd.core.spec import Included, Spec
from agentd.wire import Verdict
from tests.core.make import agent, manifest, spec, unchecked
from tests.core.test_back import bad
from tests.core.test_reload import up

NGINX = Included(("nginx", "-T"), "^# configuration file (.+):$", 3.0)
GOOD = Answered(0, timed_out=False, error=None, found=("/etc/n/b", "/etc/n/a", "/etc/n/b"))
BEFORE = Listed(("/etc/n/old",))


def test_an_answer_is_the_files_by_name_each_once() -> None:
    assert listed(NGINX, BEFORE, GOOD, "/srv") == Listed(("/etc/n/a", "/etc/n/b"))


def test_a_path_that_does_not_begin_at_the_root_begins_where_the_command_ran() -> None:
    found = replace(GOOD, found=("rules/a.yml",))
    assert listed(NGINX, Listed(), found, "/srv") == Listed(("/srv/rules/a.yml",))


def test_of_the_file_that_it_writes_the_last_name_counts_and_stays_while_there_is_no_answer() -> (
    None
):
    found = replace(GOOD, written=("/run/old.pid", "logs/httpd.pid"))
    known = listed(NGINX, Listed(), found, "/srv")
    assert known.written == "/srv/logs/httpd.pid"
    assert listed(NGINX, known, replace(GOOD, exit_code=1), "/srv").written == known.written
    assert listed(NGINX, known, GOOD, "/srv").written == ""


@pytest.mark.parametrize(
    ("answered", "why"),
    [
        (replace(GOOD, exit_code=1), "nginx says no (exit code 1)"),
        (replace(GOOD, exit_code=None, timed_out=True), "nginx did not end within 3s"),
        (replace(GOOD, exit_code=None, error="cannot run nginx: gone"), "cannot run nginx: gone"),
        (replace(GOOD, found=()), "nginx names none; included = false does not ask"),
        (replace(GOOD, found=("/a",) * (MOST + 1)), f"nginx names more than {MOST}"),
    ],
)
def test_what_is_no_answer_leaves_the_last_one_and_says_why(answered: Answered, why: str) -> None:
    known = listed(NGINX, BEFORE, answered, "/")
    assert known == Listed(BEFORE.paths, f"cannot list the included files: {why}")
    assert listed(NGINX, known, GOOD, "/").why == ""


UNLISTED = Manifest("sha256:2?", "2?", manifest(2).entries, unlisted="nginx says no")


def test_a_person_s_reload_asks_anew_and_a_watch_believes_what_it_sees() -> None:
    a = up()
    assert not a.last(fx.TakeSnapshot).anew
    a.hint()
    a.elapse("waiting")
    assert not a.last(fx.TakeSnapshot).anew
    a.read(1)
    a.reload()
    assert a.last(fx.TakeSnapshot).anew


def test_a_watch_of_what_is_included_alone_is_one() -> None:
    a = agent(spec(inputs=(), included=NGINX)).up()
    a.hint()
    a.elapse("waiting")
    a.read(2)
    assert a.last(fx.RunCheck).hash == "sha256:2"


def test_the_check_says_why_it_cannot_be_listed() -> None:
    a = up()
    a.reload()
    a.read(UNLISTED)
    assert a.told(facts.SnapshotTaken)[-1].unlisted == "nginx says no"
    a.check(1)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.REJECTED, "check_failed")
    assert a.service().live == manifest(1)


@pytest.mark.parametrize("declared", [spec(), unchecked(spec())])
def test_what_cannot_be_listed_is_rejected_when_the_check_lets_it_pass(declared: Spec) -> None:
    a = agent(declared).up()

    def asked() -> None:
        a.reload()
        a.read(UNLISTED)
        if declared.reload.check:
            a.check()

    asked()
    said = a.judged
    assert (said.verdict, said.error_type) == (Verdict.REJECTED, "inputs_unlisted")
    assert said.message == "nginx says no"
    s = a.service()
    assert (s.live, s.quarantine, s.running) == (manifest(1), None, None)
    assert not [e for e in a.effects if isinstance(e, fx.TakeBaseline)]
    # A watch that finds the same once more has nothing to say; a person is told again.
    a.hint()
    a.elapse("waiting")
    a.read(UNLISTED)
    assert a.service().running is None
    assert a.verdicts[1:] == [Verdict.REJECTED]
    asked()
    assert a.verdicts[-1] is Verdict.REJECTED


def test_a_start_goes_on_with_what_cannot_be_listed_and_nothing_is_known_to_be_live() -> None:
    a = agent(spec())
    a.read(UNLISTED)
    a.check()
    a.spawned()
    a.ready()
    a.read(UNLISTED)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.UNVERIFIED, "inputs_unlisted")
    assert a.service().live is None
    assert a.phase() == "ready"


def test_what_is_put_back_and_cannot_be_listed_is_not_taken() -> None:
    a = bad()
    a.feed(ev.Restored(a.last(fx.Restore).token, 1))
    a.read(UNLISTED)
    assert (a.judged.verdict, a.judged.error_type) == (Verdict.FAILED, "rollback_failed")
    assert "1 could not be put back: nginx says no" in a.judged.message
