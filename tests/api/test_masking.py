"""What is hidden, what is not, and that nothing planted under a secret's name gets through, whatever the format."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.api.masking import LONGEST, MASK, Line, masked

CANARY = "Zq7canaryZq7"


def shown(text: str) -> str:
    return "\n".join(line.text for line in masked(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password: x", f"password: {MASK}"),
        ("  DB_PASSWORD=x # old: y", f"  DB_PASSWORD={MASK}"),
        ('api_key = "x", user = "y"', f'api_key = {MASK}, user = "y"'),
        ('{ api_key = "x", user = "y" }', f'{{ api_key = {MASK}, user = "y" }}'),
        ('{"password": "x", "port": 80}', f'{{"password": {MASK}, "port": 80}}'),
        ('{"a": {"token": "x"}, "b": 1}', f'{{"a": {{"token": {MASK}}}, "b": 1}}'),
        ("proxy_set_header Authorization x;", f"proxy_set_header Authorization {MASK}"),
        ("requirepass x", f"requirepass {MASK}"),
        ("bindpw x", f"bindpw {MASK}"),
        ("rootpw\t{SSHA}x", f"rootpw\t{MASK}"),
        ("olcRoot: {SSHA512}x", f"olcRoot: {{SSHA512}}{MASK}"),
        ("PresharedKey = x", f"PresharedKey = {MASK}"),
        ("AccountKey=x;Suffix=y", f"AccountKey={MASK}"),
        ("dsn: u:x@tcp(127.0.0.1:3306)/db", f"dsn: u:{MASK}@tcp(127.0.0.1:3306)/db"),
        ("stats auth admin:x", f"stats auth admin:{MASK}"),
        ("    user admin insecure-password x", f"    user admin insecure-password {MASK}"),
        ("admin:$apr1$a$b", f"admin:{MASK}"),
        ("db = postgres://u:p@h:5/d", f"db = postgres://{MASK}@h:5/d"),
        ("url = https://ghtoken@github.com/x", f"url = https://{MASK}@github.com/x"),
        ("curl -H 'Authorization: Bearer x'", f"curl -H 'Authorization: {MASK}"),
        ("# the password is x", f"# the password {MASK}"),
        ('<user password="x"/>', f"<user password={MASK}"),
        ("<password>x</password>", f"<password>{MASK}"),
        ("<p name='secret' value='x'/>", f"<p name='secret' {MASK}"),
        ("cmd = ['--token', 'x']", f"cmd = ['--token', {MASK}]"),
        ("proxy_pass_token x;", f"proxy_pass_token {MASK}"),
        ("password+=x", f"password+={MASK}"),
        ('ENV["SECRET"] = "x";', f'ENV["SECRET"] = {MASK};'),
        ("key = sk-0123456789abcdef", f"key = {MASK}"),
        ("a: 1\npassword:\nb: 2", "a: 1\npassword:\nb: 2"),
        ("secret: |\n  x\n\n  y\nb: 2", f"secret: {MASK}\n  {MASK}\n\n  {MASK}\nb: 2"),
        ("tokens:\n- x\n- y\nb: 2", f"tokens:\n{MASK}\n{MASK}\nb: 2"),
        ("- password: x\n  user: y", f"- password: {MASK}\n  user: y"),
        ("password = x\n  more\nb", f"password = {MASK}\n  {MASK}\nb"),
        ("P=1\nPASS='a\nx\nb'\nb=2", f"P=1\nPASS={MASK}\n{MASK}\n{MASK}\nb=2"),
        ('password = """\nx\n"""\nb = 2', f"password = {MASK}\n{MASK}\n{MASK}\nb = 2"),
        ("token = <<EOF\nx\nEOF\nb = 2", f"token = {MASK}\n{MASK}\n{MASK}\nb = 2"),
        ("passwords = [\n'a]',\n'x',\n]\nb", f"passwords = {MASK}\n{MASK}\n{MASK}\n{MASK}\nb"),
        ("export TOKEN=x \\\ny\nb", f"export TOKEN={MASK}\n{MASK}\nb"),
        ("- name: API_KEY\n  value: x\n- name: B\n  value: c",
         f"- name: API_KEY\n  value: {MASK}\n- name: B\n  value: c"),
        ('{"value": "x", "name": "API_KEY"}', f'{{"value": {MASK}, "name": "API_KEY"}}'),
        ("<password>\nx\n</password>\nb", f"<password>\n{MASK}\n{MASK}\nb"),
    ],
)  # fmt: skip
def test_values_are_hidden(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "server_tokens off;",
        "max_tokens: 4096",
        '  "max_tokens": 4096,',
        "proxy_pass http://backend:8080/x;",
        "fastcgi_pass unix:/run/php.sock;",
        "proxy_cache_bypass $cookie;",
        "tokenizer: bert",
        "upwind: east",
        "proxy_cache_key $uri;",
        "include /etc/secrets/web.conf;",
        "ssl_certificate_key /etc/web/key.pem;",
        "location /token {\n  root /srv;\n}",
        'auth_basic "Restricted";',
        "listen 127.0.0.1:8080;",
        "http://host:80/path?x=y",
        "worker_processes 4;",
        "",
        "\n\n",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert shown(text) == text.removesuffix("\n")


def test_pem_blocks() -> None:
    block = "-----BEGIN PRIVATE KEY-----\nMIIx\nMIIy\n-----END PRIVATE KEY-----"
    assert shown(f"a\n{block}\nb") == f"a\n{MASK}\n{MASK}\n{MASK}\n{MASK}\nb"
    assert shown(f"key: |\n  {block}").count(MASK) == 4
    assert shown(json.dumps({"a": block, "b": 1})) == f'{{"a": "{MASK}'
    assert "MIIy" not in shown(block.replace("-----END PRIVATE KEY-----", "")), "it never ends"


def test_lines_are_the_same_when_what_they_hide_is() -> None:
    one, two = masked("password: a\n")[0], masked("password: b\n")[0]
    assert one.text == two.text
    assert one != two
    assert one == masked("password: a\n")[0]
    assert masked("a")[0] == Line("a", (), newline=False) != masked("a\n")[0]


def test_a_long_line_is_hidden_whole_and_nothing_takes_long() -> None:
    assert shown("x" * (LONGEST + 1)) == MASK
    began = time.monotonic()
    for unit in (
        "password",
        "a",
        "://",
        "://a:",
        '"',
        "[",
        "-----BEGIN ",
        "$1$",
        "auth ",
        "eyJ",
        "=secret",
    ):
        masked("\n".join([(unit * LONGEST)[:LONGEST]] * 20))
    assert time.monotonic() - began < 20, "quadratic in the length of a line"


NAMES = st.sampled_from(
    ["password", "DB_PASSWORD", "passwd", "clientSecret", "secret_key_base", "token", "auth-token",
     "API_KEY", "apikey", "api-key", "private_key", "aws.credentials", "Authorization", "db_pass"]
)  # fmt: skip
BARE = st.text("abcXYZ019._-+/=", min_size=0, max_size=6)
"""Around the canary."""
ODD = st.text("ab \"'\\{}[](),;:#=|<>&%$!?*~`\t", min_size=0, max_size=6)


@st.composite
def bare_values(draw: st.DrawFn) -> str:
    return draw(BARE) + CANARY + draw(BARE)


@st.composite
def odd_values(draw: st.DrawFn) -> str:
    """Quotes, brackets and spaces: as a value that a format has to quote."""
    return draw(ODD) + CANARY + draw(ODD) + draw(st.sampled_from(["", CANARY]))


LINES = st.sampled_from(
    [
        "{k}={v}", "{k} = {v}", "{k}: {v}", "{k} {v};", "--{k}={v}", "export {k}={v}", "# {k}: {v}",
        "<{k}>{v}</{k}>", "- {k}={v}", "- {k}: {v}", "set {k} {v}", "http://h/x?{k}={v}&y=1",
        "- name: {k}\n  value: {v}", "value: {v}\nname: {k}", "{k}:\n  - {v}\n  - {v}", "{k}:\n- {v}",
        "{k}:\n  user: {v}\n  nested:\n    deep: {v}", "{k} =\n  {v}", "{k}: |\n  {v}\n\n  {v}",
        "{k}: >-\n    {v}", "<{k}>\n{v}\n</{k}>", "{k} = a \\\n{v} \\\n{v}", "{k} = <<EOT\n{v}\n{v}\nEOT",
        "url: amqp://{k}:{v}@host:5/v", "x: redis://:{v}@h", "y: Bearer {v}", "machine h login u password {v}",
    ]
)  # fmt: skip


@given(NAMES, bare_values(), LINES, st.sampled_from(["", "  ", "\t", "\r"]))
def test_a_canary_never_gets_through_in_lines(name: str, value: str, form: str, pad: str) -> None:
    end = "\r\n" if pad == "\r" else "\n"
    lines = form.format(k=name, v=value).split("\n")
    text = end.join(["before: 1", *((pad.strip("\r") + line) for line in lines), "after: 2", ""])
    assert CANARY not in shown(text), text


@given(NAMES, odd_values(), st.integers(0, 3), st.booleans(), st.booleans())
def test_a_canary_never_gets_through_in_json(
    name: str, value: str, indent: int, listed: object, last: object
) -> None:
    secret = {name: [value, {"x": value}] if listed else value}
    document = {"a": 1, **secret} if last else {**secret, "a": 1, "b": {**secret, "c": [2]}}
    text = json.dumps(document, indent=indent or None, ensure_ascii=False)
    assert CANARY not in shown(text), text
    named = [{"name": name, "value": value}, {"value": value, "name": name}]
    text = json.dumps(named, indent=indent or None, ensure_ascii=False)
    assert CANARY not in shown(text), text


QUOTES = st.sampled_from(["'", '"', '"""', "'''"])


@given(NAMES, odd_values(), QUOTES, st.sampled_from([" = ", ": ", "=", " "]), st.booleans())
def test_a_canary_never_gets_through_in_quotes(
    name: str, value: str, quote: str, separator: str, spread: object
) -> None:
    value = value.replace("\\", "\\\\").replace(
        quote[0], f"\\{quote[0]}" if quote[0] == '"' else ""
    )
    if spread:
        value = value.replace(" ", "\n")
    text = f"before: 1\n{name}{separator}{quote}{value}{quote}\nafter: 2\n"
    assert CANARY not in shown(text), text


@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_text_can_be_masked_and_keeps_its_lines(parts: list[str]) -> None:
    text = "".join(parts)
    lines = masked(text)
    assert len(lines) == text.count("\n") + (not text.endswith("\n") and bool(text))
    for line, raw in zip(lines, text.split("\n"), strict=False):
        if not line.hidden:
            assert line.text == raw
    assert masked(text) == lines
