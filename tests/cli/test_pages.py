"""All manual pages: no mistakes of form, examples that could be typed, references that lead somewhere, what is printed is printed anew."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agentd import recipes
from agentd.api.routes import ROUTES, find
from agentd.config.loader import load
from agentd.system.listenfile import ListenFile
from agentd.system.states import StateFiles
from reloadctl.__main__ import read
from tests.cli.canned import ROOT
from tools import api_man, recipes_man

PAGES = sorted((ROOT / "man").iterdir())
NAMES = {page.name for page in PAGES}
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def section(page: Path, name: str) -> str:
    """The roff of one section of a man(7) or mdoc(7) page."""
    found = re.search(
        rf"^\.S[Hh] {name}\n(.*?)(?=^\.S[Hh] |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return found[1] if found else ""


def typed(page: Path) -> list[list[str]]:
    """What an example tells to type: the words of each command; pipes and lists are taken apart."""
    text = section(page, "EXAMPLES").replace("\\-", "-")
    text = text.replace("\\(dq", '"').replace("\\(aq", "'")
    commands: list[list[str]] = []
    for line in re.findall(
        r"^(?:\.B )?((?:\w+=\S+ )*(?:reloadctl|agentd|curl) .*)$", text, re.MULTILINE
    ):
        words = shlex.shlex(
            re.sub(r"^(?:\w+=\S+ )+", "", line), posix=True, punctuation_chars="|&;>"
        )
        words.whitespace_split = True
        commands.append([])
        for word in words:
            if word in ("|", "&&", ";", ">"):
                commands.append([])
            else:
                commands[-1].append(word)
    return [command for command in commands if command]


@each
@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_no_mistakes_of_form(page: Path) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


@each
def test_no_quote_is_eaten_by_the_macros(page: Path) -> None:
    """A backslash and a quote begin a comment, and quotes after a macro only hold an argument together (groff(7))."""
    lines = [line for line in page.read_text().splitlines() if not line.startswith('.\\"')]
    assert [line for line in lines if '\\"' in line] == []
    macros = (line.split(" ", 1)[1] for line in lines if re.match(r"\.(B|I|Li) ", line))
    inside = [text for text in macros if '"' in text[1:-1] and not re.fullmatch(r'"[^"]*"', text)]
    assert inside == []


@each
def test_what_an_example_types_would_be_understood(page: Path) -> None:
    assert section(page, "EXAMPLES"), "a page without examples"
    for program, *words in typed(page):
        if program == "reloadctl":
            assert read(words) is not None, words
        elif program == "curl" and "--unix-socket" in words:
            url = urlsplit(next(word for word in words if word.startswith("http://agentd/")))
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            assert find(method, url.path.split("/"), url.path)


def test_examples_are_found() -> None:
    assert ["reloadctl", "show", "web", "--otlp"] in typed(ROOT / "man" / "agentd-tracing.7")
    assert ["reloadctl", "unit"] in typed(ROOT / "man" / "agentd.8")


@each
def test_references_lead_to_pages_that_are_there(page: Path) -> None:
    text = section(page, "SEE ALSO").replace("\\-", "-")
    named = re.findall(r"^\.(?:BR|Xr) (\S+) \(?(\d)", text, re.MULTILINE)
    assert named
    ours = {f"{name}.{number}" for name, number in named}
    assert ours <= NAMES - {page.name}


def test_the_routes_on_the_page_are_those_of_the_table() -> None:
    text = api_man.PAGE.read_text()
    assert api_man.rendered(text) == text, "print them anew: python -m tools.api_man"
    for route in ROUTES:
        assert f".SS \\fB{route.method}\\fR {route.path}".replace("-", "\\-") in text


def places() -> set[str]:
    """Every file and directory that the agent names below its two directories."""
    text = (ROOT / "agentd" / "assemble.py").read_text() + (
        ROOT / "agentd/system/lock.py"
    ).read_text()
    found = re.findall(r"(\w+) / \"([\w.]+)\"", text)
    names = {"state": "STATE", "runtime_dir": "RUNTIME", "state_dir": "STATE"}
    return {f"{names[where]}/{name}" for where, name in found if where in names}


def test_the_files_on_the_page_are_those_that_the_agent_makes(tmp_path: Path) -> None:
    told = re.findall(r"^\.It Pa (\S+)$", section(ROOT / "man" / "agentd.8", "FILES"), re.MULTILINE)
    tops = {"/".join(path.split("/")[:2]) for path in told}
    assert len(places()) > 6
    assert tops - places() <= {"STATE/agentd.lock"}
    assert places() <= tops
    state = StateFiles(tmp_path / "state").write("SERVICE", "{}", os.getuid(), os.getgid())
    ListenFile(tmp_path / "listeners").write("SERVICE", {})
    made = {f"RUNTIME/{path.relative_to(tmp_path)}" for path in tmp_path.glob("*/*")}
    assert (len(made), Path(state).exists(), made <= set(told)) == (2, True, True)


def test_the_recipes_on_the_page_are_those_there_are() -> None:
    text = recipes_man.PAGE.read_text()
    assert text == recipes_man.page(), "print them anew: python -m tools.recipes_man"
    told = re.findall(r"^\.SS (\S+)$", section(recipes_man.PAGE, "RECIPES"), re.MULTILINE)
    assert [name.replace("\\-", "-") for name in told] == list(recipes.names())


def test_the_example_of_a_recipe_loads(tmp_path: Path) -> None:
    examples = re.findall(
        r"^\.nf\n(.*?)^\.fi", section(recipes_man.PAGE, "EXAMPLES"), re.MULTILINE | re.DOTALL
    )
    path = tmp_path / "agentd.toml"
    path.write_text("".join(examples).replace("\\-", "-"))
    loaded = load(path)
    assert [s.reload.handle for s in loaded.services] == ["signal", "signal", "exec"]
    assert loaded.warnings == ()
