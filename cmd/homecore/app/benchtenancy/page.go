package main

import (
	_ "embed"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed performance.md.tmpl
var pageTemplate string

// publish writes the page and its plots.
func (r *report) publish() error {
	if err := os.MkdirAll(plotsDir, 0o755); err != nil {
		return err
	}
	for name, p := range r.plots() {
		if err := os.WriteFile(filepath.Join(plotsDir, "tenancy-"+name+".svg"), []byte(p.svg()), 0o644); err != nil {
			return err
		}
	}
	t, err := template.New("performance").Funcs(template.FuncMap{"number": number, "thousands": thousands}).Parse(pageTemplate)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, page{r}); err != nil {
		return err
	}
	return os.WriteFile(pageFile, []byte(b.String()), 0o644)
}

// plots are the pictures of the page, by the names of their files.
func (r *report) plots() map[string]plot {
	var sizes []string
	for _, n := range r.Setting.Sizes {
		sizes = append(sizes, thousands(n))
	}
	lines := func(value func(measure) float64) (out []series) {
		for _, v := range r.ways() {
			s := series{name: v.title, strong: v.key == ours}
			for _, n := range r.Setting.Sizes {
				at := math.NaN()
				if m, ok := r.find(v.key, plain(n)); ok {
					at = value(m)
				}
				s.values = append(s.values, at)
			}
			out = append(out, s)
		}
		return out
	}
	plots := map[string]plot{
		"throughput": {title: "Reads by primary key", unit: "a second, by number of tenants; uniform, 16 clients, one table", categories: sizes,
			series: lines(func(m measure) float64 { return m.Rate })},
		"p99": {title: "The slowest of a hundred reads", unit: "ms, by number of tenants; uniform, 16 clients, one table", categories: sizes, log: true,
			series: lines(func(m measure) float64 { return m.P99 })},
		"memory": {title: "Private memory of a backend", unit: "MB, by number of tenants read; uniform, one table", categories: sizes, log: true,
			series: lines(func(m measure) float64 { return m.Memory })},
	}
	if existing := r.existing(); len(existing) > 0 {
		p := plot{title: "A schema for a new tenant", unit: "ms (median, one at a time), by number of tenants that are there", bars: true}
		for _, n := range existing {
			p.categories = append(p.categories, thousands(n))
		}
		for _, s := range []struct{ name, what, how string }{
			{"made: HomeCore", "make", ours}, {"made: bare DDL", "make", "bare"}, {"taken from the warm ones", "claim", ours},
			{"HTTP to first answer, warm", "onboard", "warm"}, {"dropped: HomeCore", "drop", ours}, {"dropped: bare DDL", "drop", "bare"},
		} {
			one := series{name: s.name, strong: s.how == ours}
			for _, n := range existing {
				at := math.NaN()
				if found, ok := r.provisioned(s.what, s.how, n); ok {
					at = found.P50
				}
				one.values = append(one.values, at)
			}
			p.series = append(p.series, one)
		}
		plots["provisioning"] = p
	}
	if len(r.Migrations) > 0 {
		p := plot{title: "A change of every tenant", unit: "s, by number of tenants; a column and an index, four workers", bars: true,
			series: []series{{name: "HomeCore", strong: true}, {name: "bare DDL"}, {name: "HomeCore, nothing to do", strong: true}}}
		for _, m := range r.Migrations {
			p.categories = append(p.categories, thousands(m.Tenants))
			for i, v := range []float64{median(m.Ours), median(m.Bare), m.Nothing} {
				p.series[i].values = append(p.series[i].values, v)
			}
		}
		plots["migration"] = p
	}
	return plots
}

// ways are those that were measured.
func (r *report) ways() (out []way) {
	for _, v := range allWays {
		if slices.ContainsFunc(r.Reads, func(m measure) bool { return m.Way == v.key }) {
			out = append(out, v)
		}
	}
	return out
}

// page is the report in the words of the template.
type page struct{ *report }

// Connections is how many every way has.
func (p page) Connections() int { return p.Setting.Groups * p.Setting.Conns }

// Minutes is how long the run took.
func (p page) Minutes() string { return fmt.Sprintf("%.0f", math.Ceil(p.Setting.Seconds/60)) }

// Zipf is the exponent.
func (page) Zipf() float64 { return zipfExponent }

// Has says whether there is a plot of that name.
func (p page) Has(name string) bool { _, ok := p.plots()[name]; return ok }

// Judged is a table of the targets.
func (p page) Judged() string {
	rows := [][]string{{"target", "wanted", "is", ""}}
	for _, t := range p.Targets {
		is := number(t.Is)
		if t.Verdict == "not measured" {
			is = ""
		}
		rows = append(rows, []string{t.Name, t.Want, is, t.Verdict})
	}
	return grid(rows)
}

// Ways is a table of what is compared.
func (p page) Ways() string {
	rows := [][]string{{"way", "key", "round trips of a read"}}
	for _, v := range p.ways() {
		rows = append(rows, []string{v.title, "`" + v.key + "`", number(p.RoundTrips[v.key])})
	}
	return grid(rows)
}

// Overview is a table of rates: ways by sizes.
func (p page) Overview() string {
	head := []string{"reads a second"}
	var cells []cell
	for _, n := range p.Setting.Sizes {
		for _, c := range []cell{plain(n), zipf(n)} {
			if _, ok := p.find(ours, c); ok {
				cells = append(cells, c)
				head = append(head, strings.TrimSuffix(thousands(n)+", "+c.Dist, ", uniform"))
			}
		}
	}
	rows := [][]string{head}
	for _, v := range p.ways() {
		line := []string{v.title}
		for _, c := range cells {
			m, _ := p.find(v.key, c)
			line = append(line, number(math.Round(m.Rate)))
		}
		rows = append(rows, line)
	}
	return grid(rows)
}

// Cells are all tables of measures, in the order in which they were taken.
func (p page) Cells() (out []struct{ Title, Table string }) {
	var seen []cell
	for _, first := range p.Reads {
		if slices.ContainsFunc(seen, first.same) {
			continue
		}
		seen = append(seen, first.cell)
		rows := [][]string{{first.Op + "s", "a second", "of raw", "p50 ms", "p99 ms", "CPU µs", "allocations", "MB a backend"}}
		for _, v := range p.ways() {
			m, ok := p.find(v.key, first.cell)
			if !ok {
				continue
			}
			of := ""
			if x, ok := p.ratio(v.key, raw, first.cell); ok {
				of = fmt.Sprintf("%.2f", x)
			}
			rows = append(rows, []string{v.title, number(math.Round(m.Rate)), of, number(m.P50), number(m.P99), number(math.Round(m.CPU)),
				number(math.Round(m.Mallocs)), number(m.Memory)})
		}
		out = append(out, struct{ Title, Table string }{first.title(), grid(rows)})
	}
	return out
}

func (c cell) title() string {
	what := map[string]string{"read": "Reads", "write": "Writes", "transaction": "Transactions of three statements"}[c.Op]
	touched := map[string]string{"one": "one table", "all": "all tables"}[c.Tables]
	noun := "tenants"
	if c.Tenants == 1 {
		noun = "tenant"
	}
	return fmt.Sprintf("%s: %s %s, %s, %d clients, %s", what, thousands(c.Tenants), noun, c.Dist, c.Clients, touched)
}

// Provisioned is a table of what was made, taken and dropped.
func (p page) Provisioned() string {
	names := map[string]string{
		"make homecore": "made: HomeCore", "make bare": "made: bare DDL", "claim homecore": "taken from the warm ones", "drop homecore": "dropped: HomeCore",
		"drop bare": "dropped: bare DDL", "onboard cold": "HTTP to first answer, cold", "onboard warm": "HTTP to first answer, warm",
	}
	rows := [][]string{{"", "tenants there", "at once", "p50 ms", "p95 ms", "a second", "times"}}
	for _, v := range p.Provisions {
		rows = append(rows, []string{names[v.What+" "+v.How], thousands(v.Existing), fmt.Sprint(v.AtOnce), number(v.P50), number(v.P95), number(v.Rate), fmt.Sprint(v.Count)})
	}
	return grid(rows)
}

// Migrated is a table of the migrations.
func (p page) Migrated() string {
	rows := [][]string{{"tenants", "HomeCore s", "bare DDL s", "ratio", "nothing to do s"}}
	for _, m := range p.Migrations {
		rows = append(rows, []string{thousands(m.Tenants), number(median(m.Ours)), number(median(m.Bare)), fmt.Sprintf("%.2f", m.ratio()), number(m.Nothing)})
	}
	return grid(rows)
}

// grid writes a Markdown table whose first column is text and whose others are numbers.
func grid(rows [][]string) string {
	var b strings.Builder
	for i, r := range rows {
		b.WriteString("| " + strings.Join(r, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|---" + strings.Repeat("|--:", len(r)-1) + "|\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}
