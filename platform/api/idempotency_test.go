package api_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"garment.id/homecore/platform/api"
)

// memory is an IdempotencyStore that forgets with the process.
type memory struct {
	mu   sync.Mutex
	kept map[string]kept
}

type kept struct{ hash, result []byte }

func (m *memory) Once(ctx context.Context, owner, operation, key string, hash []byte, fn func(context.Context) ([]byte, error)) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := owner + "|" + operation + "|" + key
	if k, ok := m.kept[id]; ok {
		if !bytes.Equal(k.hash, hash) {
			return nil, false, api.ErrKeyReused
		}
		return k.result, true, nil
	}
	result, err := fn(ctx)
	if err == nil {
		m.kept[id] = kept{hash, result}
	}
	return result, false, err
}

func TestOnce(t *testing.T) {
	t.Parallel()
	var runs atomic.Int64
	e := newEdge(t)
	store := &memory{kept: map[string]kept{}}
	pay := func(_ context.Context, in *draftInput) (*api.Data[order], error) {
		n := runs.Add(1)
		if in.Body.Name == "gagal" {
			return nil, errors.New("the bank said no")
		}
		return api.Created(order{ID: strings.Repeat("x", int(n)), Name: in.Body.Name}), nil
	}
	api.Post(e.Router, "/pay", api.Once(store, pay), "central.pay", api.User, api.Status(http.StatusCreated))
	post := func(t *testing.T, key, name, token string) *answer {
		t.Helper()
		return e.request(t, "POST /api/v1/pay", `{"name":"`+name+`","email":"a@b.id"}`, "Idempotency-Key: "+key, "Authorization: Bearer "+token)
	}

	// In order: each step builds on the one before.
	first := post(t, "kunci", "Budi", centralToken).want(t, 201, "ok")
	t.Run("replays the first answer", func(t *testing.T) {
		before := runs.Load()
		again := post(t, "kunci", "Budi", centralToken).want(t, 201, "ok")
		if again.Header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(again.body.Data, first.body.Data) || runs.Load() != before {
			t.Errorf("%v %s", again.Header, again.raw)
		}
		if first.Header.Get("Idempotent-Replayed") != "" {
			t.Error("the first answer is marked as a replay")
		}
	})
	t.Run("refuses the key for another body", func(t *testing.T) {
		post(t, "kunci", "Wati", centralToken).want(t, 409, "idempotency.key_reused")
	})
	t.Run("keeps callers apart", func(t *testing.T) {
		if a := post(t, "kunci", "Budi", tailorToken).want(t, 201, "ok"); a.Header.Get("Idempotent-Replayed") != "" {
			t.Error("another audience's answer was replayed")
		}
	})
	t.Run("remembers no failure", func(t *testing.T) {
		post(t, "gagal", "gagal", centralToken).want(t, 500, "server.error")
		before := runs.Load()
		post(t, "gagal", "gagal", centralToken).want(t, 500, "server.error")
		if runs.Load() != before+1 {
			t.Error("the failure was kept")
		}
	})
	t.Run("runs every time without a key", func(t *testing.T) {
		before := runs.Load()
		post(t, "", "Budi", centralToken).want(t, 201, "ok")
		post(t, "", "Budi", centralToken).want(t, 201, "ok")
		if runs.Load() != before+2 {
			t.Error("it did not run")
		}
	})
	t.Run("refuses a key that is too long or invisible", func(t *testing.T) {
		for _, key := range []string{strings.Repeat("k", 256), "a b", "é"} {
			if a := post(t, key, "Budi", centralToken).want(t, 422, "validation.failed"); len(a.body.Errors["Idempotency-Key"]) != 1 {
				t.Errorf("%q: %s", key, a.raw)
			}
		}
	})
}
