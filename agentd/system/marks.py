"""The mark in the environment of every instance: it names the instance, and nobody but an agent with this host key can make one.

Decides what is proof of a mark. Whoever may read the environment of an instance (its own user, and root) can copy the mark; so
it shows which instance a process is of, never alone that it is the main one.
"""

from __future__ import annotations

import hashlib
import hmac

_SIZE = 16


def mark(key: bytes, service: str, generation: int, cookie: str) -> str:
    """The cookie with what proves it."""
    return f"{cookie}.{_proof(key, service, generation, cookie)}"


def proven(key: bytes, service: str, generation: int, said: str) -> bool:
    """Whether an agent with this key gave this mark to this generation."""
    cookie, _, proof = said.rpartition(".")
    return hmac.compare_digest(proof.encode(), _proof(key, service, generation, cookie).encode())


def _proof(key: bytes, service: str, generation: int, cookie: str) -> str:
    what = f"instance\0{service}\0{generation}\0{cookie}".encode()
    return hashlib.blake2b(what, key=key, digest_size=_SIZE).hexdigest()
