# What people run. `make help` lists it.

SLUICE := .build/release/sluice
PYTHON := .build/venv/bin/python
SWIFT_FILES := Package.swift Plugins Sources Tests templates Examples

.PHONY: help demo test build install-deps test-deps swift-test example python-test lint format generated clean

help:
	@echo "make demo          install what is missing, make a GLA kernel for this machine, verify and time it"
	@echo "make test          install what is missing, run every test"
	@echo "make build         the command, as $(SLUICE)"
	@echo "make install-deps  what building and running need; make test-deps: what the tests need too"
	@echo "make format        format the Swift sources; make lint only checks them"
	@echo "make generated     write generated/ anew"

demo: install-deps
	@scripts/demo

test: test-deps lint swift-test example python-test
	@echo "make test: everything passed"

build: install-deps
	swift build -c release --product sluice

install-deps:
	@scripts/install-deps build

test-deps:
	@scripts/install-deps test

# Derivations, emission, the shelf of generated kernels, verification with its planted faults, ...
swift-test: test-deps
	swift build -c release --build-tests
	PATH="$(CURDIR)/.build/venv/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/.build/venv" scripts/swift-tests
	@scripts/verify-generated

# Users' own packages: built against this one, a recurrence verified. In this one's scratch folder
# what all need is built once.
example: install-deps
	for package in OwnRecurrence LanguageModel; do \
	  swift build -c release --package-path Examples/$$package --scratch-path .build && \
	  rm -f .build/release.yaml || exit 1; done  # so that the next build plans anew, for its own targets
	.build/release/own verify rglru --key-dim 64 --value-dim 64
	.build/release/layers verify gla-layer --key-dim 32 --value-dim 64

python-test: test-deps build
	SLUICE=$(CURDIR)/$(SLUICE) $(PYTHON) -m pytest -q Tests/PythonTests

lint:
	swift format lint --strict --recursive $(SWIFT_FILES)

format:
	swift format --in-place --recursive $(SWIFT_FILES)

generated:
	SLUICE_UPDATE_GENERATED=1 swift test -c release --filter GoldenTests

clean:
	rm -rf .build Examples/OwnRecurrence/.build out
