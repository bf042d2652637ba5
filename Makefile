# Holdfast: every task of the house. `make` alone lists them.
# Each target is a few lines over a script in scripts/, so that a task can be
# read, and run by hand, without knowing make.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help setup build demo test check bench fuzz deb deb-test clean

help: ## List these targets
	@echo 'Holdfast: a gateway proves its TPM and its state, and is granted an LDevID.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'New here? `make demo`, then `make test`, then README.md.'

setup: ## Install the Debian packages that are missing (quick when none is)
	@scripts/setup.sh

build: setup ## Build the three programs, dev profile, as demo and test use them
	@scripts/build.sh

demo: build ## The whole story on a software TPM: enrol, use, lose; results in target/demo
	@scripts/demo.sh

test: ## Unit, property, compile-fail and live-TPM tests; one closing line of totals
	@scripts/setup.sh --interop
	@scripts/build.sh
	@scripts/test.sh

check: setup ## fmt, clippy, rustdoc, licences, bans, sources, advisories
	@scripts/check.sh

bench: setup ## Ratios against their floors; target/bench/summary.json
	@scripts/bench.sh

fuzz: setup ## Fuzz every parser for FUZZ_SECONDS each (default 30)
	@scripts/fuzz.sh

deb: ## Debian packages of attester and verifier, in target/debian
	@scripts/setup.sh --packaging
	@scripts/deb.sh

deb-test: deb ## Install them in a clean Debian (Docker) and follow README's five commands
	@scripts/deb-test.sh

clean: ## Remove what was built (target/)
	@cargo clean
