package identity

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"garment.id/homecore/platform/crypto"
)

// What begins to listen reads what it may have missed until then. A reading that began earlier, for somebody else, does not tell.
func TestSnapshotIsNotOlderThanAskedFor(t *testing.T) {
	t.Parallel()
	for what, fresh := range map[string]time.Duration{"asked for as of now": 0, "dropped while it is read": time.Minute} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var truth atomic.Int64
				s := &snapshot[int]{timeout: time.Minute}
				s.load = func(context.Context, int) (int, error) {
					seen := int(truth.Load()) // the statement's snapshot, at its beginning
					<-time.After(time.Second)
					return seen, nil
				}
				go func() { _, _ = s.get(t.Context(), time.Minute, 0) }()
				<-time.After(time.Second / 2)
				truth.Store(1)
				if fresh > 0 {
					s.drop()
				}
				if got, err := s.get(t.Context(), fresh, 0); err != nil || got != 1 {
					t.Errorf("%d, %v", got, err)
				}
			})
		})
	}
}

// TestAuth21_AWithdrawnKeyIsBelievedForFiveSecondsAtMost is about a process that hears of nothing, and one that cannot read.
func TestAuth21_AWithdrawnKeyIsBelievedForFiveSecondsAtMost(t *testing.T) {
	t.Parallel()
	away := errors.New("the database is away")
	for what, reading := range map[string]func(ctx context.Context) error{
		"hears nothing":                   func(context.Context) error { return nil },
		"cannot read":                     func(context.Context) error { return away },
		"waits in vain for what it reads": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run("a process that "+what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := newKeyring(nil, crypto.NewKey(), time.Now, time.Minute)
				began := time.Now()
				k.set.load = func(ctx context.Context, last *keySet) (*keySet, error) {
					if last == nil {
						return &keySet{verify: map[string]verifyKey{"k1": {}}}, nil
					}
					if err := reading(ctx); err != nil {
						return nil, err
					}
					return &keySet{}, nil
				}
				for believed := true; believed; <-time.After(10 * time.Millisecond) {
					_, ok, err := k.find(t.Context(), "k1")
					believed = ok && err == nil
					if took := time.Since(began); believed && took >= 5*time.Second {
						t.Fatalf("believed after %s", took)
					}
				}
			})
		})
	}
	t.Run("who has heard of it believes it no more, even if the rest cannot be read", func(t *testing.T) {
		t.Parallel()
		k := newKeyring(nil, crypto.NewKey(), time.Now, time.Minute)
		k.set.load = func(_ context.Context, last *keySet) (*keySet, error) {
			if last == nil {
				return &keySet{verify: map[string]verifyKey{"k1": {}}}, nil
			}
			return nil, away
		}
		if _, ok, err := k.find(t.Context(), "k1"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		(&accessListener{keys: k}).Heard("key k1")
		if _, ok, err := k.find(t.Context(), "k1"); ok || !errors.Is(err, away) {
			t.Error(ok, err)
		}
	})
}
