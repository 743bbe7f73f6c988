"""Main processes that become other ones: born beside, shown to the agent or not, followed, and gone.

A child has a main process and at most one other member; the one that takes over is that member until the agent follows it, and from then on
the former one is. Its own truth is ``child.identity``: whom the agent would find as the main process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentd.core import effects as fx
from agentd.core import events as ev
from agentd.core.process import Exit, Identity
from agentd.core.value import replace
from tests.sim.children import Child, Moves, Shown

if TYPE_CHECKING:
    from tests.sim.world import World


def plan(w: World, child: Child) -> None:
    """What its script has in mind."""
    for one in child.script.moves:
        w.after(one.after, _born, w, child, one)


def _born(w: World, child: Child, m: Moves) -> None:
    """It reads the inputs as they are; of bad ones it never comes to be."""
    value = w.inputs[child.service]
    if not child.main or child.member or value is None or value in w.bad:
        return
    w.pid += 1
    former = child.identity
    heir = replace(former, pid=w.pid, started=w.ticks)
    child.heir, child.member, child.meddled = heir, True, True
    child.runs[heir.pid] = w.hash(child.service)
    if m.shown is Shown.SAID:
        w.agent_after(w.soon(), _said, w, child, heir)
    elif m.shown is Shown.FILE:
        child.file = heir
    elif m.shown is Shown.LATE:
        w.after(m.overlap + 0.3, _written, child, heir)
    w.after(m.overlap, _gone, w, child, former, Exit(code=0))
    if m.dies is not None:
        w.after(m.dies, _gone, w, child, heir, Exit(code=1))


def _written(child: Child, heir: Identity) -> None:
    child.file = heir


def _said(w: World, child: Child, heir: Identity) -> None:
    if alive(child, heir):
        w.feed(ev.Claimed(child.service, child.generation, heir))


def alive(child: Child, one: Identity) -> bool:
    """Whether this process of it lives."""
    return (child.main and child.identity == one) or (child.member and child.heir == one)


def _gone(w: World, child: Child, one: Identity, how: Exit) -> None:
    """This process ends by itself, whatever it is by then."""
    from tests.sim.machine import ends, member_ends  # noqa: PLC0415 - a circle: what ends there may move here

    if child.main and child.identity == one:
        ends(w, child, how)
    elif child.member and child.heir == one:
        member_ends(w, child)


def follow(w: World, e: fx.Follow) -> None:
    child = w.child(e.service, e.generation)
    if child.member and child.heir == e.identity:
        _swap(child)
        child.told = False
        _noticed(w, child)
        return
    former = child.identity if child.main else None  # whom it was to follow is gone already
    child.was, child.identity, child.main = child.identity, e.identity, False
    if former is not None:
        child.heir, child.member = former, True
        child.runs[former.pid] = child.taken
    exited = ev.Exited(e.service, e.generation, Exit(), not child.member, ("bye",), e.identity.pid)
    w.agent_after(w.soon(), w.told, child, exited)


def _swap(child: Child) -> None:
    """The member is the main process from now on, and the other way round."""
    assert child.heir is not None
    former, heir, there = child.identity, child.heir, child.main
    child.runs[former.pid] = child.taken
    child.identity, child.was, child.taken = heir, former, child.runs[heir.pid]
    child.main, child.member, child.heir = child.member, there, former if there else None
    child.takes += 1
    child.asked += 1  # who was asked to read is another one


def _noticed(w: World, child: Child) -> None:
    s = w.host.services[child.service] if w.host else None
    if s is not None and s.live is None:
        child.meddled = False


def seek_main(w: World, e: fx.SeekMain) -> None:
    child = w.child(e.token.service, e.generation)
    named = child.file if e.spec.pid_file is not None else None
    there = [one for one in (named, e.before) if one is not None and alive(child, one)]
    if w.fault(0.03):
        w.fail(e.token, "internal_error")
        return
    found = there[0] if there else None
    w.answer(e.token, w.soon(), ev.MainSought(e.token, found, "named" if found else "no such file"))


def remembered(child: Child, known: list[Identity | None]) -> None:
    """An agent begins: one that died before it wrote down whom it follows leaves the next one with the former."""
    if child.identity in known or child.was not in known or child.was is None:
        return
    if child.heir != child.was:
        child.heir, child.member = child.identity, child.main
        child.runs[child.identity.pid] = child.taken
        child.identity, child.main = child.was, False
    else:
        _swap(child)
