"""The script for fish 3 and newer."""

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
# fish completion for reloadctl, made {note}.

# The words before the cursor that are no options: the verb, then its arguments.
function __reloadctl_line
    set -l words (commandline -opc)
    set -l verb ''
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$verb $word"
            case {valued}
                set skip 1
            case '* -*'
            case '*'
                test -z "$verb"; and set verb $word
                echo $word
        end
    end
end

# Whether the verb is this one ('' for none yet) and, if a number is given, so many arguments are there.
function __reloadctl_at
    set -l line (__reloadctl_line)
    test "$line[1]" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; or test (math (count $line) - 1) = $argv[2]
end

# What the agent knows; nothing when there is none.
function __reloadctl_words
    set -l words (commandline -opc)
    set -l connect
    for i in (seq 2 (count $words))
        switch $words[$i]
            case --socket
                set connect --socket $words[(math $i + 1)]
            case '--socket=*'
                set connect $words[$i]
        end
    end
    for what in $argv
        $words[1] $connect completion $what 2>/dev/null
    end
end

complete -c reloadctl -f
{globals}
{verbs}
"""


def script() -> str:
    """The whole script."""
    own = [(verb, option) for verb in VERBS for option in VERBS[verb][4]]
    valued = [
        f"'{verb or '*'} {spelling}'"
        for verb, option in (*(("", o) for o in options("")), *own)
        if value(option) is not None
        for spelling in spellings(option)
    ]
    return SCRIPT.format(
        note=NOTE,
        valued=" ".join(valued),
        globals="\n".join(complete("", option) for option in options("")),
        verbs="\n".join(line for verb in VERBS for line in of(verb)),
    )


def of(verb: str) -> list[str]:
    """Everything about one verb: itself, its options, its arguments."""
    lines = [
        f"\ncomplete -c reloadctl -n \"__reloadctl_at ''\" -a {verb} -d {quoted(VERBS[verb][3])}"
    ]
    lines += [complete(f" -n '__reloadctl_at {verb}'", option) for option in VERBS[verb][4]]
    known = arguments(verb)
    for n, found in enumerate(known):
        many = n + 1 == len(known) and endless(verb)
        where = verb if many and n == 0 else f"{verb} {n}"
        if found:
            lines.append(f"complete -c reloadctl -n '__reloadctl_at {where}'{words(found)}")
    return lines


def complete(where: str, option: Option) -> str:
    """One option."""
    long, short, _, _, text = option
    spelled = f" -s {short[1:]} -l {long[2:]}" if short else f" -l {long[2:]}"
    found = value(option)
    takes = "" if found is None else words(found) if found == (FILES,) else f" -x{words(found)}"
    return f"complete -c reloadctl{where}{spelled}{takes} -d {quoted(text)}"


def words(found: tuple[str, ...]) -> str:
    """What is offered."""
    if found == (FILES,):
        return " -r -F"
    asked = [word for word in found if word in (SERVICES, RELOADS)]
    if asked:
        return f" -a '(__reloadctl_words {' '.join(asked)})'"
    return f" -a '{' '.join(found)}'" if found else ""


def quoted(text: str) -> str:
    """One word for the shell."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
