from __future__ import annotations

from pathlib import Path

import pytest

from agentd import recipes
from agentd.config.loader import ConfigErrors, load
from agentd.core.spec import Check, Included, ReadyAfter, ReadyProbe, Spec, WorkersProbe
from agentd.core.steps import Replace, RunCommand, SendSignal
from agentd.evidence import Delivered, Reply, Workers

NGINX = Workers(
    worker="worker process",
    draining="is shutting down",
    refused=recipes.load("nginx").hints.refused,
)


def service(tmp_path: Path, *lines: str) -> Spec:
    path = tmp_path / "agentd.toml"
    path.write_text("\n".join(("[service.web]", 'recipe = "nginx"', *lines)))
    (spec,) = load(path).services
    return spec


@pytest.mark.parametrize("name", recipes.names())
def test_the_example_of_every_recipe_is_a_whole_service(tmp_path: Path, name: str) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text(recipes.load(name).example)
    loaded = load(path)
    assert loaded.warnings == ()
    assert recipes.load(name).since
    (service,) = loaded.services
    assert service.reload.confirm or service.reload.handle in ("replace", "restart")
    assert service.ready != ReadyAfter()
    assert service.inputs


def test_a_command_that_lacks_what_its_recipe_wants_is_a_doubt(tmp_path: Path) -> None:
    path, example = tmp_path / "agentd.toml", recipes.load("envoy").example
    path.write_text(example.replace(', "--disable-hot-restart"]', "]"))
    (said,) = load(path).warnings
    assert said.endswith(
        "service.mesh.command: lacks --disable-hot-restart, so the kernel stops Envoy when agentd ends or is killed"
    )


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_that_takes_a_yes_for_proof_knows_that_it_comes_after_the_fact(name: str) -> None:
    recipe = recipes.load(name)
    known = (recipe.service, recipe.held)
    if any("reply" in one.get("reload", {}).get("confirm", ()) for one in known):
        assert recipe.hints.synchronous


def test_nginx_knows_how_it_starts_stops_reloads_and_shows_it(tmp_path: Path) -> None:
    spec = service(tmp_path, 'command = ["nginx", "-g", "daemon off;"]')
    assert spec.ready == ReadyProbe(WorkersProbe())
    assert spec.stop_signal == "QUIT"
    assert spec.reload.steps == (SendSignal("HUP"),)
    assert spec.reload.confirm == (NGINX,)


def test_gunicorn_is_replaced_where_agentd_holds_its_socket_and_told_by_hup_elsewhere(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agentd.toml"
    text = '[service.app]\nrecipe = "gunicorn"\ncommand = ["gunicorn", "a:b"]\n'
    path.write_text(text)
    (app,) = load(path).services
    assert (app.reload.steps, app.reload.confirm) == ((SendSignal("HUP"),), (Workers(settle=1.0),))
    path.write_text(text + 'sockets = [{ name = "http", listen = "127.0.0.1:8000" }]\n')
    (app,) = load(path).services
    assert (app.reload.steps, app.reload.confirm) == ((Replace(),), ())
    assert app.reload.check == Check(("gunicorn", "--check-config", "a:b"))


def test_the_command_that_reloads_is_made_from_the_command_too(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    text = '[service.w]\nrecipe = "caddy"\ncommand = ["caddy", "run", "--config", "/a"]\n'
    path.write_text(text)
    (web,) = load(path).services
    assert web.reload.steps == (RunCommand(("caddy", "reload", "--force", "--config", "/a")),)
    assert web.reload.check == Check(("caddy", "validate", "--config", "/a"))
    assert web.reload.confirm == (Reply(synchronous=True),)
    path.write_text(text + '[service.w.reload]\nhandle = "signal"\nconfirm = ["delivered"]\n')
    (web,) = load(path).services
    assert web.reload.steps == (SendSignal("HUP"),)


def test_a_word_by_which_a_server_says_that_it_took_some_of_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text(recipes.load("prometheus").example)
    (spec,) = load(path).services
    assert spec.reload.some(["one or more errors occurred while applying the new configuration"])
    assert not spec.reload.some(["couldn't load configuration"])


def test_another_handle_than_the_recipes_keeps_the_check_and_drops_what_is_the_handles(
    tmp_path: Path,
) -> None:
    ready = 'ready = { http = "http://127.0.0.1:8000/" }'
    spec = service(tmp_path, 'command = ["nginx"]', ready, 'reload.handle = "replace"')
    assert (spec.reload.steps, spec.reload.confirm) == ((Replace(),), ())
    assert spec.reload.check == Check(("nginx", "-t", "-q"))


def test_who_tells_it_to_reload_does_not_matter_to_what_shows_that_it_did(tmp_path: Path) -> None:
    by_hand = 'reload = { handle = "exec", command = ["nginx", "-s", "reload"] }'
    spec = service(tmp_path, 'command = ["nginx"]', by_hand)
    assert [e.name for e in spec.reload.confirm] == ["workers"]


@pytest.mark.parametrize(
    ("name", "command", "check"),
    [
        ("haproxy", "haproxy -W -db -S m.sock -f a.cfg -dr", "haproxy -c -f a.cfg -dr"),
        ("httpd", "apache2 -DFOREGROUND -f h.conf -k start", "apache2 -t -DFOREGROUND -f h.conf"),
        ("gunicorn", "python3 -m gunicorn -w 2 a:b", "python3 -m gunicorn --check-config -w 2 a:b"),
        ("postgresql", "postgres -D /d -p 5 --x=y", "postgres -C data_directory -D /d --x=y"),
        (
            "envoy",
            "envoy -c a.yaml --restart-epoch 1",
            "envoy --mode validate --disable-hot-restart -c a.yaml",
        ),
        (
            "prometheus",
            "/opt/prometheus --config.file /a.yml --web.enable-lifecycle",
            "/opt/promtool check config /a.yml",
        ),
        ("prometheus", "prometheus --config.file=/a.yml", "promtool check config /a.yml"),
        ("gunicorn", "python3 -m flask run", None),
        ("gunicorn", "python3 gunicorn", None),
    ],
)
def test_the_check_is_made_from_the_command(name: str, command: str, check: str | None) -> None:
    rule = recipes.load(name).check
    assert rule is not None
    made = rule.derive(command.split())
    assert made == (check and check.split())


STAGED = "/etc/ha/a.cfg"


@pytest.mark.parametrize(
    ("command", "inputs", "check"),
    [
        ("haproxy -f /etc/ha/a.cfg", [STAGED], "haproxy -c -f {staged}/etc/ha/a.cfg"),
        ("haproxy -f /etc/ha/a.cfg", ["/etc/ha/*.cfg"], "haproxy -c -f {staged}/etc/ha/a.cfg"),
        (
            "haproxy -f /etc/ha/a.cfg -f /etc/b.cfg",
            ["/etc/b.cfg"],
            "haproxy -c -f /etc/ha/a.cfg -f {staged}/etc/b.cfg",
        ),
        ("haproxy -f /etc/ha/a.cfg", ["/etc/*.cfg", "a.cfg", ""], "haproxy -c -f /etc/ha/a.cfg"),
        ("haproxy -f /etc/ha/.a.cfg", ["/etc/ha/*"], "haproxy -c -f /etc/ha/.a.cfg"),
        ("haproxy -f etc/a.cfg", ["/etc/a.cfg", "*"], "haproxy -c -f etc/a.cfg"),
        ("haproxy -C /etc/ha/a.cfg", [STAGED], "haproxy -c -C /etc/ha/a.cfg"),
        ("nginx -c /etc/ha/a.cfg", [STAGED], "nginx -t -q -c /etc/ha/a.cfg"),
        (
            "envoy -c /etc/ha/a.cfg",
            [STAGED],
            "envoy --mode validate --disable-hot-restart -c {staged}/etc/ha/a.cfg",
        ),
    ],
)
def test_a_copy_is_checked_where_it_is_as_good_and_there_is_one(
    command: str, inputs: list[str], check: str
) -> None:
    rule = recipes.load(command.split(maxsplit=1)[0]).check
    assert rule is not None
    assert rule.derive(command.split(), inputs) == check.split()


@pytest.mark.parametrize(
    ("more", "file"),
    [
        ("", "{staged}/etc/ha/a.cfg"),
        ("snapshot = false", STAGED),
        ('secret = ["/etc/ha/key.pem"]', STAGED),
    ],
)
def test_where_no_copy_is_kept_the_file_itself_is_checked(
    tmp_path: Path, more: str, file: str
) -> None:
    path = tmp_path / "agentd.toml"
    command = '["haproxy", "-W", "-db", "-f", "/etc/ha/a.cfg"]'
    text = f'[service.e]\nrecipe = "haproxy"\ncommand = {command}\ninputs = ["{STAGED}"]\n{more}\n'
    path.write_text(text)
    (edge,) = load(path).services
    assert edge.reload.check == Check(("haproxy", "-c", "-f", file))


@pytest.mark.parametrize(
    ("command", "check"),
    [
        (["nginx"], ["nginx", "-t", "-q"]),
        (
            ["/usr/sbin/nginx", "-p", "/srv", "-c", "n.conf", "-g", "daemon off;"],
            ["/usr/sbin/nginx", "-t", "-q", "-p", "/srv", "-c", "n.conf", "-g", "daemon off;"],
        ),
        (["nginx", "-c/a.conf", "-q"], ["nginx", "-t", "-q", "-c/a.conf"]),
        (["nginx", "-c"], ["nginx", "-t", "-q", "-c"]),
        (["nginx", "-g", "-c"], ["nginx", "-t", "-q", "-g", "-c"]),
    ],
)
def test_the_check_reads_the_same_files_as_the_command(
    command: list[str], check: list[str]
) -> None:
    rule = recipes.load("nginx").check
    assert rule is not None
    assert rule.derive(command) == check


def test_a_program_the_recipe_does_not_know_gets_no_check_but_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text('[service.web]\nrecipe = "nginx"\ncommand = ["sh", "-c", "exec nginx"]\n')
    loaded = load(path)
    assert loaded.services[0].reload.check is None
    assert loaded.services[0].included is None
    no_check, no_list = loaded.warnings
    what = "cannot be made from the command: sh is not nginx"
    assert f"service.web.reload.check: {what}" in no_check
    assert f"service.web.included: {what}; list what its files include among inputs" in no_list
    path.write_text(path.read_text() + "included = false\n")
    assert load(path).warnings == (no_check,)


def test_what_a_server_includes_is_listed_by_itself_unless_the_operator_says_how(
    tmp_path: Path,
) -> None:
    command = 'command = ["/usr/sbin/nginx", "-g", "daemon off;", "-c", "/etc/n.conf", "-q"]'
    found = service(tmp_path, command).included
    argv = ("/usr/sbin/nginx", "-T", "-q", "-g", "daemon off;", "-c", "/etc/n.conf")
    assert found == Included(argv, "^# configuration file (.+):$")
    assert service(tmp_path, command, "included = false").included is None
    own = 'included = { command = ["ls"], pattern = "^(/.*)$", timeout = "2s" }'
    assert service(tmp_path, command, own).included == Included(("ls",), "^(/.*)$", 2.0)
    with pytest.raises(ConfigErrors, match=r"has not one group; write one around what is the path"):
        service(tmp_path, command, 'included = { command = ["ls"], pattern = "^/.*$" }')


def test_an_input_may_be_what_is_included_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    text = '[service.web]\nrecipe = "nginx"\ncommand = ["nginx"]\nwatch = true\n'
    path.write_text(text + 'reload.on_failure = "restore"\n')
    assert load(path).warnings == ()


def test_what_the_operator_sets_wins(tmp_path: Path) -> None:
    spec = service(
        tmp_path,
        'command = ["nginx"]',
        'ready = { after = "2s" }',
        'stop_signal = "SIGTERM"',
        "[service.web.reload]",
        'check = ["true"]',
        'confirm = ["delivered"]',
    )
    assert spec.ready == ReadyAfter(2.0)
    assert spec.stop_signal == "TERM"
    assert spec.reload.check == Check(("true",))
    assert spec.reload.confirm == (Delivered(refused=NGINX.refused),)


def test_one_key_of_reload_leaves_the_others_to_the_recipe(tmp_path: Path) -> None:
    spec = service(tmp_path, 'command = ["nginx"]', "[service.web.reload]", 'timeout = "5s"')
    assert spec.reload.timeout == 5.0
    assert spec.reload.check == Check(("nginx", "-t", "-q"))
    assert spec.reload.confirm == (NGINX,)


def test_the_titles_of_a_recipe_are_known_to_a_confirm_written_by_hand(tmp_path: Path) -> None:
    spec = service(tmp_path, 'command = ["nginx"]', 'reload.confirm = ["workers", "delivered"]')
    assert spec.reload.confirm == (NGINX, Delivered(refused=NGINX.refused))


def test_no_evidence_may_be_demanded(tmp_path: Path) -> None:
    assert service(tmp_path, 'command = ["nginx"]', "reload.confirm = []").reload.confirm == ()
