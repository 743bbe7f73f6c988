"""Which configuration a word means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentd.api.versions import SHORTEST, distinct, is_secret, meant
from agentd.ports import Reading
from agentd.wire import Trigger, Verdict

A, B = "sha256:" + "ab12" * 16, "sha256:" + "ab13" * 16
KNOWN = [(A, "v7"), (B, "3f2c9a1b77de"), (A, "v7")]


def reading(hash_: str, verdict: Verdict | None, wall_ns: int = 0) -> Reading:
    return Reading(hash_, hash_[7:19], f"R{wall_ns}", Trigger.CLI, verdict, wall_ns)


def test_words() -> None:
    assert meant(A, KNOWN) == (A,)
    assert meant(A.upper().removeprefix("SHA256:"), KNOWN) == (A,)
    assert meant("v7", KNOWN) == (A,)
    assert meant("3f2c9a", KNOWN) == meant("3f2c9a1b77de", KNOWN) == (B,)
    assert meant("ab12ab", KNOWN) == meant("sha256:ab12ab", KNOWN) == (A,)
    assert meant("ab1", KNOWN) == meant("", KNOWN) == meant("nothing", KNOWN) == ()
    assert meant("ab12ab12", [(A, "x"), ("sha256:ab12ab12" + "0" * 56, "y")]) == (
        A,
        "sha256:ab12ab12" + "0" * 56,
    )
    assert meant("same", [(A, "same"), (B, "same")]) == (A, B), "a name that was given twice"
    assert meant("abcdef", [(A, "abcdef"), (B, "abcdefg")]) == (A,), "in full goes first"


HASHES = st.text("01", min_size=64, max_size=64).map(lambda digits: f"sha256:{digits}")


@given(st.lists(st.tuples(HASHES, st.text("01v", min_size=1, max_size=12))), st.data())
def test_every_prefix_that_is_unique_means_its_own(
    known: list[tuple[str, str]], data: st.DataObject
) -> None:
    for hash_, version in known:
        assert hash_ in meant(version, known)
        length = data.draw(st.integers(SHORTEST, 64))
        found = meant(hash_[7 : 7 + length], known)
        assert hash_ in found or any(version == hash_[7 : 7 + length] for _, version in known)
    assert len(set(meant("0", known))) == len(meant("0", known))


def test_one_of_each_with_the_verdict_about_its_bytes() -> None:
    newest_first = [
        reading(A, Verdict.UNCHANGED, 5),
        reading(B, None, 4),
        reading(A, Verdict.APPLIED, 3),
        reading(A, Verdict.REJECTED, 2),
        reading(B, Verdict.HELD, 1),
    ]
    one, two = distinct(newest_first)
    assert (one.hash, one.verdict, one.wall_ns) == (A, Verdict.APPLIED, 3)
    assert (two.hash, two.verdict, two.wall_ns) == (B, None, 4)


def test_what_is_declared_secret_now() -> None:
    assert is_secret("/etc/web/key.pem", ["/etc/web/key.pem"])
    assert is_secret("/etc/web/tls/a/key.pem", ["/etc/web/tls"])
    assert is_secret("/etc/web/tls/a.key", ["/etc/web/*.key"])
    assert is_secret("/etc/web/tls/a.key", ["/etc/*/tls"])
    assert not is_secret("/etc/web/tls2/a.key", ["/etc/web/tls", "/etc/web/*.pem"])
    assert not is_secret("/etc/web.conf", [])
