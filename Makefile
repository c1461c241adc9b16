# Everything here starts from a checkout in which nothing was ever built.
# Needs: Rust 1.88 or newer, Python 3.10 or newer, a C compiler, and access to crates.io and PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CARGO ?= cargo
TEST_RUST = PYO3_PYTHON=$(CURDIR)/$(BIN)/python $(CARGO) test --release --workspace --quiet --config tests/unoptimised.toml
# Tests wait more than they work.
JOBS ?= 2
SEED ?= 0
ATTEMPTS ?= 2000
SERVICES ?= embedded

.PHONY: help build demo test test-rust test-python rust-programs test-services test-with-services lint format bench chaos soak simulate clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

build: $(VENV)/.tools ## Build the extension and the command into .venv (release)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) PIP_QUIET=1 $(BIN)/maturin develop --release --quiet

demo: build ## Run the audio pipeline on embedded services
	$(BIN)/perago demo

test: test-rust test-python ## Run every test that needs no real service

test-rust: build
	$(TEST_RUST)

test-python: build rust-programs
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

rust-programs: build
	cd tests && ../$(BIN)/python -m support.rust

test-services: build ## Run the end-to-end suites against a real Conductor and a real VictoriaMetrics
	$(BIN)/python tests/services/run.py -- $(MAKE) --no-print-directory test-with-services

test-with-services: rust-programs
	$(BIN)/python -m pytest -m services
	PERAGO_RUN_VICTORIA_METRICS_TEST=1 \
	OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=$$PERAGO_TEST_VICTORIA_METRICS_URL/opentelemetry/v1/metrics \
	$(BIN)/python -m pytest -q tests/integration/test_victoria_metrics.py
	$(TEST_RUST) --test real_server -- --ignored

lint: build ## Check formatting, lints, types, stubs, licences and structure
	$(CARGO) fmt --all --check
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python $(CARGO) clippy --release --workspace --all-targets --quiet -- -D warnings
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --quiet
	if command -v cargo-deny >/dev/null; then cargo-deny --log-level error check bans licenses sources; fi
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest perago._native --allowlist tests/stubtest-allowlist.txt
	$(BIN)/python tests/structure.py

format: $(VENV)/.tools ## Format all code
	$(CARGO) fmt --all
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

bench: build ## Measure; each script's header says how to measure a peer beside it
	$(BIN)/python bench/run.py

chaos: build ## Break everything at once and keep the books; SEED=0 ATTEMPTS=2000 SERVICES=real
	$(BIN)/python bench/chaos.py --seed $(SEED) --attempts $(ATTEMPTS) $(if $(filter real,$(SERVICES)),--real)

soak: build ## Run two workers for HOURS (2) on embedded services and look for growth
	$(BIN)/python bench/soak.py --hours $(or $(HOURS),2)

simulate: ## Simulate HOURS (24) of a worker with SLOTS (100) from SEED; RESTARTS=0 keeps one supervisor alive
	SIMULATION_HOURS=$(or $(HOURS),24) SIMULATION_SLOTS=$(or $(SLOTS),100) SIMULATION_SEED=$(SEED) \
	SIMULATION_RESTARTS=$(or $(RESTARTS),1) \
	$(CARGO) test --release -p perago-worker --quiet --lib simulation::as_long_as_asked -- --exact --ignored --nocapture

clean: ## Remove everything that was built
	rm -rf target $(VENV) python/perago/_native*.so
