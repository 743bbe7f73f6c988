"""The small pure parts: pauses, ids, differences, ends, copies and the table of verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd import wire
from agentd.core import backoff
from agentd.core.ids import Mint
from agentd.core.instance import Instance, Phase
from agentd.core.manifest import Change, Entry, Manifest, changes, lost
from agentd.core.process import Exit
from agentd.core.spec import Backoff, Family, SocketKind, SocketSpec, StartLimit
from agentd.core.value import replace
from agentd.wire import Trigger, Verdict


def test_the_pause_doubles_up_to_the_most() -> None:
    b = Backoff(first=0.5, factor=2.0, max=3.0)
    assert [backoff.delay(n, b) for n in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.delay(100_000, b) == 3.0


def test_starts_count_within_the_interval_only() -> None:
    limit = StartLimit(2, 10.0)
    assert backoff.recent((0.0, 1.0, 5.0), 10.0, limit) == (1.0, 5.0)
    assert backoff.exhausted((0.0, 1.0, 5.0), 10.0, limit)
    assert not backoff.exhausted((0.0, 1.0, 5.0), 11.0, limit)


def test_ids_are_ulids_that_sort_by_time() -> None:
    mint = Mint(b"seed", wall_ms=1_700_000_000_000, mono=5.0)
    first = mint.reload_id(5.0)
    assert (len(first), first[:10]) == (26, "01HF7YAT00")
    assert mint.reload_id(5.0) == first
    assert first < mint.reload_id(5.001) < mint.next().reload_id(6.0)
    assert mint.reload_id(5.001)[:10] == "01HF7YAT01"
    assert first[10:] == mint.reload_id(9.0)[10:]
    assert mint.reload_id(5.0 + 32.768)[:10] == "01HF7YBT00"


def test_every_count_and_every_purpose_has_ids_of_its_own() -> None:
    mint = Mint(b"seed", 0, 0.0)
    assert (len(mint.trace_id()), len(mint.cookie())) == (32, 24)
    assert int(mint.trace_id(), 16)
    shares = [Mint(b"seed", 0, 0.0, n).share() for n in range(1000)]
    assert 0.0 <= min(shares) < 0.05
    assert 0.95 < max(shares) < 1.0
    assert Mint(b"other", 0, 0.0).share() != mint.share()
    others = [mint.next(), mint.next().next(), Mint(b"other", 0, 0.0)]
    assert len({m.trace_id() for m in (mint, *others)}) == 4
    assert len({m.cookie() for m in (mint, *others)}) == 4
    assert len({m.reload_id(0.0) for m in (mint, *others)}) == 4
    assert not mint.trace_id().startswith(mint.cookie())
    assert mint.next() == Mint(b"seed", 0, 0.0, 1)


def of(**files: str) -> Manifest:
    return Manifest("", "", tuple(Entry(path, hash_, 1) for path, hash_ in files.items()))


def test_changes_are_named_in_path_order() -> None:
    before, after = of(a="1", b="1", c="1"), of(d="1", c="2", b="1")
    assert changes(before, after) == (
        Change("a", "removed"),
        Change("c", "modified"),
        Change("d", "added"),
    )
    assert changes(None, of(b="1", a="1")) == (Change("a", "added"), Change("b", "added"))


MANIFESTS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12")).map(lambda d: of(**d))


@given(MANIFESTS, MANIFESTS)
def test_changes_lead_from_one_to_the_other(a: Manifest, b: Manifest) -> None:
    assert changes(a, a) == ()
    old, new = ({e.path: e.hash for e in m.entries} for m in (a, b))
    for change in changes(a, b):
        old.pop(change.path, None)
        if change.change != "removed":
            old[change.path] = new[change.path]
    assert old == new


@pytest.mark.parametrize(
    ("end", "clean", "said"),
    [
        (Exit(code=0), True, "exit code 0"),
        (Exit(code=3), False, "exit code 3"),
        (Exit(signal="TERM"), False, "SIGTERM"),
        (Exit(signal="KILL"), False, "SIGKILL"),
        (Exit(signal="KILL", killed=2), False, "SIGKILL by the kernel, out of memory"),
        (
            Exit(code=0, killed=1),
            True,
            "exit code 0; the kernel had ended a process of it, out of memory",
        ),
        (
            Exit(signal="TERM", killed=2),
            False,
            "SIGTERM; the kernel had ended 2 processes of it, out of memory",
        ),
        (Exit(), False, "unknown exit status"),
    ],
)
def test_how_a_process_ended(end: Exit, said: str, *, clean: bool) -> None:
    assert (end.clean, str(end)) == (clean, said)


def test_a_copy_differs_where_it_is_told_to() -> None:
    i = Instance(Phase.READY, 3, failures=2)
    assert replace(i, generation=4) == Instance(Phase.READY, 4, failures=2)
    assert i.generation == 3
    with pytest.raises(TypeError, match="Instance has no such field among nonsense"):
        replace(i, nonsense=1)  # type: ignore[call-arg]


def test_a_copy_of_what_has_slots_differs_where_it_is_told_to() -> None:
    assert replace(Entry("a", "1", 2), size=3) == Entry("a", "1", 3)
    with pytest.raises(TypeError, match="nonsense"):
        replace(Entry("a", "1", 2), nonsense=1)  # type: ignore[call-arg]


def test_verdicts_have_a_status_an_exit_code_and_a_rank() -> None:
    assert {v: (v.status, v.exit_code) for v in Verdict} == {
        Verdict.APPLIED: ("success", 0),
        Verdict.UNCHANGED: ("success", 0),
        Verdict.REJECTED: ("failure", 150),
        Verdict.REFUSED: ("failure", 151),
        Verdict.ROLLED_BACK: ("failure", 152),
        Verdict.TIMED_OUT: ("failure", 153),
        Verdict.UNVERIFIED: ("failure", 154),
        Verdict.HELD: (None, 155),
        Verdict.PARTIAL: ("partial", 157),
        Verdict.FAILED: ("failure", 158),
        Verdict.CANCELLED: (None, 159),
    }
    assert sorted(wire.WORST_FIRST) == sorted(Verdict)
    assert wire.WORST_FIRST[0] is Verdict.FAILED


def test_triggers_say_what_asked() -> None:
    assert [t.value for t in Trigger if t.person] == ["cli", "api"]
    assert {t.value: t.event_type for t in Trigger} == {
        "cli": "manual_api_call",
        "api": "manual_api_call",
        "watch": "auto_file_watch",
        "source": "control_plane_push",
        "hangup": "signal",
        "timer": "timer",
        "rollback": "rollback",
        "start": "process_start",
    }


def test_an_input_that_lost_its_bytes_is_named() -> None:
    full, other = Entry("/a", "1", 5), Entry("/b", "2", 0)
    before = Manifest("sha256:1", "1", (full, other))
    assert lost(before, Manifest("sha256:2", "2", (Entry("/a", "0", 0), other))) == "/a"
    assert lost(before, Manifest("sha256:3", "3")) == "/a"
    assert lost(before, Manifest("sha256:4", "4", (other,))) == ""
    assert lost(before, before) == ""
    assert lost(None, Manifest("sha256:5", "5")) == ""


@pytest.mark.parametrize(
    ("socket", "written"),
    [
        (SocketSpec("a", SocketKind.TCP, "10.0.0.1", 80), "10.0.0.1:80"),
        (SocketSpec("a", SocketKind.TCP, "::1", 80, family=Family.INET6), "[::1]:80"),
        (SocketSpec("a", SocketKind.TCP, "::", 80, family=Family.DUAL), ":80"),
        (SocketSpec("a", SocketKind.UDP, "10.0.0.1", 53), "udp:10.0.0.1:53"),
        (SocketSpec("a", SocketKind.UNIX, path="/run/a.sock"), "unix:/run/a.sock"),
    ],
)
def test_an_address_is_shown_as_it_is_written(socket: SocketSpec, written: str) -> None:
    assert socket.address == written
