package transfer

import (
	"context"
	"io"
	"syscall"

	"github.com/google/uuid"
)

// ErrKilled, returned by a step, ends the work there and leaves everything as a kill would.
var ErrKilled = errKilled

// Step calls between the steps of its work.
func (p *Porter) Step(between func(name string) error) { p.step = between }

// HealTenant is Heal for one tenant, where tests of others are at work.
func (p *Porter) HealTenant(ctx context.Context, tenant uuid.UUID) error { return p.heal(ctx, tenant) }

// FillDisk lets the disk be full after so many bytes of an archive.
func (p *Porter) FillDisk(after int) {
	p.disk = func(_ string, file io.Writer) io.Writer { return &full{file, after} }
}

type full struct {
	to   io.Writer
	left int
}

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, syscall.ENOSPC
	}
	return f.to.Write(b)
}
