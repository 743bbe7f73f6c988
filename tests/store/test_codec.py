"""What goes into the journal comes out as it was, or is refused."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core import facts as f
from agentd.core.memory import Memory
from agentd.store.codec import CodecError, decode_fact, decode_memory, encode
from agentd.wire import Trigger

from .values import CAUSE, FACTS, MEMORY

SHAPES = {
    "Adopted": "found generation pid service",
    "AgentStarted": "adopted pid version",
    "AgentStopped": "left",
    "BaselineTaken": "at baseline reload_id service",
    "CheckEnded": "executable exit_code output reload_id service timed_out",
    "Confirmed": "reload_id service user",
    "DefinitionsTaken": "changed trigger user",
    "Drained": "began cut generation open pid reload_id service",
    "External": "generation service why",
    "Flipped": "at generation moved reload_id service",
    "HoldSet": "held reason service user",
    "Joined": "cause confirm_within definition must_act reload_id require_proof service",
    "Judged": "confirmation error_type generation grade handle hash_after instances message not_taken output pid reload_id service"
    " trigger verdict version_after",
    "LateEvidence": "confirmation grade hash reload_id service version",
    "LiveChanged": "hash service version why",
    "MainMoved": "generation pid service was why",
    "PhaseBegan": "phase reload_id service",
    "PhaseEnded": "error_type phase reload_id service",
    "PhaseEntered": "exit generation phase pid service was why",
    "Quarantined": "hash reason service",
    "Requested": "attributes_before cause confirm_within definition handle hash_before link must_act reload_id require_proof"
    " restore service trace_id version_before",
    "SetAside": "kept path why",
    "Skipped": "service trigger why",
    "Restored": "files hash kept reload_id service",
    "RollingBack": "down error_type hash message output reload_id service verdict version",
    "SoakBegan": "hash reload_id service trace_id until_wall_ns version",
    "Soaked": "became failures passes reload_id service why",
    "SnapshotTaken": "attributes changed files hash reload_id service unlisted version",
    "StepBegan": "pid reload_id service step",
    "StepEnded": "at error_type pid reload_id service step",
    "TurnBegan": "generation instance pid reload_id service",
    "TurnEnded": "error_type generation instance pid reload_id service",
    "Verified": "failures generation passes reload_id service why",
    "WantSet": "service user want",
}
"""Of codec VERSION 2. A new field with a default is added here; anything else needs a new version and a migration."""


def test_every_fact_is_among_the_values() -> None:
    assert {type(fact) for fact in FACTS} == set(get_args(f.Fact))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_comes_back(fact: f.Fact) -> None:
    text = encode(fact)
    back = decode_fact(type(fact).__name__, text)
    assert back == fact
    assert type(back) is type(fact)
    assert text.isascii()


def test_the_shapes_on_disk_are_those_of_the_version() -> None:
    shapes = {type(fact).__name__: " ".join(sorted(json.loads(encode(fact)))) for fact in FACTS}
    assert shapes == SHAPES


@pytest.mark.parametrize("memory", [MEMORY, Memory("db")], ids=["full", "empty"])
def test_a_memory_comes_back(memory: Memory) -> None:
    assert decode_memory(encode(memory)) == memory


def test_enumerations_come_back_as_such() -> None:
    back = decode_fact("Skipped", encode(f.Skipped("web", Trigger.WATCH, "unchanged")))
    assert isinstance(back, f.Skipped)
    assert back.trigger is Trigger.WATCH


def test_an_older_row_takes_the_default_of_a_newer_field() -> None:
    assert decode_memory('{"service":"web"}') == Memory("web")


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("Skipped", '{"service":"web","trigger":"watch"}', "lacks why"),
        ("Skipped", '{"service":"w","trigger":"watch","why":"","x":1}', "has no x"),
        ("Skipped", '{"service":"w","trigger":"moon","why":""}', "'moon' is no Trigger"),
        ("Skipped", '{"service":7,"trigger":"watch","why":""}', "7 is no str"),
        ("Adopted", '{"service":"w","generation":true,"pid":1,"found":true}', "True is no int"),
        ("Adopted", '{"service":"w","generation":1,"pid":1,"found":1}', "1 is no bool"),
        ("AgentStopped", "[]", "is no AgentStopped"),
        ("AgentStopped", '{"left":', "Expecting value"),
        ("Abducted", "{}", '"Abducted" is unknown'),
        (
            "CheckEnded",
            '{"service":"w","reload_id":"1","executable":"x","exit_code":null,"timed_out":false,"output":"ab"}',
            "'ab' is no list",
        ),
    ],
)
def test_what_is_no_fact_is_refused(kind: str, text: str, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        decode_fact(kind, text)


def test_a_pair_has_two_elements() -> None:
    cause = encode(f.Joined("web", "1", f.Cause(Trigger.CLI, attributes=(("a", "b"),))))
    with pytest.raises(CodecError, match="has not 2 elements"):
        decode_fact("Joined", cause.replace('["a","b"]', '["a"]'))


def test_what_is_no_fact_is_not_encoded() -> None:
    with pytest.raises(CodecError, match="Cause"):
        encode(CAUSE)  # type: ignore[arg-type]


def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(CodecError, match="StepEnded"):
        encode(f.StepEnded("web", "1", "signal HUP", float("nan")))
    with pytest.raises(CodecError, match="WantSet"):
        encode(f.WantSet("web", object(), "alice"))  # type: ignore[arg-type]


@given(st.text())
def test_any_text_is_a_fact_or_a_codec_error(text: str) -> None:
    try:
        decode_fact("WantSet", text)
    except CodecError:
        return
    assert encode(decode_fact("WantSet", text))


@given(st.text(), st.lists(st.text()))
def test_any_output_of_a_checker_survives(path: str, lines: list[str]) -> None:
    fact = f.CheckEnded("web", "1", path, None, timed_out=False, output=tuple(lines))
    assert decode_fact("CheckEnded", encode(fact)) == fact
