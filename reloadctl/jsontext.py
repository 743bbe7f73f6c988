"""JSON to values and back without the ``json`` package, whose ``re`` costs half the start of Python.

The scanner is the C one that ``json`` uses itself; where it is missing (another implementation), ``json`` does it.
Knows nothing of the documents.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Document = dict[str, Any]
else:
    Document = dict


class _Context:
    """What the scanner asks for (json.decoder.JSONDecoder has the same attributes)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_scan: "Callable[[str, int], tuple[object, int]]"
_quote: "Callable[[str], str]"
try:
    from _json import encode_basestring_ascii as _quote
    from _json import make_scanner

    _scan = make_scanner(_Context)  # type: ignore[arg-type]
except ImportError:
    from json.decoder import JSONDecoder
    from json.encoder import encode_basestring_ascii as _quote

    _scan = JSONDecoder().scan_once  # type: ignore[attr-defined]


def loads(data: bytes) -> Document:
    """One JSON object. ValueError: it is not one."""
    text = data.decode().strip()
    try:
        found, end = _scan(text, 0)
    except StopIteration as stop:
        raise ValueError(f"not JSON at character {stop.value}") from None
    except RecursionError:
        raise ValueError("not JSON: it is nested too deeply") from None
    if end != len(text) or not isinstance(found, dict):
        raise ValueError("not one JSON object")
    return found


def dumps(value: object) -> bytes:
    """The JSON of str, bool, None, int, float, and lists and dicts of these."""
    return _text(value).encode("ascii")


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quote(k)}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    raise TypeError(type(value).__name__)
