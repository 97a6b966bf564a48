# The tasks of this repository. `make` lists them.
#
# build, run, test and fuzz need Go, git and make, and no C compiler. race needs one: Go's race detector links against C. The other
# tools (buf, golangci-lint, grpcurl) are Go programs pinned in modules of their own below tools/, so that their dependencies do not mix
# with the broker's. They are built at first use, which takes a minute or two, and kept in Go's build cache.

export CGO_ENABLED := 0

# What `make fuzz` spends on each target.
FUZZTIME ?= 30s

# What `make robustness` and `make robustness-mutants` take: SEED=7 repeats a run.
DURATION ?= 30m

# What `bin/broker version` says. A tag if there is one, else the commit; never asked for unless something is built.
VERSION ?= $(or $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null),\
	$(addprefix v0.0.0-,$(shell git describe --always --exclude '*' --dirty 2>/dev/null)),\
	unknown)

# The commit that it was built from, which a tag can no longer say once it has been moved.
COMMIT ?= $(shell git rev-parse --verify HEAD 2>/dev/null)

BUF  := go tool -modfile=tools/go.mod buf
LINT := go tool -modfile=tools/lint/go.mod golangci-lint
TEST := go tool gotestsum --format=pkgname --

# The handlers of the JSON paths: see proto/http.yaml.
GATEWAY := internal/gateway/generated

# The API that is promised to callers: see CONTRIBUTING.md.
API_BASELINE := proto/breaking-baseline.binpb

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Use

.PHONY: run dev
run: build ## start a cluster to try out: three replicas, etcd and a simulated WeChat in one process
	@exec bin/broker dev $(ARGS)

dev: run ## the same; flags go into ARGS: make dev ARGS='--replicas 1 --token-ttl 60s'

.PHONY: build
build: ## build bin/broker
	go build -trimpath -buildvcs=false -ldflags '-X main.version=$(strip $(VERSION)) -X main.commit=$(strip $(COMMIT))' -o bin/broker ./cmd/broker

# Check

.PHONY: test
test: ## run all tests
	$(TEST) -timeout=5m ./...

.PHONY: test-foreign
test-foreign: ## try the broker with clients in other languages; what is missing is installed, which takes root
	@without=$$(test/foreign/install) && FOREIGN_WITHOUT=$$without $(TEST) -timeout=15m -count=1 -tags foreign ./test/foreign/

.PHONY: race
race: export CGO_ENABLED := 1
race: ## run all tests in random order under the race detector (needs a C compiler)
	@command -v "$$(go env CC)" >/dev/null || { echo 'make race needs a C compiler, such as gcc' >&2; exit 1; }
	$(TEST) -timeout=15m -race -shuffle=on ./...

.PHONY: fuzz
fuzz: ## fuzz every fuzz target for FUZZTIME (30s)
	@set -e; \
	targets=$$(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func /:/' | sort); \
	for target in $$targets; do \
		echo "== $$target"; \
		go test -run='^$$' -fuzz="^$${target##*:}$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=20x "$$(dirname "$${target%%:*}")"; \
	done

.PHONY: bench
bench: ## measure GetToken against an empty gRPC handler
	go run ./test/bench $(ARGS)

.PHONY: bench-sdk
bench-sdk: ## measure reading a token in the SDK beside oauth2 and Redis
	go run ./test/bench/sdk $(ARGS)

.PHONY: robustness robustness-mutants
# Where the kernel allows it, which takes root, replicas also vanish from the network. A seed means one run with that and another without:
# NAMESPACES= turns it off.
robustness: NAMESPACES ?= $(shell unshare --net true 2>/dev/null && echo -namespaces)
robustness: ## break a cluster for DURATION (30m), and judge what callers saw: docs/ROBUSTNESS.md
	go run ./test/robustness -duration $(DURATION) $(NAMESPACES) $(if $(SEED),-seed $(SEED)) $(ARGS)

robustness-mutants: ## let the same suite catch brokers that lack one mechanism each
	go run ./test/robustness -mutants -duration 4m $(if $(SEED),-seed $(SEED)) $(ARGS)

.PHONY: siege
# Where the kernel allows it, which takes root, the rest of the machine does not disturb the measure: REALTIME= turns it off.
siege: REALTIME ?= $(shell chrt --rr 1 true 2>/dev/null && echo chrt --rr 1)
siege: ## attack a broker in many ways, and measure what others notice: docs/SIEGE.md
	@mkdir -p bin
	go build -o bin/siege ./test/siege
	$(REALTIME) bin/siege $(ARGS)

.PHONY: lint
lint: ## check style, layers and likely faults
	$(LINT) run --build-tags foreign ./...
	$(BUF) lint
	$(BUF) format --diff --exit-code

.PHONY: verify
verify: verify-generated verify-modules verify-supply verify-api lint ## fail if gen, fmt or `go mod tidy` would change a file, or lint complains

# Each of these compares with what is in the work tree, committed or not, and changes nothing in it.

.PHONY: verify-generated
verify-generated:
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && $(BUF) generate --output "$$out" && \
	diff -r -x '*.proto' -x '*.binpb' -x '*.yaml' proto "$$out/proto" && diff -r $(GATEWAY) "$$out/$(GATEWAY)" || \
	{ echo 'proto/ and $(GATEWAY) are not what the .proto files generate: run make gen' >&2; exit 1; }

# The modules of the tools are left out: tidying them asks for the test dependencies of other people's programs. That they are
# complete is seen by running the tools, since Go never adds to a go.mod on the way.
.PHONY: verify-modules
verify-modules:
	@go mod tidy -diff || { echo 'go.mod or go.sum is not tidy: run go mod tidy' >&2; exit 1; }

# What the broker is made of: docs/DEPENDENCIES.md.
.PHONY: verify-supply
verify-supply:
	@go mod verify
	@go run ./test/supply check

.PHONY: verify-api
verify-api:
	@$(BUF) breaking --against $(API_BASELINE) || { echo 'these changes break callers of the released API: see CONTRIBUTING.md' >&2; exit 1; }

# Nothing is taken from the build cache, which would have the answer already: it takes a minute or two.
.PHONY: reproducible
reproducible: build ## build once more, in another folder and from nothing, and fail if the bytes differ
	@dir=$$(mktemp -d) && trap 'chmod -R u+w "$$dir" && rm -rf "$$dir"' EXIT && mkdir -p "$$dir/some/other place" && \
	git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory "$$dir/some/other place" && \
	GOCACHE="$$dir/cache" $(MAKE) --no-print-directory --directory "$$dir/some/other place" build VERSION='$(strip $(VERSION))' COMMIT='$(strip $(COMMIT))' && \
	cmp bin/broker "$$dir/some/other place/bin/broker" && sha256sum bin/broker

.PHONY: sbom
sbom: build ## write bin/broker.cdx.json: what bin/broker is made of
	@go run ./test/supply sbom -version '$(strip $(VERSION))' -commit '$(strip $(COMMIT))' bin/broker >bin/broker.cdx.json
	@echo bin/broker.cdx.json

# Change

.PHONY: gen
gen: ## generate the Go code that follows from proto/
	$(BUF) generate

.PHONY: fmt
fmt: ## format Go and proto files
	$(LINT) fmt ./...
	$(BUF) format --write

.PHONY: api-baseline
api-baseline: ## at a release: promise the present API to callers
	$(BUF) build --exclude-source-info --output $(API_BASELINE)

.PHONY: clean
clean: ## delete what build made
	rm -rf bin
