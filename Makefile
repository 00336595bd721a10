# What people run. `make help` lists it.

PRODUCTS := .build/release
PYTHON := .build/venv/bin/python

.PHONY: help demo test build install-deps test-deps venv lint format generated check-generated example clean

help:
	@echo "make demo             install what is missing, make a GLA kernel for this machine, verify and time it"
	@echo "make test             install what is missing, run every test"
	@echo "make build            the command, as $(PRODUCTS)/sluice"
	@echo "make install-deps     what building and running need (test-deps: what the tests need too)"
	@echo "make format           format the Swift sources; make lint only checks"
	@echo "make generated        write generated/ anew; make check-generated compares"

demo: install-deps
	@scripts/demo

test: test-deps lint
	swift build -c release --build-tests
	swift test -c release --skip-build
	@$(MAKE) --no-print-directory check-generated example
	SLUICE=$(CURDIR)/$(PRODUCTS)/sluice $(PYTHON) -m pytest -q Tests/PythonTests
	@echo "make test: everything passed"

build: install-deps
	swift build -c release --product sluice

install-deps:
	@scripts/install-deps build

test-deps:
	@scripts/install-deps test

lint:
	swift format lint --strict --recursive Package.swift Sources Tests templates Examples

format:
	swift format --in-place --recursive Package.swift Sources Tests templates Examples

generated:
	swift build -c release --product sluice
	@scripts/generated write

check-generated:
	swift build -c release --product sluice
	@scripts/generated check

# A user's own package: built against this one, and its recurrence verified.
example:
	cd Examples/OwnRecurrence && swift build -c release
	cd Examples/OwnRecurrence && .build/release/own-recurrence list

clean:
	rm -rf .build Examples/OwnRecurrence/.build out
