# make run                 an environment in .venv, one framework, and the main job
# make run BACKEND=torch   the same with another framework
# make test                an environment with all three frameworks, and every test
# make check               ruff and mypy, after make test
PYTHON ?= python3
BACKEND ?= paddle
MODEL ?= asymmnet_large

.PHONY: run test check
run: .venv
	.venv/bin/pip install --quiet --editable '.[$(BACKEND)]'
	.venv/bin/python -m repro.run --backend $(BACKEND) --model $(MODEL)

test: .venv
	.venv/bin/pip install --quiet --editable '.[test]'
	.venv/bin/python -m pytest --numprocesses auto --dist worksteal

check:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

.venv:
	$(PYTHON) -m venv .venv
