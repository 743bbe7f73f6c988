"""What the agent kept for its own telemetry, whatever became of it meanwhile: it is read, or counting begins anew."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from agentd.telemetry import resource, tally

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))
VALUE = st.recursive(SCALAR, lambda v: st.lists(v, max_size=4), max_leaves=8)
KEPT = json.loads(tally.Tally(1, 2).to_text())


@given(st.sampled_from(sorted(KEPT)), VALUE)
@example("asked", "[" * 5)
def test_any_count_is_read_or_begun_anew(name: str, value: object) -> None:
    tally.from_text(json.dumps({**KEPT, name: value}))
    tally.from_text(json.dumps(value))


def test_brackets_without_end_are_no_count() -> None:
    assert tally.from_text("[" * 100_000) is None


@given(st.dictionaries(st.sampled_from(["attributes", "host_id"]), VALUE))
def test_any_resource_is_read_or_refused(kept: dict[str, object]) -> None:
    try:
        resource.from_text(json.dumps(kept))
    except ValueError:
        return
    assert isinstance(kept["attributes"], dict)
