# Each target does all of its own set-up. ARGS reaches the command behind it: make bench ARGS="--quick"
SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)
# Outside the checkout, so that every checkout shares it.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/quarry-target/shared

.PHONY: help demo run test test-api test-guest bench lint deb setup

help:
	@echo "make demo    the main job from end to end: pool, volume, export, copy, kill -9, proof"
	@echo "make run     a node in the foreground"
	@echo "make test    every test"
	@echo "make test-api    schemathesis over the REST API of a node"
	@echo "make test-guest  Linux's own initiators in a guest against quarryd"
	@echo "make bench   quarryd beside other servers: NBD, iSCSI, NVMe/TCP"
	@echo "make lint    format, clippy, dependency arrows, house rules"
	@echo "make deb     the Debian package"
	@echo "make setup   the Debian packages that the others need"

setup:
	@scripts/setup.sh

demo: setup
	@cargo xtask demo $(ARGS)

run: setup
	@cargo xtask run $(ARGS)

test: setup
	@scripts/setup-prometheus.sh
	@scripts/setup-s3.sh
	@scripts/test.sh $(ARGS)

test-api: setup
	@scripts/setup-schemathesis.sh
	@PATH="$(HOME)/.cache/quarry-tools/schemathesis/bin:$$PATH" cargo xtask conformance api $(ARGS)

test-guest: setup
	@scripts/setup-guest.sh
	@cargo xtask guest $(ARGS)

bench: setup
	@scripts/setup-bench.sh
	@cargo xtask bench $(ARGS)

lint: setup
	@scripts/lint.sh

deb: setup
	@scripts/deb.sh
