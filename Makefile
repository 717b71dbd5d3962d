# The two that matter: `make run` starts everything, `make test` proves it.

BIN := .bin
GOLANGCI_VERSION := v2.15.0
GO ?= go

.PHONY: run test race lint bench bench-auth bench-tenancy build fuzz fuzz-leaks clean

run: ## everything on one machine: Postgres, migrations, API, jobs, mailbox, demo data
	@mkdir -p $(BIN) && $(GO) build -o $(BIN)/homecore ./cmd/homecore && exec $(BIN)/homecore dev

test: ## all tests, on one throwaway Postgres that they share
	$(GO) run ./platform/postgres/pgtest/with-postgres -- $(GO) test ./...

race: ## the same under the race detector; needs a C compiler
	$(GO) run ./platform/postgres/pgtest/with-postgres -- $(GO) test -race ./...

lint: $(BIN)/golangci-lint-$(GOLANGCI_VERSION)
	$< run ./...
	$(GO) build -o $(BIN)/homecore-vet ./tenancy/vet/homecore-vet && $(GO) vet -vettool=$(BIN)/homecore-vet ./...

bench: ## measures, as lines and as JSON in docs/bench; BENCH=short takes under a minute
	@$(GO) run ./platform/postgres/pgtest/with-postgres -- $(GO) run ./cmd/homecore/app/bench

bench-auth: ## what signing in, refreshing and authorising cost, next to the bare password hash; BENCH=short takes under a minute
	@$(GO) run ./platform/postgres/pgtest/with-postgres -- $(GO) run ./cmd/homecore/app/benchauth

bench-tenancy: ## tenancy next to other ways and to the least it can cost, up to 10,000 tenants; BENCH=short: up to 100, in a minute or two
	@$(GO) run ./cmd/homecore/app/benchtenancy

fuzz: ## every parser of what comes from outside, FUZZ=10s each
	@grep -rl --include='*_test.go' '^func Fuzz' modules platform tenancy | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "== $$target"; $(GO) test ./$$(dirname $$file) -run '^$$' -fuzz "^$$target$$" -fuzztime $(or $(FUZZ),10s) || exit 1; \
		done; done

fuzz-leaks: ## looks for rows of other tenants, 300,000 statements for each way to the server, behind PgBouncer too; prints the counts
	HOMECORE_FUZZ=300000 $(GO) run ./platform/postgres/pgtest/with-postgres -- $(GO) test ./tenancy -count=1 -v -timeout 2h -run 'NeverShowsAForeignRow'

build: ## the binary, in .bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" -o $(BIN)/homecore ./cmd/homecore

clean: ## forgets the build and the data of dev
	@! { [ -f .homecore/runtime.json ] && kill -0 "$$(sed 's/.*"pid":\([0-9]*\).*/\1/' .homecore/runtime.json)" 2>/dev/null; } || \
		{ echo "homecore dev is running on .homecore: stop it first" >&2; exit 1; }
	rm -rf $(BIN) .homecore

$(BIN)/golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(BIN)/golangci-lint $@
