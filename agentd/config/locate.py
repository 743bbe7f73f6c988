"""The line of every key of a TOML file that ``tomllib`` could read.

Only a mistake asks for it, so that loading does not pay: ``tomlkit`` keeps every byte of the source and gives
its parts back in source order, so a line is one more than the newlines before it. Decides nothing about the
content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentd.config.problems import At

if TYPE_CHECKING:
    from tomlkit.items import Array, Item, Table


class Lines:
    """Where each key stands. A key inside a value that holds no keys of its own has the line of that value."""

    def __init__(self, text: str) -> None:
        self._said: dict[At, int] = {}
        self._implied: dict[At, int] = {}
        self._counts: dict[At, int] = {}
        self._line = 1
        if not self._walk_file(text):
            self._said.clear()
            self._implied.clear()

    def of(self, at: At) -> int:
        """The line of a key, or of the nearest thing around it; 0 when no line can be told."""
        for end in range(len(at), 0, -1):
            line = self._said.get(at[:end]) or self._implied.get(at[:end])
            if line is not None:
                return line
        return 0

    def _walk_file(self, text: str) -> bool:
        """False when no line can be told: a wrong one would be worse.

        ``tomlkit`` does not give back every file in source order (arrays of tables that interleave), and now and then
        refuses what ``tomllib`` takes.
        """
        import tomlkit  # noqa: PLC0415 - only a mistake pays for it
        from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

        try:
            document = tomlkit.parse(text)
            if document.as_string() != text:
                return False
            self._body(document.body, ())
        except (TOMLKitError, ValueError, TypeError, KeyError, RecursionError):
            return False
        return self._line == 1 + text.count("\n")

    def _body(self, body: Any, at: At) -> None:
        for key, item in body:
            if key is None:
                self._skip(item.as_string())
            else:
                self._keyed((*at, key.key), item)

    def _keyed(self, at: At, item: Item) -> None:
        from tomlkit.items import AoT, Table  # noqa: PLC0415

        if isinstance(item, Table):
            if at in self._counts:  # an array goes on further down, with which element is not told
                raise ValueError(at)
            self._table(at, item)
        elif isinstance(item, AoT):
            for element in item.body:
                index = self._counts.get(at, 0)  # it may be written in several places
                self._counts[at] = index + 1
                self._table((*at, index), element)
        else:
            self._skip(item.trivia.indent)
            self._mark(at)
            self._value(at, item)
            self._skip(item.trivia.comment_ws + item.trivia.trail)

    def _table(self, at: At, item: Table) -> None:
        if (
            item.is_aot_element() or not item.is_super_table()
        ):  # else: only implied by what is in it
            self._skip(item.trivia.indent)
            self._mark(at)
            self._skip(item.trivia.trail)
        self._body(item.value.body, at)

    def _value(self, at: At, item: Item) -> None:
        """Leaves the line at the end of the value."""
        from tomlkit.items import Array, InlineTable  # noqa: PLC0415

        start, text = self._line, item.as_string()
        if isinstance(item, Array):
            self._array(at, item, text)
        elif isinstance(item, InlineTable):
            self._body(item.value.body, at)
        self._line = start + text.count("\n")

    def _array(self, at: At, array: Array, text: str) -> None:
        pos = 1
        for index, item in enumerate(list.__iter__(array)):
            pos = self._gap(text, pos) + len(item.as_string())
            self._mark((*at, index))
            self._value((*at, index), item)

    def _gap(self, text: str, pos: int) -> int:
        """Over blanks, commas and comments between the items of an array."""
        while pos < len(text) and text[pos] in " \t\r\n,#":
            end = text.index("\n", pos) if text[pos] == "#" else pos + 1
            self._skip(text[pos:end])
            pos = end
        return pos

    def _skip(self, source: str) -> None:
        self._line += source.count("\n")

    def _mark(self, at: At) -> None:
        self._said.setdefault(at, self._line)
        for end in range(1, len(at)):
            self._implied.setdefault(at[:end], self._line)
