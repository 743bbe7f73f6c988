"""Who may call what: every route of the table, for every level."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agentd.api.peers import Names, Peer, peer_of
from agentd.api.routes import ROUTES, Route
from agentd.config.access import Access, Level
from tests.api.stage import ALICE, INSPECTOR, OPERATOR, ROOT, looped, pair, ready, request, serving

LEVELS = [
    (ALICE, Level.READ),
    (INSPECTOR, Level.INSPECT),
    (OPERATOR, Level.OPERATE),
    (ROOT, Level.ADMIN),
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
@looped
async def test_a_route_answers_those_who_may(route: Route, tmp_path: Path) -> None:
    path = route.path.replace("{name}", "web").replace("{ref}", "nope")
    method = "HEAD" if route.path == "/v1/events" else route.method
    async with serving(tmp_path, ready("web")) as stage:
        stage.runtime.answer = stage.runtime.accepts()
        for peer, level in LEVELS:
            reply = await stage.ask(
                method, path, {"all": True} if path == "/v1/reload" else None, peer
            )
            if level < route.level:
                assert (reply.status, reply.exit) == (403, 77)
                assert route.level.name.lower() in reply.json["detail"]
                assert not stage.runtime.asked
            else:
                assert reply.status in (200, 202, 404)
                assert reply.exit != 77


@looped
async def test_nobody_is_let_in_by_what_the_request_says(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web"), access=Access(())) as stage:
        headers = {"X_Remote_User": "root", "Authorization": "Basic cm9vdDo="}
        assert (await stage.get("/v1/status", ALICE, **headers)).status == 403
        stranger = await stage.post("/v1/services/nope/reload", {}, ALICE)
        assert stranger.status == 403, "which services there are is not told"
        assert (await stage.get("/v1/status", Peer(1, os.geteuid(), frozenset()))).status == 200


@looped
async def test_denied_before_the_body_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path, ready("web")) as stage:
        stage.peer = ALICE
        head = request(
            "POST",
            "/v1/services/web/reload",
            Expect="100-continue",
            Content_Length="9",
            Content_Type="x",
        )
        reply = await stage.raw(head)
        assert reply.status == 403


def test_the_kernel_says_who_it_is() -> None:
    ours, theirs = pair()
    with ours, theirs:
        groups = frozenset((os.getegid(), *os.getgroups()))
        assert peer_of(ours) == Peer(os.getpid(), os.geteuid(), groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be in other groups")
def test_the_kernel_says_in_which_groups(tmp_path: Path) -> None:
    before = os.getgroups()
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        os.setgroups([7, 8, 9])
        try:
            client.connect(path)
        finally:
            os.setgroups(before)
        accepted, _ = server.accept()
        with accepted:
            assert peer_of(accepted).gids == {os.getegid(), 7, 8, 9}


def test_names_of_users() -> None:
    names = Names()
    assert names.of(0) == "root"
    assert [names.of(uid) for uid in range(3_000_000, 3_000_600)][-1] == "3000599"
    assert len(names._known) <= 256
