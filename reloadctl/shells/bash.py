"""The script for bash 4.4 and newer; it needs no bash-completion beside it."""

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
# bash completion for reloadctl, made {note}.

_reloadctl_ask() {{
    "${{COMP_WORDS[0]}}" "${{connect[@]}}" completion "$1" 2>/dev/null
}}

_reloadctl() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} verb="" word words="" i n=0
    local -a connect=()
    # "--color=auto" arrives as three words.
    if [[ $cur == "=" ]]; then
        cur=""
    elif [[ $prev == "=" ]]; then
        prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case "$verb $word" in
            {valued})
                ((i++))
                [[ ${{COMP_WORDS[i]}} == "=" ]] && ((i++))
                [[ $word == --socket && i -lt COMP_CWORD ]] && connect=(--socket "${{COMP_WORDS[i]}}")
                ;;
            *" -"* | *" =") ;;
            *) if [[ -z $verb ]]; then verb=$word; else ((n++)); fi ;;
        esac
    done

    COMPREPLY=()
    case "$verb $prev" in
{values}
    esac
    if [[ -z $words && $cur == -* ]]; then
        case $verb in
{options}
        esac
    elif [[ -z $words && -z $verb ]]; then
        words="{verbs}"
    elif [[ -z $words ]]; then
        case "$verb $n" in
{arguments}
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}

complete -F _reloadctl reloadctl
"""


def script() -> str:
    """The whole script."""
    every = [("", option) for option in options("")]
    own = [(verb, option) for verb in VERBS for option in VERBS[verb][4]]
    valued = [pattern(verb, option) for verb, option in (*every, *own) if value(option) is not None]
    return SCRIPT.format(
        note=NOTE,
        valued=" | ".join(valued),
        values="\n".join(values((*every, *own))),
        options="\n".join(
            f'            "{verb}") words="{spelled(verb)}" ;;' for verb in ("", *VERBS)
        ),
        verbs=" ".join(VERBS),
        arguments="\n".join(places()),
    )


def pattern(verb: str, option: Option) -> str:
    """What ``"$verb $word"`` is for an option; one that can stand anywhere has no verb."""
    before = f'"{verb} ' if verb else '*" '
    return " | ".join(f'{before}{spelling}"' for spelling in spellings(option))


def values(known: tuple[tuple[str, Option], ...]) -> list[str]:
    """What follows the options that take something: a case for all that take the same."""
    cases: dict[str, list[str]] = {}
    for verb, option in known:
        if (found := value(option)) is not None:
            cases.setdefault(offer(found), []).append(pattern(verb, option))
    return [f"        {' | '.join(where)}) {then} ;;" for then, where in cases.items()]


def places() -> list[str]:
    """A case for each place where an argument can stand."""
    cases: dict[str, list[str]] = {}
    for verb in VERBS:
        for n, found in enumerate(known := arguments(verb)):
            last = n + 1 == len(known) and endless(verb)
            where = f'"{verb} "*' if last and n == 0 else f'"{verb} {n}"'
            if found:
                cases.setdefault(offer(found), []).append(where)
    return [f"            {' | '.join(where)}) {then} ;;" for then, where in cases.items()]


def offer(found: tuple[str, ...]) -> str:
    """What sets ``words``, or ends the function."""
    if not found:
        return "return"
    if found == (FILES,):
        return "compopt -o default; return"
    asked = [f"$(_reloadctl_ask {word})" for word in found if word in (SERVICES, RELOADS)]
    return f'words="{" ".join(asked or found)}"'


def spelled(verb: str) -> str:
    """Every option that can be written after a verb."""
    return " ".join(s for option in options(verb) for s in spellings(option))
