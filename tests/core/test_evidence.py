"""What each kind of evidence makes of a sight."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.question import Question, Said, kept, same
from agentd.core.spec import HttpProbe
from agentd.core.steps import (
    Baseline,
    Evidence,
    Grade,
    Heard,
    Judgement,
    Sight,
    Wanted,
    Worker,
)
from agentd.evidence import (
    KINDS,
    Changes,
    Delivered,
    Hints,
    Log,
    Notify,
    Reply,
    Reread,
    Version,
    Workers,
)

AGREED = Judgement.AGREED
CONFIRMED, NOT_YET, CONTRADICTED = Judgement.CONFIRMED, Judgement.NOT_YET, Judgement.CONTRADICTED
UNABLE = Judgement.UNABLE
ASKED = Question(HttpProbe("http://h/"))
MARKED = Question(HttpProbe("http://h/"), metric="ok", mark="when")
NEW, OLD = "sha256:" + "9b" * 32, "sha256:" + "3f" * 32
WAS = Said(OLD)
NGINX = Workers(worker="worker process", draining="is shutting down")
SERVING, DRAINING = "nginx: worker process", "nginx: worker process is shutting down"
MASTER, CACHE = "nginx: master process nginx", "nginx: cache manager process"
BEFORE = Baseline(ticks=100, workers=(Worker(10, 50, SERVING), Worker(11, 50, SERVING)))


def seen(*workers: Worker, alive: bool = True) -> Sight:
    return Sight(alive=alive, since_sent=0.0, workers=workers)


@pytest.mark.parametrize(
    ("workers", "judgement"),
    [
        ([], NOT_YET),
        ([Worker(10, 50, SERVING), Worker(11, 50, SERVING)], NOT_YET),
        ([Worker(10, 50, SERVING), Worker(20, 101, SERVING)], NOT_YET),
        ([Worker(20, 101, SERVING)], CONFIRMED),
        ([Worker(10, 50, DRAINING), Worker(20, 101, SERVING)], CONFIRMED),
        ([Worker(10, 50, DRAINING), Worker(11, 50, DRAINING)], NOT_YET),
        ([Worker(20, 100, SERVING)], CONFIRMED),
        ([Worker(20, 99, SERVING)], NOT_YET),
        ([Worker(10, 100, SERVING)], CONFIRMED),
        ([Worker(20, 101, MASTER)], NOT_YET),
        ([Worker(20, 101, CACHE)], NOT_YET),
        ([Worker(20, 101, DRAINING)], NOT_YET),
    ],
    ids=[
        "between the generations",
        "nothing happened",
        "an old one still serves",
        "all replaced",
        "an old one drains",
        "only draining ones",
        "born in the tick of the signal",
        "born before the signal and missed by the baseline",
        "a new one has the pid of an old one",
        "just forked, still titled as its parent",
        "new, but serves nobody",
        "new, and already replaced again",
    ],
)
def test_workers_of_nginx(workers: list[Worker], judgement: Judgement) -> None:
    assert NGINX.judge(BEFORE, seen(*workers)) is judgement


def test_a_worker_born_just_before_the_signal_in_the_same_tick_is_an_old_one() -> None:
    early = Worker(12, 100, SERVING)
    before = Baseline(ticks=100, workers=(early,))
    assert NGINX.judge(before, seen(early)) is NOT_YET


def test_without_a_recipe_old_workers_must_be_gone_whatever_they_are_called() -> None:
    old, new = Worker(10, 50, DRAINING), Worker(20, 101, "anything")
    assert Workers().judge(BEFORE, seen(old, new)) is NOT_YET
    assert Workers().judge(BEFORE, seen(new)) is CONFIRMED


@pytest.mark.parametrize(
    ("was", "now", "judgement"),
    [
        ("1:5", "1:5", NOT_YET),
        ("1:5", "", NOT_YET),
        ("", "", NOT_YET),
        ("1:5", "2:6", CONFIRMED),
        ("", "2:6", CONFIRMED),
        (None, None, CONFIRMED),
        ("1:5", None, NOT_YET),
    ],
    ids=[
        "not yet",
        "it is gone",
        "it was never there",
        "written anew",
        "written for the first time",
        "nobody knows such a file",
        "nobody knows it any more",
    ],
)
def test_workers_count_when_it_has_written_that_it_took_its_configuration(
    was: str | None, now: str | None, judgement: Judgement
) -> None:
    sight = replace(seen(Worker(20, 101, SERVING)), written=now)
    assert NGINX.judge(replace(BEFORE, written=was), sight) is judgement


def test_workers_of_before_it_took_its_configuration_are_former_ones() -> None:
    spare, new = Worker(20, 101, SERVING), Worker(21, 101, SERVING)
    before = replace(BEFORE, written="1:5")
    not_yet = replace(seen(spare), written="1:5")
    grown = before.grown(not_yet)
    assert grown.workers == (*BEFORE.workers, spare)
    assert grown.grown(not_yet) == grown
    taken = replace(seen(spare), written="2:6")
    assert grown.grown(taken) == grown
    assert NGINX.judge(grown, taken) is NOT_YET
    assert NGINX.judge(grown, replace(taken, workers=(new,))) is CONFIRMED
    assert BEFORE.grown(seen(spare)) == BEFORE, "where no such file is known"


WORKERS = st.builds(
    Worker,
    st.integers(1, 4),
    st.integers(98, 102),
    st.sampled_from([SERVING, DRAINING, MASTER, CACHE]),
)


@given(st.lists(WORKERS), st.lists(WORKERS))
def test_what_was_there_before_never_confirms(old: list[Worker], extra: list[Worker]) -> None:
    before = Baseline(ticks=100, workers=tuple(old))
    known = {(w.pid, w.started) for w in old}
    now = seen(*old, *(w for w in extra if w.started < 100 or (w.pid, w.started) in known))
    assert NGINX.judge(before, now) is NOT_YET


@pytest.mark.parametrize(
    "evidence",
    [
        *(NGINX, Workers(), Log("ok"), Delivered(), Notify(), Reply(), Reread()),
        *(Version(ASKED, "{hash}"), Version(MARKED, "1"), Changes(ASKED)),
    ],
)
def test_a_dead_service_contradicts_everything(evidence: Evidence) -> None:
    heard = Heard(reloading=True, done=True)
    said, was, wanted = Said(NEW), Said(OLD), Wanted(NEW, "v2", changed=True)
    now = Sight(
        False, 9.0, (Worker(20, 101, SERVING),), "ok", heard, True, said, was, wanted
    )  # everything else speaks for it
    assert evidence.judge(BEFORE, now) is CONTRADICTED


def test_a_matching_line_is_enough_and_its_absence_is_not_a_no() -> None:
    log = Log("re-?loaded")
    assert log.pattern == "re-?loaded"
    assert log.judge(BEFORE, Sight(alive=True, since_sent=60.0)) is NOT_YET
    assert log.judge(BEFORE, Sight(alive=True, since_sent=0.0, matched="reloaded")) is CONFIRMED
    assert log.judge(BEFORE, Sight(alive=True, since_sent=0.0, matched="")) is CONFIRMED


def test_a_complaint_of_the_server_contradicts_before_anything_confirms() -> None:
    complaint = Sight(alive=True, since_sent=0.1, workers=(), matched="[emerg] no such file")
    assert Workers(refused="emerg").pattern == "emerg"
    assert Workers(refused="emerg").judge(BEFORE, complaint) is CONTRADICTED
    delivered = Delivered.declared(None, Hints(refused="emerg"))
    assert (delivered.pattern, delivered.judge(BEFORE, complaint)) == ("emerg", CONTRADICTED)
    log = Log.declared("Loading success", Hints(refused="Loading failure"))
    assert log.pattern == "(?:Loading success)|(?:Loading failure)"
    for line, judgement in (("Loading failure!", CONTRADICTED), ("Loading success.", CONFIRMED)):
        assert log.judge(BEFORE, Sight(alive=True, since_sent=0.1, matched=line)) is judgement


@pytest.mark.parametrize(
    ("started", "since", "judgement"),
    [(101, 0.5, NOT_YET), (101, 1.1, CONFIRMED), (150, 1.1, NOT_YET), (150, 1.6, CONFIRMED)],
    ids=["just forked", "has lived", "started again meanwhile", "and has lived"],
)
def test_workers_that_may_fail_after_their_start_must_have_lived(
    started: int, since: float, judgement: Judgement
) -> None:
    sight = Sight(alive=True, since_sent=since, workers=(Worker(20, started, "x"),))
    assert Workers(settle=1.0).judge(BEFORE, sight) is judgement


@pytest.mark.parametrize("argument", ["(", "", "x*"])
def test_a_pattern_that_is_none_or_matches_everything_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|every line"):
        Log.declared(argument, Hints())


def test_delivery_counts_only_after_the_grace() -> None:
    evidence = Delivered(grace=0.2)
    assert evidence.judge(BEFORE, Sight(alive=True, since_sent=0.19)) is NOT_YET
    assert evidence.judge(BEFORE, Sight(alive=True, since_sent=0.2)) is CONFIRMED


@pytest.mark.parametrize(
    ("heard", "judgement"),
    [
        (Heard(), NOT_YET),
        (Heard(reloading=True), NOT_YET),
        (Heard(reloading=True, done=True), AGREED),
        (Heard(reloading=True, named=True), NOT_YET),
        (Heard(reloading=True, done=True, named=True), CONFIRMED),
        (Heard(reloading=True, refused="line 3"), CONTRADICTED),
        (Heard(reloading=True, done=True, refused="line 3"), CONTRADICTED),
    ],
    ids=[
        "silent",
        "it reloads",
        "done, which it may say of a failure too",
        "it names what it runs and is not done",
        "done, and it names what it runs",
        "a complaint before its end",
        "done, and it failed",
    ],
)
def test_what_the_service_says_of_itself(heard: Heard, judgement: Judgement) -> None:
    now = Sight(alive=True, since_sent=9.0, heard=heard, replied=True)
    assert Notify().judge(BEFORE, now) is judgement


def test_a_yes_of_the_last_step_is_enough_and_its_absence_is_not_a_no() -> None:
    done = Heard(reloading=True, done=True)
    assert Reply().judge(BEFORE, Sight(alive=True, since_sent=9.0, heard=done)) is NOT_YET
    assert Reply().judge(BEFORE, Sight(alive=True, since_sent=0.0, replied=True)) is AGREED


def test_a_yes_is_proof_only_of_a_server_that_is_known_not_to_say_it_too_early() -> None:
    known = Reply.declared(None, Hints(synchronous=True))
    assert known.judge(BEFORE, Sight(alive=True, since_sent=9.0)) is NOT_YET
    assert known.judge(BEFORE, Sight(alive=True, since_sent=0.0, replied=True)) is CONFIRMED
    assert Reply.declared(None, Hints()) == Reply()


def answered(said: Said | None, was: Said | None = WAS, *, changed: bool = True) -> Sight:
    return Sight(True, 9.0, said=said, before=was, wanted=Wanted(NEW, "v2", changed))


LATE = Said(why="no answer within 2s", known=False)


@pytest.mark.parametrize(
    ("said", "was", "changed", "judgement"),
    [
        (None, None, True, NOT_YET),
        (Said(why="connection refused"), Said(OLD), True, NOT_YET),
        (Said(OLD), Said(OLD), True, NOT_YET),
        (Said(NEW), Said(OLD), True, CONFIRMED),
        (Said("9b9b9b9b9b9b"), Said(OLD), True, CONFIRMED),
        (Said("9B" * 32), Said(OLD), True, CONFIRMED),
        (Said("9b9b9b9b9b9"), Said(OLD), True, NOT_YET),
        (Said("no digits"), Said(OLD), True, NOT_YET),
        (Said(NEW), Said(why="no socket at that path"), True, CONFIRMED),
        (Said(NEW), Said(NEW), True, UNABLE),
        (Said(NEW), Said(NEW), False, CONFIRMED),
        (Said(NEW), LATE, True, UNABLE),
        (Said(NEW), None, True, UNABLE),
    ],
    ids=[
        "not asked",
        "nobody there",
        "the old one",
        "the new one",
        "by twelve digits",
        "in capitals",
        "eleven digits are too few",
        "no hash at all",
        "nobody was there before",
        "so before the act: it reads the file when it is asked",
        "nothing changed, and it runs that",
        "nobody knows what it would have said",
        "the baseline is of another definition",
    ],
)
def test_what_a_service_says_it_runs(
    said: Said | None, was: Said | None, judgement: Judgement, *, changed: bool
) -> None:
    assert Version(ASKED, "{hash}").judge(BEFORE, answered(said, was, changed=changed)) is judgement


def test_a_version_or_a_text_is_compared_as_it_is_kept() -> None:
    assert Version(ASKED, "{version}").judge(BEFORE, answered(Said("v2"))) is CONFIRMED
    assert Version(ASKED, "{version}").judge(BEFORE, answered(Said("v20"))) is NOT_YET
    long = "x" * 200
    assert Version(ASKED, long).judge(BEFORE, answered(Said(kept(long)))) is CONFIRMED
    nothing = Sight(True, 9.0, said=Said("v2"), before=Said(OLD))
    assert Version(ASKED, "{version}").judge(BEFORE, nothing) is NOT_YET


@pytest.mark.parametrize(
    ("said", "was", "judgement"),
    [
        (Said("1", "20"), Said("1", "10"), CONFIRMED),
        (Said("1.0", "20"), Said("1", "10"), CONFIRMED),
        (Said("1", "10"), Said("1", "10"), NOT_YET),
        (Said("0", "10"), Said("1", "10"), CONTRADICTED),
        (Said("0", "10"), Said("0", "10"), NOT_YET),
        (Said("1", "20"), Said("0", "10"), CONFIRMED),
        (Said("1", "20"), LATE, UNABLE),
        (Said("1", "20"), None, UNABLE),
        (Said("1", "20"), Said(why="answered 503"), CONFIRMED),
    ],
    ids=[
        "true, and newer",
        "as a float",
        "true since earlier",
        "true before, false now: its own no",
        "false before: of which reload is not known",
        "mended",
        "the earlier moment is not known",
        "nothing was asked",
        "there was no page before",
    ],
)
def test_the_result_of_the_last_reload_with_its_moment(
    said: Said, was: Said | None, judgement: Judgement
) -> None:
    assert Version(MARKED, "1").judge(BEFORE, answered(said, was)) is judgement


@pytest.mark.parametrize(
    ("workers", "since", "judgement"),
    [
        ([Worker(20, 101, SERVING), Worker(21, 101, SERVING)], 0.0, CONFIRMED),
        ([Worker(10, 50, SERVING), Worker(20, 101, SERVING)], 0.4, NOT_YET),
        ([Worker(10, 50, SERVING), Worker(20, 101, SERVING)], 0.5, AGREED),
        ([Worker(10, 50, SERVING), Worker(11, 50, SERVING)], 0.5, AGREED),
        ([Worker(10, 50, SERVING)], 0.0, CONFIRMED),
        ([Worker(10, 50, DRAINING), Worker(20, 101, SERVING)], 0.0, CONFIRMED),
        ([Worker(10, 50, CACHE), Worker(20, 101, SERVING)], 0.0, CONFIRMED),
        ([Worker(10, 101, SERVING), Worker(20, 101, SERVING)], 0.0, CONFIRMED),
    ],
    ids=[
        "all are new",
        "one of before is there: it may be leaving",
        "it does not leave, and might say something else",
        "they take it in place, and one of them spoke",
        "there is nobody else who could have spoken",
        "the other one drains",
        "the other one serves nobody",
        "a new one has the pid of an old one",
    ],
)
def test_an_answer_speaks_for_the_process_that_gave_it(
    workers: list[Worker], since: float, judgement: Judgement
) -> None:
    hints = Hints(worker=NGINX.worker, draining=NGINX.draining)
    result = Sight(True, since, tuple(workers), said=Said("1", "20"), before=Said("1", "10"))
    for evidence, now in (
        (Version(ASKED, "{hash}"), replace(result, said=Said(NEW), before=Said(OLD))),
        (Version(MARKED, "1"), result),
    ):
        told = replace(now, wanted=Wanted(NEW, "v2", changed=True))
        assert evidence.told(hints).judge(BEFORE, told) is judgement


@pytest.mark.parametrize(
    ("said", "was", "judgement"),
    [
        (None, Said("7"), NOT_YET),
        (Said(why="connection refused"), Said("7"), NOT_YET),
        (Said("7"), Said("7"), NOT_YET),
        (Said("8"), Said("7"), CONFIRMED),
        (Said("8"), Said(why="answered 404"), CONFIRMED),
        (Said("8"), LATE, UNABLE),
        (Said("8"), None, UNABLE),
    ],
)
def test_a_counter_that_moved(said: Said | None, was: Said | None, judgement: Judgement) -> None:
    assert Changes(ASKED).judge(BEFORE, answered(said, was, changed=False)) is judgement


@pytest.mark.parametrize(
    ("opened", "since", "judgement"),
    [
        ({"/a", "/b", "/c"}, 0.2, CONFIRMED),
        ({"/a", "/b"}, 0.1, NOT_YET),
        ({"/a"}, 9.0, NOT_YET),
        (None, 9.0, UNABLE),
    ],
    ids=["all of them", "it may die of them yet", "one was never opened", "nobody can tell"],
)
def test_who_opened_the_files(opened: set[str] | None, since: float, judgement: Judgement) -> None:
    seen = None if opened is None else frozenset(opened)
    wanted = Wanted(NEW, "v2", True, ("/a", "/b"))
    now = Sight(True, since, wanted=wanted, opened=seen)
    assert Reread().judge(BEFORE, now) is judgement
    assert Reread().judge(BEFORE, Sight(True, since, opened=seen)) is UNABLE


def test_a_complaint_of_what_was_read_contradicts_that_it_was() -> None:
    one = Reread.declared(None, Hints(refused="contains errors"))
    assert one.pattern == "contains errors"
    read = Sight(True, 1.0, opened=frozenset({"/a"}), wanted=Wanted(NEW, "v2", True, ("/a",)))
    assert one.judge(BEFORE, read) is CONFIRMED
    assert one.judge(BEFORE, replace(read, matched="it contains errors")) is CONTRADICTED


def test_what_is_kept_of_an_answer() -> None:
    assert kept("  v2\n") == "v2"
    assert kept("x" * 80) == "x" * 80
    assert kept("x" * 81).startswith("text:")
    assert len(kept("two\nlines")) == len("text:") + 16
    assert kept("two\nlines") != kept("two\nLines")
    assert same("1", "1.0")
    assert not same("1", "x")


def test_kinds_and_grades() -> None:
    made = (Version(ASKED, "{hash}"), Changes(ASKED))
    assert [(e.name, e.grade, e.workers, e.pattern, e.question) for e in made] == [
        ("version", Grade.PROVEN, True, None, ASKED),
        ("changes", Grade.OBSERVED, False, None, ASKED),
    ]
    assert {e.question for e in (Workers(), Log("x"), Delivered(), Notify(), Reply())} == {None}
    assert {name: kind.grade for name, kind in KINDS.items()} == {
        "notify": Grade.PROVEN,
        "reply": Grade.PROVEN,
        "workers": Grade.OBSERVED,
        "reread": Grade.OBSERVED,
        "log": Grade.OBSERVED,
        "delivered": Grade.DECLARED,
    }
    assert [name for name, kind in KINDS.items() if kind.workers] == ["workers"]
    assert Workers.declared(None, Hints("w", "d", refused="r", settle=1.0)) == Workers(
        "w", "d", "r", 1.0
    )
    silent = (Workers(), Delivered(), Notify(), Reply())
    assert [e.pattern for e in silent] == [None] * len(silent)
    nothing = Hints()
    bare = (Notify.declared(None, nothing), Reply.declared(None, nothing))
    assert bare == (Notify(), Reply())
    assert (Notify.takes, Reply.takes) == ("", "")
