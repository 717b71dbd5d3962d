//go:build unix

package tenancy

import (
	"context"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// alive says whether the server still holds the other end of an idle connection. It looks at the socket without a round
// trip: an idle server sends nothing, so anything to read is a farewell or, rarely, a notice, which a ping then tells apart.
func alive(ctx context.Context, pg *pgconn.PgConn) bool {
	nc := pg.Conn()
	if wrapped, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = wrapped.NetConn() // TLS
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	var peekErr error
	err = raw.Control(func(fd uintptr) {
		var buf [1]byte
		n, _, peekErr = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case err != nil:
		return false
	case peekErr == syscall.EAGAIN || peekErr == syscall.EINTR:
		return true
	case peekErr != nil || n <= 0:
		return false
	}
	return pg.Ping(ctx) == nil
}
