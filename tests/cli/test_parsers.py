"""Both readers of the command line give the same, or the short one leaves it to typer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentd.wire import ExitCode, Verdict
from reloadctl import cli, declare
from reloadctl.__main__ import defaults, read
from reloadctl.several import worst

WORDS = [
    "web",
    "db",
    "5",
    "5s",
    "1.5m",
    "2",
    "0",
    "auto",
    "red",
    "applied",
    "",
    "-",
    "--",
    "x=y",
    "-1",
    "--help",
    "é",
]
SPELLINGS = sorted(
    {
        spelling
        for options in (declare.GLOBALS, *(verb[4] for verb in declare.VERBS.values()))
        for option in options
        for spelling in option[:2]
        if spelling
    }
)
ANY = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(SPELLINGS),
    st.builds("{}={}".format, st.sampled_from(SPELLINGS), st.sampled_from(WORDS)),
    st.sampled_from(list(declare.VERBS)),
)


@st.composite
def sensible(draw: st.DrawFn) -> list[str]:
    """Mostly what a person could mean: a verb, options it has with values of their kind, arguments."""
    verb = draw(st.sampled_from(list(declare.VERBS)))
    values = {
        "text": ["why", "a b", ""],
        "duration": ["5s", "500ms", "5"],
        "count": ["1", "20", "0"],
    }

    def some(options: tuple[declare.Option, ...]) -> list[str]:
        found: list[str] = []
        for option in draw(st.lists(st.sampled_from(options), max_size=3)) if options else []:
            spelling = draw(st.sampled_from([s for s in option[:2] if s]))
            if option[2] == "flag":
                found.append(spelling)
                continue
            value = draw(st.sampled_from(values.get(option[2]) or option[2].split("|")))
            found += (
                [f"{spelling}={value}"]
                if draw(st.booleans()) and spelling[:2] == "--"
                else [spelling, value]
            )
        return found

    args = draw(st.lists(st.sampled_from(["web", "db", "cache"]), max_size=3))
    return [
        *some(declare.GLOBALS),
        verb,
        *some(declare.VERBS[verb][4]),
        *args,
        *some(declare.GLOBALS),
    ]


def agree(argv: list[str]) -> None:
    hot = read(argv)
    if hot is not None:
        assert cli.parse(argv) == hot


SLOW = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


@SLOW
@given(sensible())
def test_a_sensible_line_means_the_same_to_both(argv: list[str]) -> None:
    agree(argv)


@SLOW
@given(st.lists(ANY, max_size=6))
def test_any_line_means_the_same_to_both_or_is_left_to_typer(argv: list[str]) -> None:
    agree(argv)


@pytest.mark.parametrize("verb", declare.VERBS)
def test_every_option_in_its_plain_spelling_is_read_without_typer(verb: str) -> None:
    samples = {"text": ("why", "why"), "duration": ("1500ms", 1.5), "count": ("3", 3)}
    argv, expected = [verb], defaults(verb)
    for option in (*declare.VERBS[verb][4], *declare.GLOBALS):
        if option[2] == "flag":
            argv.append(option[0])
            expected[declare.name(option)] = True
        else:
            word = option[2].split("|")[0]
            text, value = samples.get(option[2], (word, word))
            argv += [option[0], text]
            expected[declare.name(option)] = value
    args = ["web"] * declare.VERBS[verb][1]
    assert read([*argv, *args]) == (verb, args, expected) == cli.parse([*argv, *args])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "rel web",
        "--help",
        "reload --help",
        "hold",
        "hold a b",
        "history -n5",
        "history -n 0",
        "logs -fn 5 web",
        "reload --timeout 5 web",
        "reload --reason",
        "reload --reason -x web",
        "status -- web",
        "--json=1 status",
    ],
)
def test_what_is_odd_is_left_to_typer(line: str) -> None:
    assert read(line.split()) is None


def test_typer_reads_the_odd_spellings() -> None:
    assert cli.parse(["history", "-n5"]) == ("history", [], defaults("history") | {"number": 5})
    assert cli.parse(["status", "--", "-web"]) == ("status", ["-web"], defaults("status"))
    assert cli.parse(["reload", "--reason", "-x", "web"]) == (
        "reload",
        ["web"],
        defaults("reload") | {"reason": "-x"},
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("1.5s", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert declare.value("duration", text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "s",
        "5 s",
        "-5s",
        "5y",
        "1e3s",
        ".5s",
        "\u0661s",
        "",
        "ms",
        "nans",
        "9999999999s",
        "0s",
        "0.0h",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="durations are written"):
        declare.value("duration", text)


def test_the_table_has_every_exit_code_and_verdict_of_the_wire() -> None:
    assert [code for code, _ in declare.EXITS] == sorted(
        {*ExitCode, *(v.exit_code for v in Verdict)}
    )
    assert declare.VERDICTS.split("|") == [v.value for v in Verdict]
    assert sorted(declare.WORST_FIRST) == [code for code, _ in declare.EXITS]


def test_the_worst_of_several() -> None:
    assert worst([0, 150, 158, 154]) == 158
    assert worst([0, 155, 150]) == 150
    assert worst([0, 7, 5]) == 5
    assert worst([0, 99]) == 99
