# Two commands: `make quickstart` runs the main job on this machine, `make test` passes the tests.
# Each builds its own virtual environment; Python >= 3.11 and make are all they assume.
PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: quickstart operate test check clean

quickstart: .venv/quickstart.stamp
	.venv/bin/xpm-stream up configs/quickstart.yaml

# An operator's hour in minutes: drift, gates and alerts under a real Prometheus (Debian: apt install prometheus).
operate: .venv/quickstart.stamp
	.venv/bin/python -m benchmarks.operate

test: .venv/test.stamp check
	.venv/bin/python -m pytest

check: .venv/test.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy

.venv/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ..." if v < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/quickstart.stamp: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[quickstart]'
	touch $@

.venv/test.stamp: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
