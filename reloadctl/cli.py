"""The whole command line by typer, made from the same table as the short reader of ``__main__``.

Speaks when a line is not plainly spelled: help, mistakes, ``-n5``, ``--``. Gives the same triple as ``__main__.read``;
runs nothing. Errors are one sentence in the style of the rest, not a box: they end up in the logs of CI.
"""

import inspect
import sys

import typer

from reloadctl import declare
from reloadctl.__main__ import Line, defaults
from reloadctl.failure import problem
from reloadctl.out import error, write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ABOUT = "Ask agentd: reload services and be told truthfully how it went."
_ROOM = 62
"""Letters beside the longest verb on a terminal of 80 columns."""
EPILOG = "Exit codes and more: reloadctl(1)."


def parse(argv: list[str]) -> Line | int:
    """The command line, or the exit code when all is said: help was asked for, or the line is wrong."""
    understood: list[Line] = []
    try:
        code = _app(understood)(argv, standalone_mode=False, prog_name="reloadctl")
    except typer.Exit as end:
        code = end.exit_code
    except typer.TyperException as mistake:
        return _mistake(mistake, as_json="--json" in argv)
    return understood[0] if understood else int(code or 0)


def _mistake(mistake: typer.TyperException, *, as_json: bool) -> int:
    where = getattr(getattr(mistake, "ctx", None), "command_path", "reloadctl")
    what = " ".join(mistake.format_message().split())
    what = what.removeprefix("Invalid value: ").removesuffix(".")
    what = what[:1].lower() + what[1:]
    sentence = f"{what}; try: {where} --help"
    if as_json:
        write_bytes(problem(2, sentence))
    else:
        error(sentence)
    return 2


def _app(understood: list[Line]) -> typer.Typer:
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help=ABOUT,
        epilog=EPILOG,
    )

    def main(context: typer.Context, **given: object) -> None:
        context.obj = _values(given, declare.GLOBALS)
        if context.invoked_subcommand is None:
            typer.echo(context.get_help(), file=sys.stderr)
            raise typer.Exit(2)

    app.callback(invoke_without_command=True)(
        _with_signature(main, _options(declare.GLOBALS), context=True)
    )
    for verb in declare.VERBS:
        said = _capital(declare.VERBS[verb][3])
        app.command(verb, help=said, short_help=_short(said))(_command(verb, understood))
    return app


def _command(verb: str, understood: list[Line]) -> "Callable[..., None]":
    argument, least, most, _, options = declare.VERBS[verb]
    every = (*options, *declare.GLOBALS)

    def command(context: typer.Context, **given: object) -> None:
        words = given.pop("args", None)
        args = (
            list(words) if isinstance(words, (list, tuple)) else [str(words)] * (words is not None)
        )
        if len(args) > most:
            raise typer.BadParameter(f"{verb} takes at most {most} arguments")
        understood.append((verb, args, defaults(verb) | context.obj | _values(given, every)))

    parameters = _options(every)
    if argument:
        many = most > 1
        default = ... if least else None
        parameters.insert(
            0,
            inspect.Parameter(
                "args",
                inspect.Parameter.KEYWORD_ONLY,
                default=typer.Argument(
                    default, metavar=_metavar(argument, most), show_default=False
                ),
                annotation=(list[str] if least else list[str] | None)
                if many
                else (str if least else str | None),
            ),
        )
    return _with_signature(command, parameters, context=True)


def _metavar(argument: str, most: int) -> str:
    return f"{argument}..." if most == declare.MANY else argument


def _short(said: str) -> str:
    """As much of it as fits into the list of the verbs: whole clauses."""
    while len(said) > _ROOM:
        cut = max(said.rfind("; "), said.rfind(", "))
        if cut < 0:
            break
        said = said[:cut]
    return said


def _options(options: tuple[declare.Option, ...]) -> list[inspect.Parameter]:
    found = []
    for option in options:
        long, short, kind, placeholder, text = option
        spellings = (long, short) if short else (long,)
        flag = kind == "flag"
        found.append(
            inspect.Parameter(
                _key(option),
                inspect.Parameter.KEYWORD_ONLY,
                default=typer.Option(
                    False if flag else None,
                    *spellings,
                    metavar=None if flag else placeholder,
                    help=_capital(text) + ".",
                    show_default=False,
                ),
                annotation=bool if flag else str | None,
            )
        )
    return found


def _with_signature(
    function: "Callable[..., None]", parameters: list[inspect.Parameter], *, context: bool
) -> "Callable[..., None]":
    """Give a function the parameters that typer reads off it."""
    if context:
        first = inspect.Parameter(
            "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
        )
        parameters = [first, *parameters]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def _values(given: dict[str, object], options: tuple[declare.Option, ...]) -> dict[str, object]:
    """Only what was written, converted by the table's own rule."""
    found: dict[str, object] = {}
    for option in options:
        word = given.get(_key(option))
        if option[2] == "flag":
            if word:
                found[declare.name(option)] = True
        elif isinstance(word, str):
            try:
                found[declare.name(option)] = declare.value(option[2], word)
            except ValueError as mistake:
                raise typer.BadParameter(f"cannot read {option[0]} {word!r}: {mistake}") from None
    return found


def _key(option: declare.Option) -> str:
    """A Python name: ``--for`` and ``--all`` would shadow or break."""
    return f"option_{declare.name(option)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
