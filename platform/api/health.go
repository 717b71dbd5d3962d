package api

import (
	"errors"
	"net/http"

	"garment.id/homecore/platform/fault"
)

type health struct {
	Status string `json:"status"`
}

var errDraining = errors.New("shutting down")

// serveHealth answers /up while the process serves at all, and /ready while it should get traffic.
func (r *Router) serveHealth(x *exchange, req *http.Request) {
	ctx := req.Context()
	if req.Method != http.MethodGet {
		x.ResponseWriter.Header().Set("Allow", "GET, HEAD")
		x.fail(ctx, fault.MethodRefused)
		return
	}
	x.ResponseWriter.Header().Set("Cache-Control", "no-store")
	state := health{Status: "up"}
	if req.URL.Path == "/ready" {
		err := r.config.Ready(ctx)
		if r.draining.Load() {
			err = errDraining
		}
		if err != nil {
			r.config.Logger.WarnContext(ctx, "not ready", "error", err)
			x.fail(ctx, fault.ServiceUnavailable)
			return
		}
		state.Status = "ready"
	}
	out := OK(state)
	out.stamp(x, http.StatusOK)
	x.answer(http.StatusOK, &out.Body)
}
