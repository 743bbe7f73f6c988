"""The entry point: reads a plainly spelled command line itself, and runs its verb.

Decides nothing about the language: the table in ``declare`` does. Whatever is not spelled plainly (an unknown word,
``--help``, a missing or odd value) is left to ``cli``, that is typer, which costs several times the start of Python;
so what is imported here and by the commonest verbs is counted, and ``tests/cli/test_modules.py`` holds the count.
"""

import sys

from reloadctl.declare import GLOBALS, VERBS, Option, name, value

Line = tuple[str, list[str], dict[str, object]]
"""A command line that was understood: the verb, its arguments, every option by name."""


def read(argv: list[str]) -> Line | None:
    """The command line if every word of it is plain; None: typer has to speak."""
    verb, args = "", list[str]()
    given: dict[str, object] = {}
    known: dict[str, Option] = {option[0]: option for option in GLOBALS}
    words = iter(argv)
    for word in words:
        spelling, equals, text = word.partition("=")
        option = known.get(spelling)
        if option is None or (equals and (option[2] == "flag" or spelling[:2] != "--")):
            if not word or word[0] == "-" or (not verb and word not in VERBS):
                return None
            if verb:
                args.append(word)
            else:
                verb = word
                for option in VERBS[verb][4]:
                    known |= {option[0]: option} | ({option[1]: option} if option[1] else {})
        elif option[2] == "flag":
            given[name(option)] = True
        else:
            text = text if equals else next(words, "-")
            if text[:1] == "-":
                return None
            try:
                given[name(option)] = value(option[2], text)
            except ValueError:
                return None
    if not verb or not VERBS[verb][1] <= len(args) <= VERBS[verb][2]:
        return None
    return verb, args, defaults(verb) | given


def defaults(verb: str) -> dict[str, object]:
    """Every option of a verb, as if none were written."""
    return {
        name(option): False if option[2] == "flag" else None
        for option in (*GLOBALS, *VERBS[verb][4])
    }


def main(argv: list[str] | None = None) -> int:
    """Run a command line; its exit code. Never raises, except what the interpreter itself is ended with."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        line = read(argv)
        if line is None:
            from reloadctl.cli import parse  # noqa: PLC0415 (typer costs several times the start of Python)

            answer = parse(argv)
            if isinstance(answer, int):
                return answer
            line = answer
        verb, args, options = line
        _makes_sense(options)
        # Not importlib.import_module: that is a module more to load.
        command = __import__(f"reloadctl.commands.{verb}", fromlist=("run",))
        code: int = command.run({**options, "args": args})
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (the one place: an operator never sees a traceback unasked)
        from reloadctl.failure import explain  # noqa: PLC0415 (only when something failed)

        return explain(error, as_json="--json" in argv)
    from reloadctl.out import written  # noqa: PLC0415 (loaded by every command)

    return code if written() else code or 1


def _makes_sense(options: dict[str, object]) -> None:
    """Raises Fail for options that contradict each other."""
    if options.get("no_wait") and options.get("timeout"):
        from reloadctl.failure import Fail  # noqa: PLC0415 (only when something is wrong)

        raise Fail(2, "cannot wait at most so long and not wait: give --timeout or --no-wait")


if __name__ == "__main__":
    sys.exit(main())
