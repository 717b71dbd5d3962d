package app_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// wire counts round trips: turns from writing to reading.
type wire struct{ trips atomic.Int64 }

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &counted{Conn: c, wire: w}, nil
}

type counted struct {
	net.Conn
	wire  *wire
	wrote atomic.Bool
}

func (c *counted) Write(b []byte) (int, error) {
	c.wrote.Store(true)
	return c.Conn.Write(b)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.wrote.Swap(false) {
		c.wire.trips.Add(1)
	}
	return n, err
}

// SyscallConn lets the driver ask the kernel whether the connection still lives.
func (c *counted) SyscallConn() (syscall.RawConn, error) { return c.Conn.(syscall.Conn).SyscallConn() }

func TestRoundTripsOfARequest(t *testing.T) {
	t.Parallel()
	w := &wire{}
	a := apptest.New(t, apptest.WithDial(w.dial))
	m := a.SignUp(t).Onboard(t, "rapi-jahit")
	id := m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated).Object(t)["id"].(string)

	// What a member may do is read again twice a second, which is one more: the fewest of some tries is a request without it.
	var n int
	for name, test := range map[string]struct {
		want int64
		do   func()
	}{
		"a read takes one":                    {1, func() { m.Get(t, taxonomies+"/"+id).Want(t, http.StatusOK) }},
		"a list takes one":                    {1, func() { m.Get(t, taxonomies+"?filter[kind]=color").Want(t, http.StatusOK) }},
		"a create takes two, with its commit": {2, func() { n++; m.Post(t, taxonomies, color(fmt.Sprint("W", n))).Want(t, http.StatusCreated) }},
	} {
		t.Run(name, func(t *testing.T) {
			fewest := int64(1 << 20)
			for range 20 {
				before := w.trips.Load()
				test.do()
				fewest = min(fewest, w.trips.Load()-before)
			}
			if fewest != test.want {
				t.Errorf("%d round trips, want %d", fewest, test.want)
			}
		})
	}
}
