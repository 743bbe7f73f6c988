"""What a kind of evidence adds to the core's Evidence: how it is made from what was declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from agentd.core.question import Question
from agentd.core.steps import Evidence


@dataclass(frozen=True, slots=True)
class Hints:
    """What a recipe knows of a server's looks; None: nothing is known."""

    worker: str | None = None
    """Regular expression: the title of a child that serves requests, draining or not."""
    draining: str | None = None
    """Regular expression: the title of a worker that finishes its requests and takes no new ones."""
    refused: str | None = None
    """Regular expression: the line by which the server says that it did not take a configuration."""
    partial: str | None = None
    """Regular expression: in such a line, or in the answer of what was asked, the server says that it took some of it and not the rest."""
    settle: float = 0.0
    """Seconds that a worker must have lived to count: for servers whose workers load what may fail only after they were started."""
    synchronous: bool = False
    """Its yes to a reload that is asked for by a command or a request is said only when the configuration was taken."""


class Kind(Evidence, Protocol):
    """An evidence that can be declared under ``confirm``."""

    takes: ClassVar[str]
    """What it must be given, for messages ("a regular expression"); empty: nothing."""

    @classmethod
    def declared(cls, argument: str | None, hints: Hints) -> Self:
        """From the definition. Raises ValueError with the reason when the argument cannot be used."""


class Silent:
    """What evidence has in common that asks the service nothing, and does not look who opens its files."""

    __slots__ = ()
    opens: ClassVar[bool] = False

    @property
    def question(self) -> Question | None:
        """Nothing is asked."""
        return None


class Bare(Silent):
    """What evidence has in common that takes no argument and looks at neither workers nor output."""

    __slots__ = ()
    workers: ClassVar[bool] = False
    takes: ClassVar[str] = ""

    @classmethod
    def declared(cls, argument: str | None, hints: Hints) -> Self:  # noqa: ARG003 - part of the Protocol
        """Takes nothing."""
        assert argument is None
        return cls()

    @property
    def pattern(self) -> str | None:
        """Nothing is looked for in the output."""
        return None
