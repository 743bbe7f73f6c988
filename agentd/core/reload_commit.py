"""The rows of a reload from its confirmation to the verdict: what was not taken, its health, and reading the inputs once more.

Decides: whether its health is asked for (then ``reload_verify`` says for how long), what its evidence is worth in the end, and the verdict.
What evidence sees is ``reload_confirm``'s.
"""

from __future__ import annotations

from agentd.core import reload_turns
from agentd.core.effects import Ask, AskReport, Disarm, Note, TakeSnapshot
from agentd.core.events import EffectFailed, ReloadEvent, Reported, SnapshotDone
from agentd.core.manifest import Manifest
from agentd.core.reload_value import (
    UNLISTED,
    Act,
    Ending,
    Reload,
    Result,
    Stage,
    View,
    began,
    ended,
    expect,
    finish,
    note,
)
from agentd.core.spec import ReadyAfter, ReadyNotify
from agentd.core.steps import Evidence, Grade, Judgement
from agentd.core.value import replace
from agentd.wire import Verdict

NAMED = 10
"""How many settings that were not taken a message names; the record has all of them."""


def lost(r: Reload, error_type: str, message: str, view: View, now: float) -> Result:
    """It was acted on, and what runs now is not known."""
    notes: tuple[Note, ...] = ()
    if r.stage is not Stage.QUEUED:  # some have taken it under an earlier agent
        r, notes = note(r, now, ended(r, view, error_type))
    ending = Ending(Verdict.FAILED, error_type, message, moved=True)
    return finish(r, view, now, notes, ending)


def taken_in_part(r: Reload, ending: Ending, view: View, now: float) -> Result:
    """By its own word it took some of it: it is asked what is missing and whether it is well with that, and ends so in any case."""
    return ask_report(replace(r, half=ending), view, now)


def ask_report(r: Reload, view: View, now: float) -> Result:
    """What was not taken, where the service can say."""
    question = view.spec.reload.report
    if question is None:
        return confirmed(r, view, now)
    assert view.pid is not None
    r, token = expect(replace(r, stage=Stage.REPORTING), view)
    return r, (AskReport(token, view.spec, view.generation, view.pid, question),), ()


def reported(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """Without an answer nobody knows whether all of it was taken."""
    assert isinstance(event, Reported)
    r = replace(r, awaiting=None)
    if event.names is not None:
        named = (*r.not_taken, *(name for name in event.names if name not in r.not_taken))
        return confirmed(replace(r, not_taken=named), view, now)
    if r.half is not None:
        message = f"{r.half.message}; what it did not take cannot be asked: {event.why}"
        return confirmed(replace(r, half=replace(r.half, message=message)), view, now)
    r, notes = note(r, now, ended(r, view, "no_report"))
    name, grade = confirmation(r, view)
    message = f"confirmed by {name}, but what was not taken cannot be asked: {event.why}"
    ending = Ending(Verdict.UNVERIFIED, "no_report", message, name, grade, moved=True)
    return finish(r, view, now, notes, ending)


def confirmed(r: Reload, view: View, now: float) -> Result:
    """The evidence has said enough of this instance."""
    r, notes = note(r, now, ended(r, view, r.half.error_type if r.half else ""))
    r, effects, more = verify(r, view, now)
    return r, effects, (*notes, *more)


def verify(r: Reload, view: View, now: float) -> Result:
    """Ask for the first time; where nothing is declared, and for bytes that a start knows to be good, go on."""
    declared = view.spec.reload.verify
    if declared is None or _known(r, view):
        return taken(r, view, now)
    r = replace(r, stage=Stage.VERIFYING, deadline=now + declared.seconds)
    r = replace(r, passes=0, failures=0, in_a_row=0, complaint="")
    r, notes = note(r, now, began(r, view))
    r, effects, _ = ask(r, view)
    return r, effects, notes


def _known(r: Reload, view: View) -> bool:
    """A start with bytes that were good before: whoever started it is not kept waiting."""
    good, plain = view.last_good, r.act is Act.LAUNCH and r.fault is None
    return plain and good is not None and r.manifest is not None and good.hash == r.manifest.hash


def ask(r: Reload, view: View) -> Result:
    """Ask whether it is well once; only an answer of its own processes counts."""
    declared = view.spec.reload.verify
    assert declared is not None
    generation, pid = view.generation, view.pid
    if r.act is Act.REPLACE:
        generation, pid = view.next_generation, view.next_pid
    assert pid is not None
    r, token = expect(r, view)
    ask = Ask(token, view.spec, declared.probe, pid, generation, beside=True)
    return r, (Disarm(view.spec.name, r.machine), ask), ()


def taken(r: Reload, view: View, now: float) -> Result:
    """This instance took it: the next one's turn, or it is compared whether what they took is what was read.

    Which bytes run that were taken in part, is known only when all that is missing has a name.
    """
    if r.half is not None and (r.turn or not r.not_taken):
        return finish(r, view, now, (), replace(r.half, not_taken=r.not_taken))
    if not r.turn:
        return compare(r, view, now)
    r, notes = reload_turns.take(r, view, now)
    if r.died:
        r, ending = replace(r, awaiting=None), Ending(Verdict.PARTIAL, r.died[0].error_type)
        return finish(r, view, now, notes, ending)
    if r.todo:
        return replace(r, stage=Stage.ROLLING), (), notes
    r, effects, more = compare(r, view, now)
    return r, effects, (*notes, *more)


def compare(r: Reload, view: View, now: float) -> Result:
    """Read the inputs once more: only when they are still the same is it known what was taken."""
    r = replace(r, stage=Stage.COMPARING)
    r, notes = note(r, now, began(r, view))
    r, token = expect(r, view)
    return r, (TakeSnapshot(token, view.spec),), notes


def was_compared(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """The verdict: the same bytes before and after, or another reload follows."""
    assert isinstance(event, SnapshotDone)
    r, found = replace(r, awaiting=None), event.found
    if not isinstance(found, Manifest) or not r.manifest or found.hash != r.manifest.hash:
        error_type = r.missing.error_type if r.missing else "inputs_moved"
        message = (
            r.missing.message if r.missing else "the inputs changed while they were being taken"
        )
        r, notes = note(r, now, ended(r, view, error_type))
        again = r.missing is None
        ending = Ending(Verdict.UNVERIFIED, error_type, message, moved=True, again=again)
        return finish(r, view, now, notes, ending)
    r = replace(r, manifest=found)  # what an earlier agent read has only its hash left
    if found.unlisted:
        r, notes = note(r, now, ended(r, view, UNLISTED))
        ending = Ending(Verdict.UNVERIFIED, UNLISTED, found.unlisted, moved=True)
        return finish(r, view, now, notes, ending)
    if (half := r.half) is not None:
        r, notes = note(r, now, ended(r, view))
        return finish(r, view, now, notes, replace(partial(r, "none", None), output=half.output))
    name, grade = confirmation(r, view)
    if grade is None:
        r, notes = note(r, now, ended(r, view))
        message = "delivered, but nothing declared can prove it"
        if r.act is not Act.RECIPE:
            message = "alive, but its READY=1 may have met no agent"
        ending = Ending(Verdict.UNVERIFIED, "no_evidence", message, moved=True)
        return finish(r, view, now, notes, ending)
    if r.require_proof and grade is not Grade.PROVEN:
        r, notes = note(r, now, ended(r, view))
        message = f"{grade.value} by {name}, and proof was demanded"
        ending = Ending(
            Verdict.UNVERIFIED, "not_proven", message, name, grade, live=r.manifest, moved=True
        )
        return finish(r, view, now, notes, ending)
    r, notes = note(r, now, ended(r, view))
    return finish(
        r, view, now, notes, partial(r, name, grade) if r.not_taken else applied(r, name, grade)
    )


def partial(r: Reload, name: str, grade: Grade | None) -> Ending:
    """These bytes run, but for what is named."""
    named, more = r.not_taken[:NAMED], len(r.not_taken) - NAMED
    rest = f" and {more} more" if more > 0 else ""
    message = f"not taken, or only after a restart: {', '.join(named)}{rest}"
    return Ending(
        Verdict.PARTIAL,
        "partial",
        message,
        name,
        grade,
        live=r.manifest,
        moved=True,
        not_taken=r.not_taken,
    )


def applied(r: Reload, name: str, grade: Grade | None) -> Ending:
    return Ending(Verdict.APPLIED, confirmation=name, grade=grade, live=r.manifest, moved=True)


def confirmation(r: Reload, view: View) -> tuple[str, Grade | None]:
    """The strongest evidence that agreed, and its grade; of a start, how it said that it is ready."""
    spec = view.spec
    if r.act is not Act.RECIPE:
        match spec.ready:
            case ReadyNotify() if view.assumed and r.act is not Act.REPLACE:
                return "none", None
            case ReadyNotify():
                return "notify", Grade.PROVEN
            case ReadyAfter():
                return "ready", Grade.DECLARED
            case _:
                return "ready", Grade.OBSERVED
    return heard_before(r, view) if r.confirmed or spec.reload.confirm else ("none", None)


def effect_failed_late(r: Reload, event: ReloadEvent, view: View, now: float) -> Result:
    """It was acted on, and what runs now is not known."""
    assert isinstance(event, EffectFailed)
    r = replace(r, awaiting=None)
    if r.act is not Act.REPLACE:
        return lost(r, event.error_type, event.message, view, now)
    r, notes = note(r, now, ended(r, view, event.error_type))
    ending = Ending(Verdict.UNVERIFIED, event.error_type, event.message, moved=True)
    return finish(r, view, now, notes, ending)


def earned(evidence: Evidence, said: Judgement) -> Grade:
    """Its grade, or what is left of it when it agreed without a proof."""
    agreed = said is Judgement.AGREED and evidence.grade is Grade.PROVEN
    return Grade.OBSERVED if agreed else evidence.grade


def strength(one: tuple[str, Grade]) -> int:
    return list(Grade).index(one[1])


def heard_before(r: Reload, view: View) -> tuple[str, Grade]:
    """What was seen to agree before; when an earlier agent saw it, how much it was worth is not known any more."""
    told = ((e.name, earned(e, Judgement.AGREED)) for e in view.spec.reload.confirm)
    return r.confirmed or min(told, key=strength)
