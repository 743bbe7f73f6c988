from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.config.graph import cycles

NAMES = st.sampled_from("abcdef")


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({}, []),
        ({"a": ["b"], "b": []}, []),
        ({"a": ["a"]}, [("a", "a")]),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, [("b", "c", "b")]),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, []),
        ({"a": ["nobody"]}, []),
    ],
)
def test_circles(edges: dict[str, list[str]], found: list[tuple[str, ...]]) -> None:
    assert list(cycles(edges)) == found


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3)))
def test_a_circle_is_told_exactly_when_no_order_exists(edges: dict[str, list[str]]) -> None:
    found = list(cycles(edges))
    for circle in found:
        assert circle[0] == circle[-1]
        assert all(after in edges[before] for before, after in pairwise(circle))
    waiting = {name: {o for o in others if o in edges} for name, others in edges.items()}
    while free := [name for name, others in waiting.items() if not others & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert bool(waiting) is bool(found)


def test_a_chain_may_be_long() -> None:
    count = 5000
    assert not list(cycles({str(i): [str(i + 1)] for i in range(count)}))
    assert len(list(cycles({str(i): [str((i + 1) % count)] for i in range(count)}))) == 1
