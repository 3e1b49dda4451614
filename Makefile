# Everything that this project does, by name. `make up` and `make check` are all
# that a user needs to know; they install what they need below .tools.

SHELL := /bin/bash
GO ?= go
BIN := bin/logtail
TOOLS := $(CURDIR)/.tools
GOFUMPT_VERSION := v0.12.0
LINT_VERSION := v2.15.0
PLATFORMS := linux/amd64 linux/arm64 windows/amd64 darwin/arm64

export CGO_ENABLED ?= 0

.PHONY: all build up tools check format vet lint test race faultclock blackbox cross bench soak fuzz clean

all: build

build: ## the static binary, at bin/logtail
	$(GO) build -trimpath -o $(BIN) ./cmd/logtail

up: build ## collect this machine's logs and make them searchable
	$(BIN) up

tools: $(TOOLS)/gofumpt-$(GOFUMPT_VERSION) $(TOOLS)/golangci-lint-$(LINT_VERSION)

$(TOOLS)/gofumpt-$(GOFUMPT_VERSION):
	GOBIN=$(TOOLS) $(GO) install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)
	@touch $@

$(TOOLS)/golangci-lint-$(LINT_VERSION):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@touch $@

check: tools format vet lint race blackbox cross ## everything that must hold

format:
	@out=$$($(TOOLS)/gofumpt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$out" ]; then echo "not formatted (run $(TOOLS)/gofumpt -w on them):"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...
	cd test/sdk && $(GO) vet ./...

lint:
	$(TOOLS)/golangci-lint run ./...
	cd test/sdk && $(TOOLS)/golangci-lint run --config ../../.golangci.yml ./...

test: ## the tests without the race detector
	$(GO) test ./...

race: ## the tests with the race detector, and the assembly-free twin of the encoder
	CGO_ENABLED=1 $(GO) test -race ./...
	$(GO) test -tags lz4safe ./internal/lz4block/...

# The same program with a clock that the fault harness sets forward and back.
CLOCK_BIN := bin/logtail-faultclock
FAULT_ENV := LOGTAIL_BIN=$(CURDIR)/$(BIN) LOGTAIL_CLOCK_BIN=$(CURDIR)/$(CLOCK_BIN)

faultclock:
	$(GO) build -trimpath -tags faultclock -o $(CLOCK_BIN) ./cmd/logtail

blackbox: build faultclock ## the built binary against the stock SDK, and the short form of the fault harness
	$(GO) test -tags faultclock -run TimeOfDay ./cmd/logtail
	cd test/sdk && $(FAULT_ENV) $(GO) test -count=1 -timeout 20m -parallel 4 ./...

cross:
	@for p in $(PLATFORMS); do echo "build $$p"; \
	GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -o /dev/null ./cmd/logtail || exit 1; \
	GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) vet ./... || exit 1; done

bench: build ## speed, as ratios; results belong into docs/benchmarks.md
	bench/run.sh

soak: build faultclock ## random lives of the agent, then faults of every kind for SOAK (30m), of the kinds in LOGTAIL_FAULTS (all); see test/sdk/soak/doc.go
	$(GO) test -count=1 -timeout 2h -run RandomLife ./internal/agent -args -random.lives=$${LIVES:-100}
	cd test/sdk && $(FAULT_ENV) LOGTAIL_SOAK=$${SOAK:-30m} $(GO) test -v -count=1 -timeout 12h -run 'TestSoak$$' ./soak

fuzz: ## every fuzz target for FUZZTIME each
	@for p in $$($(GO) list ./...); do \
	for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	echo "fuzz $$p $$f"; $(GO) test -run xxx -fuzz "^$$f\$$" -fuzztime $${FUZZTIME:-30s} $$p || exit 1; done; done

clean:
	rm -rf bin dist
