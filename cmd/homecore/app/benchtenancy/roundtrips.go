package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	"garment.id/homecore/tenancy"
)

// trips counts how often something was sent and then waited for.
type trips struct{ n atomic.Int64 }

// wire is a connection whose round trips are counted.
type wire struct {
	net.Conn
	trips   *trips
	waiting atomic.Bool
}

func (c *wire) Write(b []byte) (int, error) {
	c.waiting.Store(true)
	return c.Conn.Write(b)
}

func (c *wire) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.waiting.CompareAndSwap(true, false) {
		c.trips.n.Add(1)
	}
	return n, err
}

func (t *trips) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, trips: t}, nil
}

// roundTrips counts, for each way, those of a read on a connection that has read the same before.
func (w *world) roundTrips(ctx context.Context) (map[string]float64, error) {
	if err := w.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { w.dial = nil }()
	const reads = 100
	out := map[string]float64{}
	for _, key := range w.options.ways {
		v, err := wayOf(key)
		if err != nil {
			return nil, err
		}
		counted := &trips{}
		w.dial = counted.dial
		cl, err := v.open(w, "bench round trips")
		if err != nil {
			return nil, err
		}
		t := w.tenants[0]
		for i := range 2 * reads {
			if i == reads {
				counted.n.Store(0)
			}
			if err := cl.read(ctx, t, mainTable, rowID(t.index, 0)); err != nil {
				cl.close()
				return nil, fmt.Errorf("count round trips of %s: %w", key, err)
			}
		}
		out[key] = float64(counted.n.Load()) / reads
		cl.close()
	}
	return out, nil
}

// entersAsRole says whether what the tenancy driver runs has the rights of the tenant's own role.
func (w *world) entersAsRole(ctx context.Context) (bool, error) {
	db, err := w.openTenancy("bench role")
	if err != nil {
		return false, err
	}
	defer db.Close() //nolint:errcheck // nothing was written
	t := w.tenants[0]
	scope, err := tenancy.Current(t.ctx)
	if err != nil {
		return false, err
	}
	var role string
	err = db.Gorm(t.ctx).Raw("select current_user").Scan(&role).Error
	return role == scope.Role() && role != "", err
}
