package api

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsHandler serves what registry has gathered, for a port that is not public.
func MetricsHandler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry})
}

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	none     meter // requests that reached no operation
}

// meter holds one operation's metrics, looked up once: the labels never change.
type meter struct {
	classes  [6]prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "homecore_http_requests_total", Help: "Requests answered, by operation, surface and class of status.",
		}, []string{"operation", "surface", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "homecore_http_request_duration_seconds", Help: "Time to answer, by operation and surface.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation", "surface"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "homecore_http_requests_in_flight", Help: "Requests being answered now.",
		}),
	}
	registry.MustRegister(m.requests, m.duration, m.inFlight)
	m.none = m.of("none", "none")
	return m
}

func (m *metrics) of(operation string, s Surface) meter {
	t := meter{duration: m.duration.WithLabelValues(operation, string(s))}
	for i, class := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
		t.classes[i+1] = m.requests.WithLabelValues(operation, string(s), class)
	}
	return t
}

func (x *exchange) meter() *meter {
	if x.operation != nil {
		return &x.operation.meter
	}
	return &x.router.metrics.none
}

func (m *meter) observe(status int, took time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 2 // nothing was written: net/http answers 200
	}
	m.classes[class].Inc()
	m.duration.Observe(took.Seconds())
}
