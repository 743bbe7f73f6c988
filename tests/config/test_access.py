from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.config.access import Access, Anyone, Group, Level, Principal, User, allows

PRINCIPAL: st.SearchStrategy[Principal] = st.one_of(
    st.just(Anyone()), st.builds(User, st.integers(0, 4)), st.builds(Group, st.integers(0, 4))
)
LISTS = st.lists(PRINCIPAL, max_size=2).map(tuple)
ACCESS = st.builds(Access, read=LISTS, inspect=LISTS, operate=LISTS, admin=LISTS)
CALLER = st.tuples(st.integers(0, 5), st.sets(st.integers(0, 5)))


@given(ACCESS, CALLER)
def test_who_may_more_may_everything_below(access: Access, caller: tuple[int, set[int]]) -> None:
    may = [allows(access, level, *caller, agent_uid=5) for level in Level]
    assert may == sorted(may, reverse=True)


@given(ACCESS, st.sampled_from(list(Level)))
def test_root_and_the_agents_own_user_always_may(access: Access, level: Level) -> None:
    assert allows(access, level, 0, (), agent_uid=7)
    assert allows(access, level, 7, (), agent_uid=7)


@pytest.mark.parametrize("level", Level)
def test_by_default_others_may_read_only(level: Level) -> None:
    assert allows(Access(), level, 1000, (1000,), agent_uid=7) is (level is Level.READ)


def test_a_user_is_not_the_group_of_the_same_number() -> None:
    by_user, by_group = Access(operate=(User(10),)), Access(operate=(Group(10),))
    assert allows(by_user, Level.OPERATE, 10, (99,), 7)
    assert not allows(by_user, Level.OPERATE, 99, (10,), 7)
    assert allows(by_group, Level.OPERATE, 99, (98, 10), 7)
    assert not allows(by_group, Level.OPERATE, 10, (99,), 7)
    assert not allows(by_group, Level.ADMIN, 99, (10,), 7)
