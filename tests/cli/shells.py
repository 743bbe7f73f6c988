"""Real shells that are asked what they would complete: the words offered after a line that is not finished."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import time
from pathlib import Path

PATIENCE = 20.0

BASH = """
source {script}
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
compopt() {{ echo "(files)"; }}
_reloadctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
PS1='> '
{before}
autoload -Uz compinit && compinit -u -D
{after}
setopt no_beep
out={out}
compadd() {{
    local -a hits
    if [[ ${{@[1,(i)(-|--)]}} != *-(O|A|D)\\ * ]]; then
        builtin compadd -O hits "$@"
        print -rl -- $hits >> $out
    fi
    builtin compadd "$@"
}}
_files() {{ print -r -- "(files)" >> $out }}
asked() {{ zle complete-word; print -r -- "(end)" >> $out }}
zle -N asked
bindkey '^I' asked
print ready >> $out
"""


def bash(script: Path, words: list[str], env: dict[str, str]) -> list[str]:
    """``words`` as bash splits the line: "=" is a word of its own."""
    text = BASH.format(script=script, words=" ".join(map(shlex.quote, words)))
    return _run(["bash", "--norc", "--noprofile", "-c", text], env)


def fish(script: Path, line: str, env: dict[str, str]) -> list[str]:
    """What fish itself says it would offer."""
    text = f"source {script}; complete -C {shlex.quote(line)}"
    return [found.partition("\t")[0] for found in _run(["fish", "--no-config", "-c", text], env)]


def zsh(
    script: Path, line: str, env: dict[str, str], directory: Path, *, evaluated: bool = False
) -> list[str]:
    """A line typed at a terminal and the key pressed; zsh completes nowhere else. ``evaluated``: not found in $fpath."""
    out = directory / "offered"
    out.write_text("")
    rc = directory / ".zshrc"
    before = "" if evaluated else f"fpath=({script.parent} $fpath)"
    after = f'eval "$(<{script})"' if evaluated else ""
    rc.write_text(ZSH.format(before=before, after=after, out=out))
    main, other = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-i"],
        env=env | {"ZDOTDIR": str(directory), "TERM": "dumb"},
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
        cwd=directory,
    )
    os.close(other)
    try:
        _wait(main, out, "ready")
        os.write(main, f"{line}\t".encode())
        _wait(main, out, "(end)")
    finally:
        shell.kill()
        shell.wait()
        os.close(main)
    return [word for word in out.read_text().splitlines() if word not in ("", "ready", "(end)")]


def _wait(terminal: int, out: Path, word: str) -> None:
    """Until the shell wrote it; what it shows meanwhile is read, or it would stop."""
    shown, end = b"", time.monotonic() + PATIENCE
    while word not in out.read_text().splitlines():
        assert time.monotonic() < end, shown.decode(errors="replace")
        if select.select([terminal], [], [], 0.02)[0]:
            shown += os.read(terminal, 65536)


def _run(command: list[str], env: dict[str, str]) -> list[str]:
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stderr == "", done.stderr
    return [line for line in done.stdout.splitlines() if line]
