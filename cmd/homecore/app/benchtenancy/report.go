package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

const (
	resultsFile = "docs/bench/tenancy.json"
	pageFile    = "docs/performance.md"
	plotsDir    = "docs/bench"
)

// report is everything a run measured, and on what. The page and its plots are made of it and of nothing else.
type report struct {
	Machine    machine            `json:"machine"`
	Setting    setting            `json:"setting"`
	RoundTrips map[string]float64 `json:"round_trips"` // of a read, for each way
	AsRole     bool               `json:"as_role"`     // ours runs with the rights of the tenant's own role
	Enter      float64            `json:"enter_us"`    // what Registry.Enter takes for a tenant that is known
	Reads      []measure          `json:"reads"`
	Provisions []provision        `json:"provisions"`
	Migrations []migration        `json:"migrations"`
	Targets    []target           `json:"targets"`
}

type machine struct {
	CPUs     int    `json:"cpus"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Postgres string `json:"postgres"`
}

type setting struct {
	Groups       int     `json:"groups"`
	Conns        int     `json:"connections_per_group"`
	Statements   int     `json:"statements,omitempty"` // as given; 0: as the driver does
	Recycle      int     `json:"recycle,omitempty"`
	Sizes        []int   `json:"tenants"`
	Rounds       int     `json:"rounds"`
	Round        float64 `json:"round_s"`
	Buffers      string  `json:"shared_buffers"`
	Tables       int     `json:"tables_per_tenant"`
	RowsPerTable int     `json:"rows_per_table"`
	Provisions   int     `json:"provisions"`
	Seconds      float64 `json:"seconds"` // the whole run
}

// begin notes what the run is made on.
func (w *world) begin(ctx context.Context) (*report, error) {
	r := &report{
		Machine: machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH},
		Setting: setting{
			Groups: w.options.groups, Conns: w.options.conns, Statements: w.options.statements, Recycle: w.options.recycle,
			Sizes: w.options.sizes, Rounds: w.options.rounds, Round: w.options.length.Seconds(), Buffers: w.options.buffers,
			Tables: len(tables), RowsPerTable: rowsPerTable, Provisions: w.options.provisions,
		},
	}
	if err := w.owner.QueryRow(ctx, "show server_version").Scan(&r.Machine.Postgres); err != nil {
		return nil, fmt.Errorf("ask for the version of Postgres: %w", err)
	}
	return r, nil
}

// save writes what was measured, without a date: the history of the file has that.
func (r *report) save() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(resultsFile), 0o755); err != nil {
		return err
	}
	return os.WriteFile(resultsFile, append(text, '\n'), 0o644)
}

// again reads what an earlier run measured.
func again() (*report, error) {
	text, err := os.ReadFile(resultsFile)
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", resultsFile, err)
	}
	r.Targets = r.judge()
	return r, nil
}

// find returns what a way did in a cell.
func (r *report) find(way string, c cell) (measure, bool) {
	for _, m := range r.Reads {
		if m.Way == way && m.same(c) {
			return m, true
		}
	}
	return measure{}, false
}

// same says whether both ask the same.
func (c cell) same(other cell) bool {
	return c.Op == other.Op && c.Tenants == other.Tenants && c.Dist == other.Dist && c.Clients == other.Clients && c.Tables == other.Tables
}

// plain is the cell that is measured at every size.
func plain(tenants int) cell {
	return cell{Op: "read", Tenants: tenants, Dist: "uniform", Clients: 16, Tables: "one"}
}

func zipf(tenants int) cell {
	c := plain(tenants)
	c.Dist = "zipf"
	return c
}

// ratio compares the rates of two ways in a cell: the median over the rounds, each with the other's of the same round.
func (r *report) ratio(way, other string, c cell) (float64, bool) {
	m, ok := r.find(way, c)
	o, there := r.find(other, c)
	return ratio(m, []measure{o}, other), ok && there
}
