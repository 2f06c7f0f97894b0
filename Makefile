# Every verb has its help line after "##". Builds write to bin/ only.

SHELL    := /bin/bash -o pipefail
GO       ?= go
# Packages that need neither root nor a kernel of their own.
PURE     := ./proxy/... ./controlplane/... ./node/xds/... ./api/... ./test/peer/... ./test/tally/... ./test/imports/...
FUZZTIME ?= 10s

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/culvert
	$(GO) build -o bin/culvert .

# One package at a time (-p 1): tests with a world measure time, and a node's
# heartbeat must not starve.
.PHONY: test
test: ## run everything, the tests that need root included (they skip without it)
	@$(GO) build ./... && $(GO) build -o bin/tally ./test/tally
	@set +e; $(GO) test -json -p 1 -count=1 -timeout 10m ./... | bin/tally; code=$${PIPESTATUS[*]}; \
		[ "$$code" = "0 0" ]

.PHONY: test-short
test-short: ## run what needs neither root nor long: seconds, not minutes
	$(GO) test -short $(PURE)

.PHONY: race
race: ## run the packages without root tests under the race detector
	$(GO) test -race -short $(PURE)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u | while read -r dir; do \
		for target in $$(grep -ohE '^func Fuzz[A-Za-z0-9_]*' "$$dir"/*_test.go | sed 's/^func //'); do \
			echo "== $$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" || exit 1; \
		done; \
	done

.PHONY: kernels
kernels: ## run the capture's tests on Debian's 6.1 and 6.12 kernels, in qemu (no root; ~2 min)
	$(GO) test -count=1 -timeout 10m -v -run '^TestKernels$$' ./test/kernels

.PHONY: generate
generate: ## compile the BPF object and the protobuf types anew (clang-19, llvm-19, protoc)
	$(GO) generate ./...

.PHONY: check-generated
check-generated: generate ## fail when what is committed is not what generate makes
	git diff --exit-code -- bpf api

.PHONY: lint
lint: ## gofmt and go vet; house rules are tests in test/imports
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt'd:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...

.PHONY: bench
bench: ## one table beside HAProxy, nginx and ReverseProxy (~8 min; QUICK=1: < 2 min; needs root)
	@$(GO) build -o bin/culvert . && $(GO) build -o bin/culvert-bench ./test/bench
	bin/culvert-bench -binary bin/culvert $(if $(QUICK),-quick) $(BENCHFLAGS)

.PHONY: demo
demo: ## see it work in a world of its own (< 90 s; KEEP=1 leaves it running; needs root)
	@echo "Building; the first time takes a minute."
	@$(GO) build -o bin/culvert . && $(GO) build -o bin/culvert-peer ./test/peer/culvert-peer && $(GO) build -o bin/culvert-demo ./test/demo
	@exec bin/culvert-demo -binary bin/culvert -peer bin/culvert-peer $(if $(KEEP),-keep)

.PHONY: sweep
sweep: ## remove what killed tests left: namespaces, cgroups, mounts (needs root)
	$(GO) run ./test/peer/culvert-peer sweep

.PHONY: clean
clean: ## remove bin/
	rm -rf bin
