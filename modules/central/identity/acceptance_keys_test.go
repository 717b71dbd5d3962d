package identity_test

import (
	"encoding/json"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/modules/central/identity"
)

func keysOf(t *testing.T, a *apptest.App) *identity.Keys {
	t.Helper()
	keys, done, err := app.Keys(t.Context(), a.Config, discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	return keys
}

// published returns the ids in the JWKS.
func published(t *testing.T, a *apptest.App) map[string]bool {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(a.On("").Get(t, "//.well-known/jwks.json").Raw, &set); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, k := range set.Keys {
		ids[k.KeyID] = true
	}
	return ids
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	parsed, err := josejwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Headers[0].KeyID
}

func TestAuth21_KeysGoFromNextToActiveToRetired(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	b := a.Another(t)
	p := a.SignUp(t)
	first := kidOf(t, p.Token)
	before := published(t, a)
	if len(before) != 2 || !before[first] {
		t.Fatalf("%v is published, the active key is %s", before, first)
	}
	r, err := keysOf(t, a).Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Retired != first || !before[r.Active] || before[r.Next] {
		t.Errorf("%+v, published before were %v", r, before)
	}
	old := p.Token
	apptest.Until(t, "the next key signs", func() bool {
		p.SignIn(t)
		return kidOf(t, p.Token) == r.Active
	})
	for _, token := range []string{old, p.Token} {
		a.On("").As(token).Get(t, "/auth/me").Want(t, 200)
		b.On("").As(token).Get(t, "/auth/me").Want(t, 200)
	}
	apptest.Until(t, "three keys are published", func() bool { now := published(t, a); return now[first] && now[r.Active] && now[r.Next] })
	clock.forward(a.Config.Identity.AccessTTL + 2*time.Minute)
	apptest.Until(t, "the retired key is gone", func() bool { return !published(t, a)[first] })
	if n := count(t, a, "select count(*) from central.signing_keys where kid = $1 and private_key = ''", first); n != 1 {
		t.Error("the private half of the retired key is still there")
	}
}

func TestAuth21_ARevokedKeyIsNothingWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	b := a.Another(t)
	p := a.SignUp(t)
	for _, x := range []*apptest.App{a, b} { // from now on both remember the token as verified
		x.On("").As(p.Token).Get(t, "/auth/me").Want(t, 200)
	}
	kid := kidOf(t, p.Token)
	keys := keysOf(t, a)
	if err := keys.Revoke(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*apptest.App{a, b} {
		within(t, 5*time.Second, "its tokens are refused", func() bool { return x.On("").As(p.Token).Get(t, "/auth/me").Status == 401 })
	}
	if published(t, a)[kid] || published(t, b)[kid] {
		t.Error("still published")
	}
	// The session goes on, under the key that took over.
	s := refreshed(t, b.On(""), p.RefreshToken)
	if kidOf(t, s.AccessToken) == kid {
		t.Error("still signs")
	}
	a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 200)
	if err := keys.Revoke(t.Context(), "tidak-ada"); err == nil {
		t.Error("revoked a key that is not there")
	}
}

// What makes every process look again at once is told by the database, whoever changes a key.
func TestAuth21_AChangeOfTheKeysIsTold(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	kid := kidOf(t, p.Token)
	listener := connect(t, a)
	if _, err := listener.Exec(t.Context(), "listen homecore_access"); err != nil {
		t.Fatal(err)
	}
	exec(t, a, "update central.signing_keys set status = 'revoked', revoked_at = now(), private_key = '' where kid = $1", kid)
	for {
		n, err := listener.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Payload == "key "+kid {
			break
		}
	}
}

func TestAuth21_AccessTokensVerifyInGoJose(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	m := p.Onboard(t, "rapi-jose")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(a.On("").Get(t, "//.well-known/jwks.json").Raw, &set); err != nil {
		t.Fatal(err)
	}
	for token, audience := range map[string]string{p.Token: "homecore:central", m.Token: "homecore:tenant:" + m.TenantID.String()} {
		parsed, err := josejwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		var c josejwt.Claims
		if err := parsed.Claims(&set, &c); err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(josejwt.Expected{Issuer: "http://" + apptest.BaseHost, AnyAudience: josejwt.Audience{audience}, Subject: p.ID.String(), Time: time.Now()}); err != nil {
			t.Error(err)
		}
	}
}

func TestAuth21_AccessTokensVerifyInNpmJose(t *testing.T) {
	t.Parallel()
	if _, err := osexec.LookPath("node"); err != nil {
		t.Skip("there is no node here")
	}
	const dir = "testdata/jose"
	if _, err := os.Stat(dir + "/node_modules/jose"); err != nil {
		install := osexec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--silent")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("npm ci: %v\n%s", err, out)
			}
			t.Skipf("npm's jose cannot be installed here: %v\n%s", err, out)
		}
	}
	a := apptest.New(t)
	p := a.SignUp(t)
	broken := p.Token[:len(p.Token)-4] + "AAAA"
	check := osexec.CommandContext(t.Context(), "node", "verify.mjs", a.URL+"/.well-known/jwks.json", "http://"+apptest.BaseHost, "homecore:central")
	check.Dir, check.Stdin, check.Stderr = dir, strings.NewReader(p.Token+"\n"+broken+"\n"), t.Output()
	out, err := check.Output()
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		Error   string `json:"error"`
		Payload struct {
			Subject string `json:"sub"`
		} `json:"payload"`
		Header struct {
			Alg string `json:"alg"`
		} `json:"header"`
	}
	var results []result
	for line := range strings.Lines(string(out)) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	if len(results) != 2 || results[0].Payload.Subject != p.ID.String() || results[0].Header.Alg != "EdDSA" || results[1].Error != "ERR_JWS_SIGNATURE_VERIFICATION_FAILED" {
		t.Errorf("%s", out)
	}
}
