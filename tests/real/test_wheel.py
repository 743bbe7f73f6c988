"""What ``pip install`` gives: every module, page, completion and program, each where its reader looks for it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from host import clean_env

ROOT = Path(__file__).parents[2]
SHARED = {
    **{
        page: f"share/man/man{page[-1]}/{page}"
        for page in (p.name for p in (ROOT / "man").iterdir())
    },
    "reloadctl.bash": "share/bash-completion/completions/reloadctl",
    "_reloadctl": "share/zsh/site-functions/_reloadctl",
    "reloadctl.fish": "share/fish/vendor_completions.d/reloadctl.fish",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, ROOT]
    done = subprocess.run(
        pip, capture_output=True, text=True, timeout=120, env=clean_env(), check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_pages_and_completions(wheel: zipfile.ZipFile) -> None:
    names = {name.partition(".data/data/")[2]: name for name in wheel.namelist()}
    names.pop("")
    assert set(names) == set(SHARED.values()), (
        "what is installed, and what is there to be installed"
    )
    for source, place in SHARED.items():
        folder = "completions" if "reloadctl" in source and not source.endswith(".1") else "man"
        assert wheel.read(names[place]) == (ROOT / folder / source).read_bytes()


def test_programs(wheel: zipfile.ZipFile) -> None:
    (entries,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "agentd = agentd.__main__:main" in wheel.read(entries).decode()
    (script,) = (n for n in wheel.namelist() if ".data/scripts/" in n)
    assert script.endswith("/reloadctl")
    assert wheel.read(script).startswith(b"#!python")


def test_every_module_and_recipe(wheel: zipfile.ZipFile) -> None:
    there = {
        str(path.relative_to(ROOT))
        for package in ("agentd", "reloadctl")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".toml", ".typed")
    }
    assert there <= set(wheel.namelist())
    assert not [n for n in wheel.namelist() if n.startswith(("tests", "bench", "tools"))]
