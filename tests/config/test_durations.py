from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.config.durations import format_duration, format_size, parse_duration, parse_size

MILLISECONDS = st.integers(0, 10 * 365 * 86_400_000).map(lambda ms: ms / 1000)


@given(MILLISECONDS)
def test_what_is_printed_is_read_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 10**18 - 1))
def test_a_printed_size_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("250ms", 0.25), ("1h30m", 5400), ("1.5s", 1.5), ("0s", 0), ("1w", 604800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "5 s", "-5s", "s", "5sec", "\u0665s", "0.1ms", "11w9999d", "1e3s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("10M", 10 << 20), ("4096", 4096), ("1T", 1 << 40)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5M", "10MB", "-1", "10 M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)
