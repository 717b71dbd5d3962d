package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func TestPlot(t *testing.T) {
	t.Parallel()

	for name, p := range map[string]plot{
		"lines":   {categories: []string{"1", "100"}, series: []series{{name: "a & b", values: []float64{3, math.NaN()}, strong: true}}},
		"log":     {categories: []string{"1", "100"}, log: true, series: []series{{name: "a", values: []float64{0.4, 930}}}},
		"bars":    {categories: []string{"<1>"}, bars: true, series: []series{{name: "a", values: []float64{12}}, {name: "b", values: []float64{0}}}},
		"nothing": {categories: []string{"1"}, series: []series{{name: "a", values: []float64{math.NaN()}}}},
	} {
		t.Run("is well-formed and within its frame: "+name, func(t *testing.T) {
			t.Parallel()
			svg := p.svg()
			for d := xml.NewDecoder(strings.NewReader(svg)); ; {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v in\n%s", err, svg)
				}
			}
			if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("a value that is not there is drawn:\n%s", svg)
			}
			low, high, ticks := p.scale()
			for _, s := range p.series {
				for _, v := range s.values {
					if v < low || v > high {
						t.Errorf("%v is outside %v to %v", v, low, high)
					}
				}
			}
			if len(ticks) < 2 || len(ticks) > 15 {
				t.Errorf("ticks %v", ticks)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()

	verdict := func(r *report, name string) string {
		for _, target := range r.judge() {
			if strings.HasPrefix(target.Name, name) {
				return target.Verdict
			}
		}
		return "no such target"
	}
	rounds := func(c cell, way string, each ...int) measure {
		var all []round
		for _, n := range each {
			all = append(all, round{took: make([]time.Duration, n), elapsed: time.Second})
		}
		return summary(c, way, all)
	}
	const name = "reads against raw pgx in one schema, 100 tenants"
	t.Run("says what was not measured", func(t *testing.T) {
		t.Parallel()
		for _, target := range (&report{}).judge() {
			if target.Verdict != "not measured" {
				t.Errorf("%s: %s", target.Name, target.Verdict)
			}
		}
	})
	t.Run("compares within each round, since rounds differ", func(t *testing.T) {
		t.Parallel()
		r := &report{Reads: []measure{rounds(plain(100), ours, 50, 500, 5), rounds(plain(100), raw, 100, 1000, 1000)}}
		if v, _ := r.ratio(ours, raw, plain(100)); v != 0.5 {
			t.Errorf("ratio %v, want 0.5", v)
		}
		if v := verdict(r, name); v != "pass" {
			t.Error(v)
		}
	})
	t.Run("fails what is too slow", func(t *testing.T) {
		t.Parallel()
		r := &report{Reads: []measure{rounds(plain(100), ours, 44), rounds(plain(100), raw, 100)}}
		if v := verdict(r, name); v != "fail" {
			t.Error(v)
		}
	})
	t.Run("does not take one round trip without the tenant's role", func(t *testing.T) {
		t.Parallel()
		r := &report{RoundTrips: map[string]float64{ours: 1}, AsRole: true}
		if v := verdict(r, "round trips"); v != "pass" {
			t.Error(v)
		}
		r.AsRole = false
		if v := verdict(r, "round trips"); v != "fail" {
			t.Error(v)
		}
	})
}
