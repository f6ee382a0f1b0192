# The commands of this repository. `make` lists them. CI runs `make test` and `make lint`, nothing else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Where scripts/setup.sh installs tools; they take precedence.
TOOLS := $(or $(FLASHSALE_TOOLS),$(or $(FLASHSALE_HOME),$(CURDIR)/.flashsale)/tools)
export PATH := $(TOOLS)/bin:$(PATH)

# Builds need no database: the queries' types are in .sqlx/. Only scripts/sqlx.sh uses a real one.
export SQLX_OFFLINE := true

# One profile for everything but benchmarks, so that a fresh machine compiles the dependencies once.
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
# The programs of a sale: a first `make run` does not wait for those of the faults and benchmarks.
SALE_BINS := flashsale flashsale-auditor flashsale-serve flashsale-simulate smtp-sink stripe-standin

# make run EXPORT=shop.csv QUANTITY=50 CURRENCY=EUR BUYERS=5000 RATE=200 SEED=7
SALE_ARGS = $(if $(EXPORT),--export '$(EXPORT)') $(if $(QUANTITY),--quantity '$(QUANTITY)') \
	$(if $(CURRENCY),--currency '$(CURRENCY)')
RUN_ARGS = $(SALE_ARGS) $(if $(BUYERS),--buyers '$(BUYERS)') \
	$(if $(RATE),--rate '$(RATE)') $(if $(SEED),--seed '$(SEED)')

# make load PEAK=100 FACTOR=3, or make load SCHEDULE=ramp:10s:0-100,plateau:20s:300 MIX=buy=90,bot=10 ADDR=http://127.0.0.1:50051
LOAD_ARGS = $(if $(PEAK),--peak '$(PEAK)') $(if $(FACTOR),--factor '$(FACTOR)') \
	$(if $(SCHEDULE),--schedule '$(SCHEDULE)') $(if $(MIX),--mix '$(MIX)') $(if $(ADDR),--addr '$(ADDR)') \
	$(if $(EXPORT),--export '$(EXPORT)') $(if $(QUANTITY),--quantity '$(QUANTITY)') \
	$(if $(CURRENCY),--currency '$(CURRENCY)') $(if $(SEED),--seed '$(SEED)') \
	$(if $(THRESHOLD),--threshold '$(THRESHOLD)')

# make bench ROUNDS=9 SECONDS_EACH=5
BENCH_ARGS = $(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(SECONDS_EACH),--seconds '$(SECONDS_EACH)')

NEXTEST_PROFILE ?= default
# Tests wait for servers and processes for more than half of their time.
TEST_THREADS ?= $(shell expr $$(nproc) \* 3 / 2)

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing: Redis, NATS, Postgres (the other commands do this too)
	@scripts/setup.sh run

.PHONY: build
build: setup ## Compile all programs
	cargo build --workspace --bins

.PHONY: build-sale
build-sale: setup
	cargo build --workspace $(addprefix --bin ,$(SALE_BINS))

.PHONY: run
run: build-sale ## Run one whole flash sale and audit it (EXPORT= QUANTITY= CURRENCY= BUYERS= RATE= SEED=)
	$(BIN)/flashsale run $(RUN_ARGS)

.PHONY: load
load: build-sale ## Load the platform at three times the peak, with thresholds and a report (PEAK= FACTOR= SCHEDULE= MIX= THRESHOLD= ADDR= SEED=)
	$(BIN)/flashsale load $(LOAD_ARGS)

.PHONY: up
up: setup-up build-sale ## Keep the platform running with an open sale, until Ctrl-C (EXPORT= QUANTITY= CURRENCY=)
	$(BIN)/flashsale up $(SALE_ARGS)

.PHONY: setup-up
setup-up:
	@scripts/setup.sh up

.PHONY: test
test: setup-test build ## Run every test, against real servers (TEST= picks some by name)
	@# Examples in the documentation, if there are any; the test runner does not know them.
	@if grep -rqE '^ *//[/!] *```' --include='*.rs' libs services cli tools; then \
		cargo test --workspace --doc; fi
	$(BIN)/flashsale-sandbox exec -- cargo nextest run --workspace --profile $(NEXTEST_PROFILE) --test-threads $(TEST_THREADS) $(TEST)

.PHONY: setup-test
setup-test:
	@scripts/setup.sh test

.PHONY: lint
lint: lint-scripts lint-proto lint-clients lint-k8s lint-rust lint-deps lint-sql ## Run every check that is not a test
	@echo "lint: clean"

.PHONY: setup-lint
setup-lint:
	@scripts/setup.sh lint

.PHONY: lint-scripts
lint-scripts: setup-lint
	shellcheck scripts/*.sh .ci/run

.PHONY: lint-proto
lint-proto: setup-lint
	buf lint
	buf format --diff --exit-code --exclude-path proto/google
	@# Against the committed image, not a git branch: a clone need not have the branch.
	buf breaking --against proto/baseline.binpb

.PHONY: lint-clients
lint-clients: setup-lint
	scripts/clients.sh check

.PHONY: lint-k8s
lint-k8s: setup-lint
	kubectl kustomize k8s/base | python3 scripts/check_k8s.py $(TOOLS)

.PHONY: lint-rust
lint-rust: setup-lint
	cargo fmt --all --check
	cargo metadata --locked --format-version 1 >/dev/null
	cargo clippy --workspace --all-targets -- -D warnings
	@# As in a release, where no step can be made to fail: only libs/failpoint knows the difference.
	cargo check --workspace --bins --config 'profile.dev.package.flashsale-failpoint.debug-assertions=false'

.PHONY: lint-deps
lint-deps: setup-lint
	cargo deny --log-level error check bans licenses sources

.PHONY: advisories
advisories: setup-lint ## Look for security advisories about what we depend on (needs a network)
	cargo deny check advisories

.PHONY: lint-sql
lint-sql: setup-lint
	@scripts/sqlx.sh check

.PHONY: fmt
fmt: setup-lint ## Format the Rust and the protos
	cargo fmt --all
	buf format --write --exclude-path proto/google

# make faults SUITE=inventory SEED=7 ONLY=failover,clocks
FAULTS_ARGS = $(if $(SEED),--seed '$(SEED)') $(if $(ONLY),--only '$(ONLY)') $(if $(RUNS),--runs '$(RUNS)')

.PHONY: faults
faults: setup-test ## Plant faults in a copy of the tree and check that they are found; fail stores and services under a sale (SUITE=planted, mutations, inventory, orders, payments or schedule; all of them without. SEED= ONLY= RUNS=)
	@failed=0; for suite in $(or $(SUITE),planted mutations inventory orders payments schedule); do case $$suite in \
		planted | mutations) scripts/faults.sh $$suite || failed=1 ;; \
		inventory | orders | payments | schedule) cargo build --workspace --bins && $(BIN)/flashsale-faults --suite $$suite $(FAULTS_ARGS) || failed=1 ;; \
		*) echo "faults: there is no suite '$$suite'; there are: planted, mutations, inventory, orders, payments, schedule" >&2; exit 2 ;; \
	esac; done; exit $$failed

.PHONY: bench
bench: setup ## Measure what the calls cost on this machine, as ratios within one run (ROUNDS= SECONDS_EACH=; builds for release)
	cargo build --release --bins $(addprefix --package flashsale-,bench serve stripe-standin)
	$(or $(CARGO_TARGET_DIR),target)/release/flashsale-bench $(BENCH_ARGS)

.PHONY: mutants
mutants: setup-test build ## Mutate the code at random places and check that a test fails (PACKAGE=, slow)
	@command -v cargo-mutants >/dev/null || { \
		echo "mutants: cargo-mutants is missing; install it: cargo install cargo-mutants --locked" >&2; exit 1; }
	$(BIN)/flashsale-sandbox exec -- cargo mutants --test-tool nextest $(if $(PACKAGE),--package '$(PACKAGE)',--workspace)

.PHONY: proto-baseline
proto-baseline: setup-lint ## Accept the present protos as the contract that must not be broken
	buf build --exclude-source-info --output proto/baseline.binpb

.PHONY: grants
grants: ## Write k8s/stores/ from its list of grants, after a change of that
	cargo build --workspace --bin flashsale-sandbox
	$(BIN)/flashsale-sandbox grants

.PHONY: sqlx-prepare
sqlx-prepare: setup ## Regenerate .sqlx/, after a change of a query or a migration
	@scripts/sqlx.sh prepare

.PHONY: clean
clean: ## Remove build output and the data of runs (the downloaded tools stay)
	cargo clean
	@home='$(or $(FLASHSALE_HOME),.flashsale)'; \
		rm -rf "$$home"/{runs,faults,go,java} "$$home"/{sqlx,clients,localstripe}.* "$$home"/{report,faults,load,bench}.json "$$home"/load.html
	@rm -rf clients/*/{gen,dist,__pycache__}
