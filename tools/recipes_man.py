"""Prints agentd-recipes(7) from agentd/recipes/*.toml: what each recipe says of itself and what it fills in.

Run without arguments it rewrites the page; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentd import recipes

PAGE = Path(__file__).parent.parent / "man" / "agentd-recipes.7"
HEAD = """\
.\\" Printed by tools/recipes_man.py from agentd/recipes: do not edit.
.TH AGENTD\\-RECIPES 7 2026-11-25 agentd "agentd manual"
.SH NAME
agentd\\-recipes \\- what agentd knows of common servers
.SH DESCRIPTION
.B recipe = \\(dqNAME\\(dq
in a service of
.BR agentd.toml (5)
fills in how that server is checked, reloaded, confirmed and stopped.
Every key that the service sets itself stands above the recipe's; where it sets another
.B handle
than the recipe, what belongs to the recipe's handle is left out.
Where the service has
.BR sockets ,
which agentd opens and holds, a recipe may know a better way.
A probe on a held socket counts only when the process that was just started answered it: what the old generation answers is passed over.
.PP
The check is made from the service's own command, so that both read the same configuration: the same program, the words that make it
check and leave, and those of the command's options that say which files it reads.
When the command is another program (a shell around the server, say) there is no check, and a warning says so.
The same holds for the command that names the files which the inputs include; where a recipe has none, they have to be listed among
.BR inputs .
.PP
No recipe has a
.B verify
of its own, since which answer matters is known to you alone; nor asks for
.BR reread ,
with which a reload would end unverified wherever the kernel does not tell who opens files.
.SH RECIPES
"""
TAIL = """\
.SH EXAMPLES
An nginx whose reloads are proven, not only observed.
It says its version on a private socket; what deploys writes the two files together with the others:
.PP
.EX
# /etc/nginx/conf.d/version.conf
server {
    listen unix:/run/nginx\\-version.sock;
    location = /version { return 200 "r42"; }
}

# /etc/nginx/release.json
{"version": "r42"}
.EE
.PP
.nf
[service.front]
command = ["nginx", "\\-g", "daemon off;", "\\-c", "/etc/nginx/nginx.conf"]
recipe = "nginx"
inputs = ["/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/release.json"]
version = { file = "/etc/nginx/release.json", path = "version" }
reload.confirm = [{ http = "http+unix://%2Frun%2Fnginx\\-version.sock/version", expect = "{version}" }, "workers"]
.fi
.PP
A Prometheus, which tells the result of its last reload and the moment of the last good one:
.PP
.nf
[service.prometheus]
command = ["prometheus", "\\-\\-config.file=/etc/prometheus/prometheus.yml"]
inputs = ["/etc/prometheus/prometheus.yml", "/etc/prometheus/rules/*.yml"]
ready = { http = "http://127.0.0.1:9090/\\-/ready" }

[service.prometheus.reload]
signal_handled = true
check = ["promtool", "check", "config", "/etc/prometheus/prometheus.yml"]

[[service.prometheus.reload.confirm]]
http = "http://127.0.0.1:9090/metrics"
metric = "prometheus_config_last_reload_successful"
expect = "1"
changes = "prometheus_config_last_reload_success_timestamp_seconds"
.fi
.PP
An HAProxy 2.7 or newer whose reloads are proven: its master answers when it is done, also why it is not.
.PP
.nf
[service.proxy]
command = ["haproxy", "\\-W", "\\-db", "\\-S", "/run/ha.sock", "\\-f", "/etc/haproxy/haproxy.cfg"]
recipe = "haproxy"
inputs = ["/etc/haproxy/haproxy.cfg"]

[service.proxy.reload]
handle = "exec"
command = ["sh", "\\-c", "echo reload | socat \\-t60 /run/ha.sock \\- | tee /dev/stderr | grep \\-q ^Success=1"]
confirm = ["reply"]
.fi
.SH SEE ALSO
.BR agentd (8),
.BR agentd.toml (5),
.BR reloadctl (1)
"""


def page() -> str:
    """The whole page in roff."""
    lines = [line for name in recipes.names() for line in section(name)]
    return HEAD + "".join(f"{line}\n" for line in lines) + TAIL


def section(name: str) -> Iterator[str]:
    """One recipe."""
    recipe = recipes.load(name)
    yield f".SS {roff(name)}"
    yield from prose(Path(recipes.__file__).with_name(f"{name}.toml"))
    yield ".PP"
    yield ".nf"
    yield from (f"{roff(key)} = {roff(toml_of(value))}" for key, value in flat(recipe.service))
    yield ".fi"
    yield ".PP"
    yield f"Seen from version {roff(recipe.since)} on."
    if recipe.example:
        yield ".PP"
        yield "For example:"
        yield ".PP"
        yield ".nf"
        yield from map(roff, recipe.example.rstrip().splitlines())
        yield ".fi"
    if recipe.held != recipe.service:
        yield ".PP"
        yield "With sockets that agentd holds:"
        yield ".PP"
        yield ".nf"
        yield from (f"{roff(key)} = {roff(toml_of(value))}" for key, value in flat(recipe.held))
        yield ".fi"
    if recipe.check is not None:
        yield ".PP"
        yield from made("Check", recipe.check)
    if recipe.included is not None:
        yield ".PP"
        yield from made("Included files", recipe.included)
        yield f"A line of its output that matches this names one: \\fB{roff(recipe.included.pattern)}\\fR"
    if recipe.command is not None:
        yield ".PP"
        yield from made("Reload", recipe.command)
    if recipe.hints.refused is not None:
        yield ".PP"
        yield "A line of its output that matches this is a refusal:"
        yield f"\\fB{roff(recipe.hints.refused)}\\fR"
    if recipe.hints.synchronous:
        yield ".PP"
        yield "Its yes to a command or a request that asks for a reload (evidence"
        yield ".BR reply )"
        yield "is proof."


def made(what: str, rule: recipes.CommandRule) -> Iterator[str]:
    """How it is made from the command."""
    words, kept = " ".join(rule.insert), " ".join(rule.keep + rule.flags + rule.values)
    program = (
        f"\\fB{rule.other}\\fR, which lies beside the program," if rule.other else "the program"
    )
    yield f"{what}: {program} with \\fB{roff(words)}\\fR"
    if rule.whole:
        yield "and every word of the command."
    elif kept:
        what = "the arguments of the command's" if rule.values else "the command's"
        yield f"and {what} \\fB{roff(kept)}\\fR."
    if rule.staged:
        yield f"An input that \\fB{roff(' '.join(rule.staged))}\\fR names is read from a private copy (\\fB{{staged}}\\fR)."
    yield f"Known for: {roff(', '.join(rule.programs))}."


def prose(path: Path) -> Iterator[str]:
    """The comment that a recipe begins with; an empty line of it begins a paragraph."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        text = line.removeprefix("#").strip()
        yield roff(text) if text else ".PP"


def flat(found: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of tables as dotted keys."""
    for key, value in found.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def toml_of(value: object) -> str:
    """A value as it would be written."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml_of(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def roff(text: str) -> str:
    """Plain text for roff: what it would read as its own is escaped."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
