# make run    sets up what is missing and starts the service with a small fleet of its own
# make test   sets up what is missing and runs every check and test
# make scale  10,000 edges and 1,000,000 tasks on a clock of its own; figures in docs/scale.md
# make bench  sets up what is missing, measures everything against its floor and writes docs/performance.md
# make prove  sets up what is missing, tries for ten minutes to catch it lying, and writes docs/proof.md; HOW="--rounds 1 --seed 7" asks for less
PORT ?= 8080
RUN_DIR ?= .run
VENV ?= .venv
export VENV

.PHONY: run test lint types layers soak bench prove clean

run:
	@scripts/setup run
	@exec $(VENV)/bin/freshline demo --port "$(PORT)" --run-dir "$(RUN_DIR)"

test: setup-test lint types layers
	$(VENV)/bin/pytest -n 3 --dist loadfile

.PHONY: setup-test
setup-test:
	@scripts/setup test

lint:
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types:
	$(VENV)/bin/mypy

layers:
	$(VENV)/bin/lint-imports

soak: setup-test
	$(VENV)/bin/pytest tests/soak -o addopts=-s -o timeout=3600

.PHONY: scale
scale: setup-test
	$(VENV)/bin/python -m tests.scale

bench:
	@scripts/setup bench
	$(VENV)/bin/python -m bench $(CASE)

prove: setup-test
	@scripts/setup prove
	$(VENV)/bin/python -m tests.proof $(HOW)

clean:
	rm -rf "$(RUN_DIR)" "$(VENV)" .bench
