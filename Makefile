# Each target makes what it needs. The tested versions are in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO ?= demo

.PHONY: help demo demo-dft test test-quick test-cluster test-cluster-long check bench docs wheel clean
help:
	@echo "make demo    compute the paper's four adsorption energies here (a quarter of an hour) and write the report"
	@echo "make demo-dft  ammonia on MgO by density-functional theory (GPAW, see docs/how-to/dft.md; 15 minutes)"
	@echo "make test    run every test that a laptop can"
	@echo "make test-cluster  bring up a one-machine SLURM and a database, run the cluster tests, take both down"
	@echo "make test-cluster-long  the same with every drill (half an hour or more)"
	@echo "make check   linters, types, import rules and the rules of the house"
	@echo "make bench   benchmarks, each beside its peer"
	@echo "make docs    build the documentation into site/"
	@echo "make wheel   build the wheel"
	@echo "make clean   remove what the other targets made (not your studies)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[mlip,bonding,dashboard]'
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[mlip,bonding,dashboard,dev]'
	@touch $@

$(DEMO)/epilayer.yaml: | $(VENV)/.installed
	$(BIN)/epilayer init $(DEMO)

demo: $(VENV)/.installed $(DEMO)/epilayer.yaml
	$(BIN)/epilayer -C $(DEMO) run paper_adsorption
	$(BIN)/epilayer -C $(DEMO) report

demo-dft: $(VENV)/.installed $(DEMO)/epilayer.yaml
	$(BIN)/epilayer -C $(DEMO) run ammonia_on_mgo
	$(BIN)/epilayer -C $(DEMO) query adsorption --where cathode=mgo
	@echo "published (one molecule on four layers, fixed geometry): -0.764 eV PBE + D3(0), -0.657 eV coupled clusters"

# Two files at a time, one thread each: more threads than cores only slow one another down.
test: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

test-quick: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile -m "not slow"

# Tests marked `cluster` stand in three folders; to collect all the others takes half a minute.
# Exit code 77 of start: this machine cannot run SLURM's daemons; said loudly, and no failure.
define with_cluster
	@slurm/dev/start; code=$$?; if [ $$code = 0 ]; then \
	  . .dev-cluster/env.sh; OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist=loadgroup -m $(1) tests/cluster tests/contracts tests/faults; code=$$?; \
	fi; slurm/dev/stop; \
	if [ $$code = 77 ]; then echo "SKIPPED: the cluster tests DID NOT RUN (see above)" >&2; exit 0; fi; exit $$code
endef

test-cluster: $(VENV)/.developer
	$(call with_cluster,"cluster and not slow")

test-cluster-long: $(VENV)/.developer
	$(call with_cluster,cluster)

check: $(VENV)/.developer
	$(BIN)/ruff check src tests workflows benchmarks tools docs
	$(BIN)/ruff format --check src tests workflows benchmarks tools docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/vulture
	$(BIN)/python tools/house_rules.py

bench: $(VENV)/.developer
	for benchmark in benchmarks/[!_]*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

docs: $(VENV)/.developer
	$(BIN)/sphinx-build --fail-on-warning --quiet docs site

wheel: $(VENV)/.developer
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
