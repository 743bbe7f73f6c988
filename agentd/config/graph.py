"""The order between services: names that nobody has, and circles.

Decides whether ``after`` and ``requires`` can be obeyed. The order itself is the core's work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Edges = Mapping[str, Sequence[str]]


def cycles(edges: Edges) -> Iterator[tuple[str, ...]]:
    """Circles, each once and closed (``a, b, a``), at least one of every knot. Edges to nobody are left out.

    Without recursion: a chain may be as long as there are services.
    """
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            stack.append((start, iter(edges[start])))
            on_path[start] = 0
            path.append(start)
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                path.pop()
                del on_path[name]
                done.add(name)
            elif following in on_path:
                yield (*path[on_path[following] :], following)
            elif following in edges and following not in done:
                on_path[following] = len(path)
                path.append(following)
                stack.append((following, iter(edges[following])))
