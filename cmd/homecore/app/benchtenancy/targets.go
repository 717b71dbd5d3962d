package main

import (
	"fmt"
	"slices"
)

// target is what was set out to be reached, and what is.
type target struct {
	Name    string  `json:"name"`
	Want    string  `json:"want"`
	Is      float64 `json:"is"`
	Verdict string  `json:"verdict"` // pass, fail, not measured
}

// judge holds the targets against the measures.
func (r *report) judge() []target {
	var out []target
	add := func(name, want string, reached bool, is float64, measured bool) {
		t := target{Name: name, Want: want, Is: is, Verdict: "fail"}
		switch {
		case !measured:
			t.Verdict = "not measured"
		case reached:
			t.Verdict = "pass"
		}
		out = append(out, t)
	}
	atLeast := func(name string, limit, is float64, measured bool) {
		add(name, fmt.Sprintf("≥ %.4g", limit), is >= limit, is, measured)
	}
	atMost := func(name string, limit, is float64, measured bool) {
		add(name, fmt.Sprintf("≤ %.4g", limit), is <= limit, is, measured)
	}

	for _, c := range []cell{plain(1000), zipf(10000)} {
		at := fmt.Sprintf("%s tenants, %s", thousands(c.Tenants), c.Dist)
		v, ok := r.ratio(ours, withTenant, c)
		atLeast("reads against WithTenant's sequence, "+at, 4, v, ok)
		m, _ := r.find(ours, c)
		o, _ := r.find(withTenant, c)
		atMost("p99 against WithTenant's, "+at, 0.5, m.P99/max(o.P99, 0.001), ok)
	}
	v, ok := r.ratio(ours, raw, plain(100))
	atLeast("reads against raw pgx in one schema, 100 tenants", 0.45, v, ok)
	v, ok = r.ratio(ours, raw, plain(1000))
	atLeast("reads against raw pgx in one schema, 1,000 tenants", 0.35, v, ok)
	v, ok = r.ratio(ours, untenanted, plain(1))
	atLeast("reads against GORM on pgx's stdlib without tenancy, 1 tenant", 1, v, ok)
	m, ok := r.find(ours, plain(1000))
	atMost("private memory of a backend, 1,000 tenants, one table, MB", 4, m.Memory, ok)
	trips, ok := r.RoundTrips[ours]
	add("round trips of a read as the tenant's role", "= 1", trips == 1 && r.AsRole, trips, ok)

	for _, n := range r.existing() {
		beside := fmt.Sprintf(" beside %s", thousands(n))
		p, ok := r.provisioned("onboard", "warm", n)
		atMost("request to first answer of a new tenant, warm,"+beside+", p95, ms", 100, p.P95, ok)
		for _, one := range [][2]string{{"make", "made cold"}, {"drop", "dropped"}} {
			o, ok := r.provisioned(one[0], ours, n)
			b, there := r.provisioned(one[0], "bare", n)
			atMost("schema "+one[1]+" against the bare DDL,"+beside+", p50", 1.2, o.P50/max(b.P50, 0.001), ok && there)
		}
	}
	for _, m := range r.Migrations {
		all := fmt.Sprintf("%s tenants", thousands(m.Tenants))
		atMost("migrating "+all+" with nothing to do, s", 1, m.Nothing, true)
		atMost("migrating "+all+" against the bare DDL", 1.3, m.ratio(), true)
	}
	return out
}

// ratio is the median over the rounds.
func (m migration) ratio() float64 {
	each := make([]float64, min(len(m.Ours), len(m.Bare)))
	for i := range each {
		each[i] = m.Ours[i] / m.Bare[i]
	}
	return median(each)
}

// existing is beside how many tenants was provisioned, smallest first.
func (r *report) existing() []int {
	var out []int
	for _, p := range r.Provisions {
		if !slices.Contains(out, p.Existing) {
			out = append(out, p.Existing)
		}
	}
	slices.Sort(out)
	return out
}

// provisioned finds what was done one at a time.
func (r *report) provisioned(what, how string, existing int) (provision, bool) {
	for _, p := range r.Provisions {
		if p.What == what && p.How == how && p.Existing == existing && p.AtOnce == 1 {
			return p, true
		}
	}
	return provision{}, false
}

// thousands writes 10000 as 10,000.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
