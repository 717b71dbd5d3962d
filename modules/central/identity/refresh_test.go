package identity_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/fault"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))

	t.Run("rotates in one row", func(t *testing.T) {
		p := a.SignUp(t)
		before := count(t, a, "select count(*) from central.refresh_chains")
		token := p.RefreshToken
		for range 5 {
			s := refreshed(t, p.Caller, token)
			if s.RefreshToken == token || s.AccessToken == p.AccessToken {
				t.Fatal("nothing new")
			}
			p.As(s.AccessToken).Get(t, "/auth/me").Want(t, 200)
			token = s.RefreshToken
		}
		if after := count(t, a, "select count(*) from central.refresh_chains"); after != before {
			t.Errorf("%d rows more", after-before)
		}
	})
	t.Run("gives twenty at once the same new token and logs nobody out", func(t *testing.T) {
		p := a.SignUp(t)
		var mu sync.Mutex
		got := map[string]bool{}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				var s apptest.Session
				r := refresh(t, p.Caller, p.RefreshToken)
				if r.Status != 200 {
					t.Errorf("%s", r.Raw)
					return
				}
				r.Into(t, &s)
				mu.Lock()
				defer mu.Unlock()
				got[s.RefreshToken] = true
			})
		}
		wg.Wait()
		if len(got) != 1 {
			t.Fatalf("%d different tokens", len(got))
		}
		for token := range got {
			refreshed(t, p.Caller, token)
		}
	})
	t.Run("ends the session when a token comes back after the grace", func(t *testing.T) {
		p := a.SignUp(t)
		s := refreshed(t, p.Caller, p.RefreshToken)
		clock.forward(11 * time.Second)
		refresh(t, p.Caller, p.RefreshToken).Want(t, 401, "auth.refresh_reused")
		refresh(t, p.Caller, s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		p.As(s.AccessToken).Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
	})
	t.Run("ends the session when a token comes back after its child was used", func(t *testing.T) {
		p := a.SignUp(t)
		child := refreshed(t, p.Caller, p.RefreshToken)
		refreshed(t, p.Caller, child.RefreshToken)
		refresh(t, p.Caller, p.RefreshToken).Want(t, 401, "auth.refresh_reused")
		p.Get(t, "/auth/me").Want(t, 401)
	})
	t.Run("says invalid to whatever was never a token", func(t *testing.T) {
		p := a.SignUp(t)
		for _, bad := range []string{"", "x", p.AccessToken[:80], p.RefreshToken[:len(p.RefreshToken)-2] + "AA", p.RefreshToken + "\n"} {
			refresh(t, p.Caller, bad).Want(t, 401, "auth.refresh_invalid")
		}
		refreshed(t, p.Caller, p.RefreshToken)
	})
	t.Run("ends for a disabled account", func(t *testing.T) {
		p := a.SignUp(t)
		if err := a.Identity.Disable(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		refresh(t, p.Caller, p.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		p.Get(t, "/auth/me").Want(t, 401)
	})
	t.Run("ends when idle, and at the session's end however busy", func(t *testing.T) {
		idle, busy := a.SignUp(t), a.SignUp(t)
		token := busy.RefreshToken
		for range 4 { // 29 days each: 87 of 90
			clock.forward(29 * 24 * time.Hour)
			r := refresh(t, busy.Caller, token)
			if r.Status == 401 {
				break
			}
			object := r.Want(t, 200).Object(t)
			token = object["refresh_token"].(string)
			if left := object["refresh_expires_in"].(float64); left > 30*24*3600 {
				t.Errorf("%v seconds", left)
			}
		}
		refresh(t, busy.Caller, token).Want(t, 401, "auth.refresh_invalid")
		refresh(t, idle.Caller, idle.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	})
}

// A refresh that waited for the session's lock decides by what the one before it left, not by what it saw before the wait.
func TestRefreshDecidesByWhatItFindsAfterWaiting(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	holder := connect(t, a)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := sessionID(t, a, p.Session)
	if _, err := tx.Exec(t.Context(), "select from central.sessions where id = $1 for update", id); err != nil {
		t.Fatal(err)
	}
	answer := make(chan *apptest.Response, 1)
	go func() { answer <- refresh(t, p.Caller, p.RefreshToken) }()
	apptest.Until(t, "the refresh waits", func() bool {
		return count(t, a, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") > 0
	})
	if _, err := tx.Exec(t.Context(), "update central.refresh_chains set generation = generation + 2 where session_id = $1", id); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-answer).Want(t, 401, "auth.refresh_reused")
}

// Each round, one ends the session while others renew it: whoever wins, no token of it is good afterwards.
func TestRevokeRacingRotateLeavesNothingAlive(t *testing.T) {
	t.Parallel()
	rounds := 60
	if n, err := strconv.Atoi(os.Getenv("HOMECORE_TEST_RACES")); err == nil {
		rounds = n
	}
	a := apptest.New(t)
	p := a.SignUp(t)
	other := secondProcess(t, a)
	for round := range rounds {
		p.SignIn(t)
		var mu sync.Mutex
		tokens := []apptest.Session{p.Session}
		var wg sync.WaitGroup
		// In turn: many with one token, and one with a token after another. Both together would be reuse, which ends the session too.
		together, inTurn := 3, 1
		if round%2 == 1 {
			together, inTurn = inTurn, together
		}
		for range together {
			wg.Go(func() {
				token := p.RefreshToken
				for range inTurn {
					got, err := other.Identity.Refresh(t.Context(), token)
					if err != nil {
						return
					}
					token = got.RefreshToken
					mu.Lock()
					tokens = append(tokens, apptest.Session{AccessToken: got.AccessToken, RefreshToken: got.RefreshToken})
					mu.Unlock()
				}
			})
		}
		wg.Go(func() { p.Post(t, "/auth/logout", nil).Want(t, 200) })
		wg.Wait()
		for _, s := range tokens {
			if _, err := other.Identity.Refresh(t.Context(), s.RefreshToken); err == nil {
				t.Fatal("a refresh token outlived its session")
			}
			if _, err := a.Identity.Authenticate(t.Context(), s.AccessToken); !errors.Is(err, fault.Unauthorized) {
				t.Fatalf("an access token outlived its session: %v", err)
			}
		}
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	other := secondProcess(t, a)

	t.Run("ends this session, in every process within a second", func(t *testing.T) {
		t.Parallel()
		fastest := time.Hour
		for try := 0; try < 5 && fastest > time.Second; try++ { // the machine may be busy with something else
			p := a.SignUp(t)
			second := p.Session
			login(t, a, p.Email, p.Password).Want(t, 200).Into(t, &second)
			m := p.Onboard(t, fmt.Sprint("keluar-", try))
			if _, err := other.Identity.Authenticate(t.Context(), m.AccessToken); err != nil {
				t.Fatal(err)
			}
			p.Post(t, "/auth/logout", nil).Want(t, 200)
			ended := time.Now()
			p.Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
			m.Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
			apptest.Until(t, "the other process knows", func() bool {
				_, err := other.Identity.Authenticate(t.Context(), m.AccessToken)
				return errors.Is(err, fault.Unauthorized)
			})
			fastest = min(fastest, time.Since(ended))
			p.As(second.AccessToken).Get(t, "/auth/me").Want(t, 200)
		}
		if fastest > time.Second {
			t.Errorf("took %s", fastest)
		}
	})
	t.Run("all ends every session of the user and of nobody else", func(t *testing.T) {
		t.Parallel()
		p, bystander := a.SignUp(t), a.SignUp(t)
		first := p.Session
		p.SignIn(t)
		p.Post(t, "/auth/logout-all", nil).Want(t, 200)
		for _, s := range []apptest.Session{first, p.Session} {
			p.As(s.AccessToken).Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
			refresh(t, p.Caller, s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		}
		bystander.Get(t, "/auth/me").Want(t, 200)
	})
}

func TestAuthenticateWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	if _, err := a.Identity.Authenticate(t.Context(), p.AccessToken); err != nil {
		t.Fatal(err)
	}
	t.Run("asks it at most twice a second, whatever the number of requests", func(t *testing.T) {
		queries := func() (n int) {
			return count(t, a, `select coalesce(sum(xact_commit + xact_rollback), 0)::int from pg_stat_database where datname = current_database()`)
		}
		before, began := queries(), time.Now()
		for range 5_000 {
			if _, err := a.Identity.Authenticate(t.Context(), p.AccessToken); err != nil {
				t.Fatal(err)
			}
		}
		took := time.Since(began)
		if asked := queries() - before; asked > 200+int(took/(100*time.Millisecond)) { // the jobs ask too
			t.Errorf("%d transactions for 5,000 requests in %s", asked, took)
		}
	})
	t.Run("believes no token once it cannot know", func(t *testing.T) {
		a.Close()
		apptest.Until(t, "the answer is that the service is unavailable", func() bool {
			_, err := a.Identity.Authenticate(context.Background(), p.AccessToken)
			return errors.Is(err, fault.ServiceUnavailable)
		})
	})
}

func TestAuth19_ExpiredSessionsArePurged(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	ended := p.Session
	p.SignIn(t)
	expired := p.Session
	p.SignIn(t)
	p.SignIn(t)
	register(t, a, "Siti", "siti@example.com", password)
	old := time.Now().Add(-31 * 24 * time.Hour)
	exec(t, a, "update central.sessions set revoked_at = $1 where id = $2", old, sessionID(t, a, ended))
	exec(t, a, "update central.sessions set expires_at = $1 where id = $2", old, sessionID(t, a, expired))
	exec(t, a, "update central.mail_links set expires_at = $1", old)
	if err := a.Identity.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, a, "select count(*) from central.sessions"); n != 2 {
		t.Errorf("%d sessions are left, want the two that live", n)
	}
	if n := count(t, a, "select count(*) from central.refresh_chains"); n != 2 {
		t.Errorf("%d chains are left", n)
	}
	if n := count(t, a, "select count(*) from central.mail_links"); n != 0 {
		t.Errorf("%d links are left", n)
	}
	p.Get(t, "/auth/me").Want(t, 200)
}

func sessionID(t *testing.T, a *apptest.App, s apptest.Session) string {
	t.Helper()
	p, err := a.Identity.Authenticate(t.Context(), s.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	return p.SessionID.String()
}
