"""Reads what a service answers about itself: a text, a key of a JSON document, a line of Prometheus' text format.

Decides where in an answer the value stands, and words why it is not there. What the value proves is ``agentd.evidence``'s.
"""

from __future__ import annotations

import json
import re

from agentd.core.question import Question, Said, kept
from agentd.system.document import search

_LABELS = re.compile(r'\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\}')
"""A value may hold braces; and after the value of the series an exemplar may follow with labels of its own."""


def understood(question: Question, text: str) -> Said:
    """What an answer says to a question."""
    try:
        value, mark = _values(question, text)
    except ValueError as why:
        return Said(why=str(why))
    return Said(value, mark)


def listed(question: Question, text: str) -> tuple[str, ...]:
    """An answer as a list: JSON strings, or objects with a ``name``; without JSON a line each. Raises ValueError with a clause."""
    if not question.path:
        return tuple(kept(line) for line in text.splitlines() if line.strip())
    found = _at(_document(text), question.path)
    if not isinstance(found, list):
        raise ValueError(f"{question.path} is no list")  # noqa: TRY004 - of the answer, not of ours
    return tuple(kept(_text(one.get("name") if isinstance(one, dict) else one)) for one in found)


def _values(question: Question, text: str) -> tuple[str, str | None]:
    if question.metric:
        value = _metric(text, question.metric)
        return value, _metric(text, question.mark) if question.mark else None
    if not question.path:
        return kept(text), None
    document = _document(text)
    value = kept(_text(_at(document, question.path)))
    return value, kept(_text(_at(document, question.mark))) if question.mark else None


def _document(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the answer is no JSON") from None


def _at(document: object, path: str) -> object:
    """What a JMESPath expression finds; null is nothing."""
    found = search(path, document)
    if found is None:
        raise ValueError(f"there is no {path} in the answer")
    return found


def _text(found: object) -> str:
    return found if isinstance(found, str) else json.dumps(found, sort_keys=True)


def _metric(text: str, name: str) -> str:
    """Its value; series that differ only in labels which were not asked for must agree."""
    found: set[str] = set()
    for line in text.splitlines():
        if not line.startswith(name):
            continue
        rest = line[len(name) :]
        if rest[:1] == "{" and not name.endswith("}"):
            labels = _LABELS.match(rest)
            rest = rest[labels.end() :] if labels else ""
        if rest[:1].isspace() and rest.split():
            found.add(rest.split()[0])
    if len(found) > 1:
        raise ValueError(f"{name} has several values; name its labels")
    if not found:
        raise ValueError(f"there is no {name} in the answer")
    return kept(found.pop())
