"""reloadctl(1) has every verb, option and exit code of the table, with its words, and no others."""

from __future__ import annotations

import re

import pytest

from reloadctl import declare
from tests.cli.canned import ROOT

PAGE = (ROOT / "man" / "reloadctl.1").read_text().replace("\\-", "-")
SECTIONS = dict(re.findall(r"^\.SH ([A-Z ]+)\n(.*?)(?=^\.SH |\Z)", PAGE, re.MULTILINE | re.DOTALL))
VERBS = dict(
    re.findall(
        r"^\.SS \\fB(\w+)\\fR[^\n]*\n(.*?)(?=^\.SS |\Z)",
        SECTIONS["VERBS"],
        re.MULTILINE | re.DOTALL,
    )
)


def tagged(text: str) -> dict[str, str]:
    """What stands under each .TP: its bold words → the text."""
    found = re.findall(r"^\.TP\n(\\fB.*)\n(.*)$", text, re.MULTILINE)
    return {" ".join(re.findall(r"\\fB(.*?)\\fR", tag)): body for tag, body in found}


def expected(options: tuple[declare.Option, ...]) -> dict[str, str]:
    return {
        " ".join(filter(None, (option[1], option[0]))): option[4][:1].upper() + option[4][1:] + "."
        for option in options
    }


def test_the_verbs_in_their_order() -> None:
    assert list(VERBS) == list(declare.VERBS)


@pytest.mark.parametrize("verb", declare.VERBS)
def test_a_verb_with_its_options(verb: str) -> None:
    _, _, _, text, options = declare.VERBS[verb]
    assert VERBS[verb].splitlines()[0] == text[:1].upper() + text[1:] + "."
    assert tagged(VERBS[verb]) == expected(options)


def test_the_global_options() -> None:
    found = tagged(SECTIONS["OPTIONS"])
    assert found.pop("--help")
    assert found == expected(declare.GLOBALS)


def test_the_exit_codes() -> None:
    assert tagged(SECTIONS["EXIT STATUS"]) == {
        str(code): text[:1].upper() + text[1:] + "." for code, text in declare.EXITS
    }
