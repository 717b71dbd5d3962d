package idempotency_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/migrations"
	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/idempotency"
	"garment.id/homecore/platform/postgres/pgtest"
)

func open(t *testing.T) *database.DB {
	t.Helper()
	url := pgtest.Database(t)
	owner, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	set, err := migrations.Load(migrations.Central)
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Migrate(t.Context(), owner, "central", set, nil); err != nil {
		t.Fatal(err)
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["search_path"] = "central"
	db, err := database.Open(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestOnce(t *testing.T) {
	t.Parallel()
	db := open(t)
	store := idempotency.New(db)
	once := func(key, hash string, fn func(context.Context) ([]byte, error)) (string, bool, error) {
		result, replayed, err := store.Once(t.Context(), "somebody", "create", key, []byte(hash), fn)
		return string(result), replayed, err
	}
	answer := func(text string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { return []byte(text), nil }
	}

	t.Run("replays the first answer to the same request", func(t *testing.T) {
		if result, replayed, err := once("a", "1", answer("first")); result != "first" || replayed || err != nil {
			t.Fatalf("%s %v %v", result, replayed, err)
		}
		if result, replayed, err := once("a", "1", answer("second")); result != "first" || !replayed || err != nil {
			t.Errorf("%s %v %v", result, replayed, err)
		}
	})

	t.Run("refuses the key for another request", func(t *testing.T) {
		if _, _, err := once("a", "2", answer("third")); !errors.Is(err, api.ErrKeyReused) {
			t.Errorf("%v", err)
		}
	})

	t.Run("remembers no refusal, and undoes what led to it", func(t *testing.T) {
		refused := errors.New("refused")
		_, _, err := once("b", "1", func(ctx context.Context) ([]byte, error) {
			if err := db.Gorm(ctx).Exec("insert into installation (id) values ('abcdef')").Error; err != nil {
				return nil, err
			}
			return nil, refused
		})
		if !errors.Is(err, refused) {
			t.Fatal(err)
		}
		var n int64
		if err := db.Gorm(t.Context()).Table("installation").Count(&n).Error; err != nil || n != 0 {
			t.Errorf("%d rows are left of it, %v", n, err)
		}
		if result, replayed, err := once("b", "1", answer("now")); result != "now" || replayed || err != nil {
			t.Errorf("%s %v %v", result, replayed, err)
		}
	})

	t.Run("runs once of many at the same time", func(t *testing.T) {
		var ran atomic.Int32
		var wait sync.WaitGroup
		for range 16 {
			wait.Go(func() {
				result, _, err := once("c", "1", func(context.Context) ([]byte, error) { ran.Add(1); return []byte("one"), nil })
				if result != "one" || err != nil {
					t.Errorf("%s %v", result, err)
				}
			})
		}
		wait.Wait()
		if ran.Load() != 1 {
			t.Errorf("it ran %d times", ran.Load())
		}
	})

	t.Run("forgets after a day, and clears away others' old keys", func(t *testing.T) {
		if err := db.Gorm(t.Context()).Exec("update idempotency_keys set created_at = now() - interval '25 hours'").Error; err != nil {
			t.Fatal(err)
		}
		if result, replayed, err := once("a", "2", answer("anew")); result != "anew" || replayed || err != nil {
			t.Errorf("%s %v %v", result, replayed, err)
		}
		var n int64
		if err := db.Gorm(t.Context()).Table("idempotency_keys").Count(&n).Error; err != nil || n != 1 {
			t.Errorf("%d keys are kept, %v", n, err)
		}
	})
}
