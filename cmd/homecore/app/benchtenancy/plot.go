package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// plot is a chart with a few categories and a few series, as an SVG that needs nothing but itself.
type plot struct {
	title, unit string
	categories  []string
	series      []series
	log         bool // the scale
	bars        bool // else lines
}

// series has a value for each category; NaN where there is none.
type series struct {
	name   string
	values []float64
	strong bool // ours
}

const (
	plotWidth, plotHeight    = 920, 430
	plotLeft, plotTop        = 70, 68
	plotRight, plotBottom    = 600, 380
	legendLeft, legendHeight = 620, 22
)

// hues can be told apart by people who see fewer of them (Okabe and Ito).
var hues = []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555"}

// svg draws the plot.
func (p plot) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13" fill="#222">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="16" font-weight="600">%s</text>`+"\n", plotLeft-50, html.EscapeString(p.title))
	fmt.Fprintf(&b, `<text x="%d" y="44" fill="#666">%s</text>`+"\n", plotLeft-50, html.EscapeString(p.unit))
	low, high, ticks := p.scale()
	y := func(v float64) float64 {
		at := (v - low) / (high - low)
		if p.log {
			at = (math.Log(v) - math.Log(low)) / (math.Log(high) - math.Log(low))
		}
		return plotBottom - at*(plotBottom-plotTop)
	}
	for _, t := range ticks {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end" fill="#666">%s</text>`+"\n",
			plotLeft, plotRight, y(t), y(t), plotLeft-8, y(t)+4, tickText(t))
	}
	width := float64(plotRight-plotLeft) / float64(len(p.categories))
	for i, c := range p.categories {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", plotLeft+(float64(i)+.5)*width, plotBottom+22, html.EscapeString(c))
	}
	for _, strong := range []bool{false, true} { // ours above the others
		for i, s := range p.series {
			switch {
			case s.strong != strong:
			case p.bars:
				p.drawBars(&b, i, s, width, y, low)
			default:
				p.drawLine(&b, i, s, width, y)
			}
		}
	}
	p.legend(&b)
	fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#666"/>`+"\n</svg>\n", plotLeft, plotRight, plotBottom, plotBottom)
	return b.String()
}

func (p plot) drawLine(b *strings.Builder, i int, s series, width float64, y func(float64) float64) {
	stroke, radius := 1.8, 3.0
	if s.strong {
		stroke, radius = 3.5, 4.5
	}
	var points, dots []string
	for j, v := range s.values {
		if math.IsNaN(v) {
			continue
		}
		x := plotLeft + (float64(j)+.5)*width
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, y(v)))
		dots = append(dots, fmt.Sprintf(`<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"/>`, x, y(v), radius, hues[i%len(hues)]))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f"/>%s`+"\n", strings.Join(points, " "), hues[i%len(hues)], stroke, strings.Join(dots, ""))
}

func (p plot) drawBars(b *strings.Builder, i int, s series, width float64, y func(float64) float64, low float64) {
	each := min(0.8*width/float64(len(p.series)), 60)
	for j, v := range s.values {
		if math.IsNaN(v) {
			continue
		}
		x := plotLeft + (float64(j)+.5)*width - each*float64(len(p.series))/2 + float64(i)*each
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="middle" font-size="11">%s</text>`+"\n",
			x+1, y(v), each-2, y(low)-y(v), hues[i%len(hues)], x+each/2, y(v)-4, barText(v))
	}
}

// legend names lines in the order in which they end, and bars in that in which they stand.
func (p plot) legend(b *strings.Builder) {
	order := make([]int, len(p.series))
	for i := range order {
		order[i] = i
	}
	if !p.bars {
		last := func(i int) float64 {
			for _, v := range slices.Backward(p.series[i].values) {
				if !math.IsNaN(v) {
					return v
				}
			}
			return 0
		}
		slices.SortStableFunc(order, func(i, j int) int {
			if last(i) > last(j) {
				return -1
			}
			return 1
		})
	}
	for at, i := range order {
		y := plotTop + 10 + at*legendHeight
		weight := "400"
		if p.series[i].strong {
			weight = "700"
		}
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/><text x="%d" y="%d" font-size="12" font-weight="%s">%s</text>`+"\n",
			legendLeft, y, hues[i%len(hues)], legendLeft+18, y+11, weight, html.EscapeString(p.series[i].name))
	}
}

// scale returns the ends of the scale and where it has ticks.
func (p plot) scale() (low, high float64, ticks []float64) {
	low, high = math.Inf(1), 0
	for _, s := range p.series {
		for _, v := range s.values {
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if high == 0 {
		return 0, 1, []float64{0, 1}
	}
	if !p.log {
		step := math.Pow(10, math.Floor(math.Log10(high/4)))
		for _, m := range []float64{10, 5, 2.5, 2, 1} {
			if high/(step*m) >= 4 {
				step *= m
				break
			}
		}
		for t := 0.0; ; t += step {
			ticks = append(ticks, t)
			if t >= high*1.02 {
				return 0, t, ticks
			}
		}
	}
	low = math.Max(low, high/1e6)
	for decade := math.Pow(10, math.Floor(math.Log10(low))); ; decade *= 10 {
		for _, m := range []float64{1, 2, 5} {
			t := decade * m
			if len(ticks) > 0 && t <= low {
				ticks = ticks[:0] // only the last one below
			}
			if ticks = append(ticks, t); t >= high {
				return ticks[0], t, ticks
			}
		}
	}
}

// barText has room for three digits.
func barText(v float64) string {
	if v >= 20 {
		return thousands(int(math.Round(v)))
	}
	return number(v)
}

func tickText(v float64) string {
	if v >= 1000 {
		return thousands(int(v))
	}
	return fmt.Sprintf("%g", v)
}

// number writes a value with as many digits as anybody reads.
func number(v float64) string {
	switch {
	case v >= 1000:
		return thousands(int(math.Round(v)))
	case v >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	case v >= 0.001:
		return fmt.Sprintf("%.3f", v)
	}
	return "< 0.001"
}
