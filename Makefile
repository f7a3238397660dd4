# Everything a developer or a new operator types. Each target is a line or two; the
# work is done by scripts/, which can be called directly as well.

.DEFAULT_GOAL := help
.PHONY: help tools build micro micro-stop micro-reset cluster cluster-stop \
	test test-short test-long lint vuln bench clean

# A semantic version; the commit is build metadata and decides nothing.
VERSION ?= 0.1.0-dev$(shell git rev-parse --short HEAD 2>/dev/null | sed 's/^/+/')
BUILDINFO := github.com/stackato/stackato/internal/buildinfo

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## nomad, consul and cf into bin/: found on PATH, or built once per machine (about 9 minutes)
	@scripts/tools

build: ## the project's binaries into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X $(BUILDINFO).Version=$(VERSION)' -o bin/ ./cmd/...

micro: ## a micro cloud with a sample app on this machine, from nothing (as root; STACK=small, SAMPLE=no, DATA=/dir)
	@scripts/micro start $(DATA)

micro-stop: ## stop the micro cloud, keep its data
	@scripts/micro stop $(DATA)

micro-reset: ## stop the micro cloud and delete its data; asks (FORCE=1 does not)
	@FORCE=$(FORCE) scripts/micro reset $(DATA)

NODES ?= 5
cluster: ## a cluster of NODES=5 nodes on this machine, each a container (as root)
	@scripts/packages
	@scripts/docker
	@scripts/tools
	@$(MAKE) --no-print-directory build
	@scripts/stack small
	@go run ./test/cluster/cmd/cluster up --nodes $(NODES) --stack $$(scripts/stack --name small)

cluster-stop: ## remove that cluster
	@go run ./test/cluster/cmd/cluster down

test: ## all tests but the long ones; installs what they need (as root, at most 20 minutes)
	@scripts/test full

test-short: ## tests without containers (at most 3 minutes)
	@scripts/test short

test-long: ## the long ones too: many kills, five voters, a thousand members (as root, an hour or more)
	@scripts/test long

lint: ## format, vet, golangci-lint, shellcheck; changes nothing
	@scripts/lint

vuln: ## known vulnerabilities in what is imported (asks vuln.go.dev)
	@scripts/tools govulncheck
	bin/govulncheck ./...

bench: ## the figures of docs/benchmarks.md (as root, on an idle machine, with make micro up)
	@scripts/bench

clean: ## delete build output (tools stay in the cache of this machine)
	rm -rf bin build
