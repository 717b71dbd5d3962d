package identity

import (
	"context"
	"errors"

	"github.com/google/uuid"
)

// Second factors as the rest of the module asks for them. No account has one yet.

// secondFactors returns the methods the user could answer a challenge with: totp, recovery_code, passkey. None: no challenge.
func (s *Service) secondFactors(_ context.Context, _ user) ([]string, error) { return nil, nil }

// secondFactorRequired reports whether the user's platform roles or tenants ask for a second factor, or the user does.
func (s *Service) secondFactorRequired(_ context.Context, _ user) (bool, error) { return false, nil }

var errNoFactor = errors.New("a challenge for an account without a second factor")

// openChallenge asks for the second factor before w gets a session.
func (s *Service) openChallenge(_ context.Context, _ wayIn, _ []string) (SignedIn, error) {
	return SignedIn{}, errNoFactor
}

// remembered returns the remembered device that token belongs to; false unless it is good for u now.
func (s *Service) remembered(_ context.Context, _ user, _ string) (id uuid.UUID, ok bool, err error) {
	return uuid.Nil, false, nil
}

// forgetDevices ends the user's remembered devices, in the transaction ctx carries.
func (s *Service) forgetDevices(_ context.Context, _ uuid.UUID) error { return nil }
