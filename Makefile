# make lists the tasks; make check is what CI runs.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
MAKEFLAGS   += --no-print-directory

GO       ?= go
FUZZTIME ?= 10s
ROUNDS   ?= 20
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOLS    := $(CURDIR)/bin/tools
LINT     := $(TOOLS)/golangci-lint
BUF      := $(TOOLS)/buf

.PHONY: help build deps demo test race fuzz bench torture lint fmt examples generate schemas generated check go
help: ## list the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

build: go ## bin/pointsman
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/pointsman ./cmd/pointsman

deps: ## install what the tests need beyond Go (apt, as root or with sudo)
	@scripts/deps.sh

demo: build ## see it work on real input
	bin/pointsman demo

test: go deps ## all tests
	$(GO) test -timeout 15m ./...

race: go ## unit and conformance tests with the race detector
	@scripts/race.sh

fuzz: go ## every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

bench: build deps ## benchmarks, and the whole way against a bare HTTP handler and asynq
	$(GO) build -trimpath -o bin/pointsman-bench ./cmd/pointsman-bench
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 200ms ./rules/... ./router/... ./actions/host
	bin/pointsman-bench -json bin/bench.json -store sqlite$$(command -v redis-server >/dev/null && echo ,redis-everysec,redis-always || echo "redis-server is missing: the Redis stores are NOT measured" >&2)

torture: go deps ## break whole routers for ROUNDS (20) rounds and look for what is lost
	$(GO) build -trimpath -o bin/pointsman-torture ./cmd/pointsman-torture
	bin/pointsman-torture -rounds $(ROUNDS) -json bin/torture.json

lint: $(LINT) ## golangci-lint, formatting included
	$(LINT) run ./...

fmt: $(LINT) ## format
	$(LINT) fmt ./...

examples: build deps ## check and test every example
	@scripts/examples.sh

generate: schemas $(BUF) $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ## code from actions/proto, and docs/schema
	cd actions/proto && PATH="$(TOOLS):$$PATH" $(BUF) generate

schemas: go ## docs/schema alone
	@for s in pointsman:config rules:rules tests:tests; do \
		$(GO) run ./cmd/pointsman schema $${s#*:} >docs/schema/$${s%:*}.schema.json; done

generated: generate ## check that generated code is current and the contract is kept
	cd actions/proto && $(BUF) lint
	git diff --exit-code -- actions/proto docs/schema
	scripts/breaking.sh $(BUF)

check: build lint generated deps race examples test ## everything CI runs

go: # its version
	@scripts/go-version.sh $(GO)

# The tools are modules of their own, so that their dependencies are not ours.
$(LINT): .tools/lint/go.mod .tools/lint/go.sum | go
	cd .tools/lint && $(GO) build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(BUF): .tools/buf/go.mod .tools/buf/go.sum | go
	cd .tools/buf && $(GO) build -o $@ github.com/bufbuild/buf/cmd/buf
$(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc &: .tools/proto/go.mod .tools/proto/go.sum | go
	cd .tools/proto && $(GO) build -o $(TOOLS)/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
