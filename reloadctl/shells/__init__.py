"""Completion scripts, one file for each shell, made from the table in ``declare``.

Decides what can stand where, the same for all shells; how a shell is told is the file of that shell.
"""

from reloadctl.commands.completion import SHELLS
from reloadctl.declare import GLOBALS, MANY, VERBS, Option

NOTE = "from the table in reloadctl/declare.py by reloadctl/shells; do not edit"
HELP: Option = ("--help", "", "flag", "", "what can be typed")
SERVICES, RELOADS, FILES = "services", "reloads", "files"
_MEANT = {
    "SVC": (SERVICES,),
    "REF": (SERVICES, RELOADS),
    "RELOAD": (RELOADS,),
    "FILE": (FILES,),
    "PATH": (FILES,),
    "SHELL": SHELLS,
}
"""What a placeholder stands for: words only the agent knows, files, or the words themselves."""


def options(verb: str) -> tuple[Option, ...]:
    """Those of a verb (of none: ""), then those that can stand anywhere."""
    return (*(VERBS[verb][4] if verb else ()), *GLOBALS, HELP)


def spellings(option: Option) -> tuple[str, ...]:
    """The long one, and the short one if there is one."""
    return option[:2] if option[1] else option[:1]


def value(option: Option) -> tuple[str, ...] | None:
    """What may follow an option; None: nothing, it is a flag; empty: something nobody can guess."""
    kind = option[2]
    if kind == "flag":
        return None
    return tuple(kind.split("|")) if "|" in kind else _MEANT.get(option[3], ())


def arguments(verb: str) -> tuple[tuple[str, ...], ...]:
    """What each argument of a verb may be, the last one as often as ``endless`` says."""
    words = [word.strip("[].") for word in VERBS[verb][0].replace("|", " ").split()]
    return tuple(_MEANT.get(word, ()) for word in words if word)[: VERBS[verb][2]]


def endless(verb: str) -> bool:
    """Whether the last argument may be repeated."""
    return VERBS[verb][2] == MANY
