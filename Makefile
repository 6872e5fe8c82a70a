# `make demo` and `make test` need git, make and Python 3.11 or newer; they bring uv and the environment themselves.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# each stage starts a Python; without bytecode that takes twice as long
unexport PYTHONDONTWRITEBYTECODE
RUN := $(UV) run
# stages that run at once; on two cores two of one thread each are done sooner than one after the other
J ?= 2

.PHONY: help demo reproduce test lab check lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        rerun SAM-Deblur's ablation on real photographs; the page is results/demo/report.html"
	@echo "make reproduce   reprint SPT's rows from official weights and tune SPT; results/spt-small/report.html"
	@echo "make suite/NAME  run suites/NAME, e.g. suite/spt-ablations-small; results/NAME/report.html"
	@echo "                 two stages run at once; J=4 runs four, J=1 one after the other: make demo J=4"
	@echo "make test        run the tests"
	@echo "make lab         open the notebooks in JupyterLab"
	@echo "make check       lint, types, locks"
	@echo "make lock        renew requirements*.txt"

.uv/bin/uv:
	@echo "bringing uv into .uv/"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv .uv || { echo "install Python's venv module (Debian: apt-get install python3-venv), or uv, then try again"; exit 1; }
	@.uv/bin/pip install --quiet --disable-pip-version-check uv

# DVC's own words for it tell nobody what to do
GIT := test -e .git || { echo "$(CURDIR) is no git checkout (a ZIP has none): run \`git init\` here once, or clone the repository; DVC needs it" >&2; exit 1; }

demo: | $(UV)
	@$(GIT)
	@$(RUN) benchlib run demo -j $(J)

reproduce: suite/spt-small

suite/%: | $(UV)
	@$(GIT)
	@$(RUN) benchlib run $* -j $(J)

test: | $(UV)
	@$(RUN) --extra dev pytest -n logical --maxprocesses 4 --dist loadfile

lab: | $(UV)
	@$(RUN) --extra lab jupyter lab notebooks

check: | $(UV)
	@$(RUN) --extra dev ruff check .
	@$(RUN) --extra dev ruff format --check .
	@$(RUN) --extra dev mypy

LOCK := pip compile --universal --python-version 3.11 --no-annotate --no-header --quiet
lock: | $(UV)
	@$(UV) $(LOCK) requirements.in -o requirements.txt
	@$(UV) $(LOCK) requirements-features.in -c requirements.txt -o requirements-features.txt
	@$(UV) $(LOCK) requirements-dev.in -c requirements.txt -o requirements-dev.txt
	@$(UV) $(LOCK) requirements-lab.in -c requirements.txt -o requirements-lab.txt
	@$(UV) $(LOCK) requirements-extra-arches.in -c requirements.txt -o requirements-extra-arches.txt
	@$(UV) $(LOCK) requirements-slurm.in -c requirements.txt -o requirements-slurm.txt

clean:
	rm -rf work results/*/notebooks
