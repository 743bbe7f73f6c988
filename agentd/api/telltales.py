"""By what a secret is told in a line of text: the words in a key, and what shows by itself.

Pure; one place to add a word. What is then hidden is decided in ``masking``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(
    r"passw(?:or)?d|passwort|passphrase|passcode|(?<!by)pass(?![a-z])|pwd|pw(?![a-z])|secret|token(?!iz)|credential|authorization"
    r"|(?:api|access|account|private|shared|master|session|signing|encryption)[-_. ]?key|requirepass|masterauth|psk",
    re.IGNORECASE,
)
_PASSES_ON = ("proxy_", "fastcgi_", "uwsgi_", "scgi_", "grpc_", "memcached_")
"""What nginx passes to whom is no password."""
_KEY_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-$@")
PEM = re.compile(r"-----BEGIN [^-\n]{1,64}-----")
PEM_END = "-----END "
_ALONE = (
    re.compile(r"(?i)(?<![\w-])(?:bearer|basic)[\s:=]+(\S.*)"),
    re.compile(r"(?i)(?<![\w-])auth\s+[^\s:]{1,128}:(.+)"),
    re.compile(r"\$(?:apr1|[1256y]|2[abxy]|argon2\w{0,2}|scrypt|pbkdf2[\w-]{0,16})\$\S+"),
    re.compile(r"(?i)\{(?:s?sha|s?md5|crypt|pbkdf2|argon2)[\w.\-]{0,16}\}(\S+)"),
    re.compile(r"(?<![\w.\-/])[\w.\-]{1,128}:(\S+)@(?:tcp|udp|unix)[46]?\("),
    re.compile(r"(?<![A-Za-z0-9])(?:sk-|gh[pousr]_|github_pat_|glpat-|xox[baprs]-|AKIA|ASIA|eyJ)[\w.\-/+=]{8,}"),
)  # fmt: skip
"""What shows by itself that it is secret; the first group where there is one."""
_URL_ENDS = re.compile(r"""[\s"'<>]""")


def keys(raw: str) -> Iterator[tuple[int, int, int]]:
    """Where a word of ours begins, and from where to where the key goes that it is part of."""
    end = 0
    for word in _WORD.finditer(raw):
        if word.start() < end or raw.endswith(_PASSES_ON, 0, word.start()):
            continue  # of the key before
        start, end = word.span()
        while start and raw[start - 1] in _KEY_CHARS:
            start -= 1
        while end < len(raw) and raw[end] in _KEY_CHARS:
            end += 1
        yield word.start(), start, end


def alone(raw: str) -> Iterator[tuple[int, int]]:
    """What is secret whatever it is called; PEM blocks, which take several lines, apart."""
    yield from _in_urls(raw)
    for pattern in _ALONE:
        yield from (m.span(m.re.groups) for m in pattern.finditer(raw))


def _in_urls(raw: str) -> Iterator[tuple[int, int]]:
    """Who asks, in URLs: ``user:password``, or a token alone; up to the last ``@``, for a password may hold one."""
    at = raw.find("://")
    while at >= 0:
        begin = at + 3
        end = stop.start() if (stop := _URL_ENDS.search(raw, begin)) else len(raw)
        who = raw[begin:end].rpartition("@")[0]
        if who and (":" in who or "/" not in who):
            yield begin, begin + len(who)
        at = raw.find("://", end)
