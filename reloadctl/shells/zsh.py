"""The script for zsh, a function for its completion system."""

from reloadctl.declare import VERBS, Option
from reloadctl.shells import (
    FILES,
    NOTE,
    RELOADS,
    SERVICES,
    arguments,
    endless,
    options,
    spellings,
    value,
)

SCRIPT = """\
#compdef reloadctl
# zsh completion for reloadctl, made {note}.

# What the agent knows; nothing when there is none.
_reloadctl_words() {{
    local what
    local -a found
    for what; do
        found+=(${{(f)"$($program $connect completion $what 2>/dev/null)"}})
    done
    compadd -a found
}}

_reloadctl() {{
    local curcontext=$curcontext program=$words[1] state line
    local -a connect verbs
    local -A opt_args
    _arguments -C \\
{options}
        '1: :->verb' '*:: :->rest'
    (( $+opt_args[--socket] )) && connect=(--socket $opt_args[--socket])
    case $state in
        verb)
            verbs=(
{verbs}
            )
            _describe verb verbs
            ;;
        rest)
            case $words[1] in
{rest}
            esac
            ;;
    esac
}}

# Found in $fpath it is called; evaluated at the start of a shell it makes itself known.
if [[ $funcstack[1] == _reloadctl ]]; then
    _reloadctl "$@"
else
    compdef _reloadctl reloadctl
fi
"""


def script() -> str:
    """The whole script."""
    return SCRIPT.format(
        note=NOTE,
        options="\n".join(f"        {word} \\" for word in specs(options(""))),
        verbs="\n".join(f"                {quoted(f'{verb}:{VERBS[verb][3]}')}" for verb in VERBS),
        rest="\n".join(rest(verb) for verb in VERBS),
    )


def rest(verb: str) -> str:
    """The case of one verb."""
    known = arguments(verb)
    words = specs(options(verb))
    for n, found in enumerate(known):
        many = n + 1 == len(known) and endless(verb)
        words.append(
            quoted(f"{'*' if many else n + 1}:{VERBS[verb][0].split()[0]}:{action(found)}")
        )
    lines = " \\\n".join(f"                    {word}" for word in words)
    return f"                {verb})\n                    _arguments \\\n{lines}\n                    ;;"


def specs(known: tuple[Option, ...]) -> list[str]:
    """Options as _arguments wants them."""
    made = []
    for option in known:
        found = value(option)
        for spelling in spellings(option):
            takes = "" if found is None else "=" if spelling[:2] == "--" else "+"
            what = "" if found is None else f":{option[3]}:{action(found)}"
            made.append(quoted(f"{spelling}{takes}[{plain(option[4])}]{what}"))
    return made


def action(found: tuple[str, ...]) -> str:
    """What offers these words."""
    if found == (FILES,):
        return "_files"
    asked = [word for word in found if word in (SERVICES, RELOADS)]
    if asked:
        return f" _reloadctl_words {' '.join(asked)}"
    return f"({' '.join(found)})" if found else " "


def plain(text: str) -> str:
    """Text between the brackets of a specification."""
    return text.replace("[", "\\[").replace("]", "\\]")


def quoted(text: str) -> str:
    """One word for the shell."""
    return "'" + text.replace("'", "'\\''") + "'"
