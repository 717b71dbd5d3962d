package identity

// Whose password is it?
//
// Anybody can register any address. The mail that follows goes to the address' owner, whose mail scanner opens every link in it, and
// who may open one too, out of habit. So an opened link proves that the mailbox exists and is read, and nothing about who chose the
// password that was registered: taken for more, it lets a stranger's password into the owner's account (the "pre-hijacking" of Sudhodanan
// and Paverd, USENIX Security 2022). Asking the opener for the password would prove it, but a link must work by being opened.
//
// Therefore verifying the address and accepting the password are two things. A password that was set by registering is a claim
// (users.password_claimed). The claim becomes the account's password when somebody who can read the mail has shown that they know it:
//
//   - the link was opened from the network that registered (same IPv4 address, same /64), or from one that has signed in with it;
//   - or, later, somebody signs in with it from a network that has opened a link in that mailbox.
//
// One of these holds for nearly everybody who registers for themselves, and they notice nothing. For a stranger neither does: being on
// the network of the mailbox' reader takes more than knowing the address. Who did it all from different networks is told so
// (auth.password_unconfirmed) and gets a mail with a link that sets a password, by POST, which scanners do not do.
//
// While the claim stands:
//
//   - an unverified account can be signed in to, and that is all: it can make no workspace, and can add no credential of any kind;
//   - verifying the address ends every session made before, unless the same step proves the claim;
//   - registering the address again keeps the earlier claim and the later one apart, each with its own link. A link that is opened
//     brings its own claim in place of an older or an unproved one; a claim that has been proved gives way only to a newer one that is proved as well;
//   - resetting the password, Google's word for the address, and an accepted invitation are proofs of the mailbox with a human act: they
//     put an end to the claim, with all the sessions and factors that came with it (evict).
//
// The five attacks of that study, in turn. Classic-federated merge: the claim does not survive the merge. Unexpired session: it ends
// when the address is verified, and with every reset. Trojan identifier: nothing can be added to an account before its address is
// verified, and evict removes what there is. Unexpired e-mail change: links are bound to the address they were sent to, and void with it.
// Non-verifying provider: the identity is its subject, and an address it has not verified is refused.

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

var passwordUnconfirmed = fault.New(fault.Forbidden, "auth.password_unconfirmed",
	"Kata sandi ini dipilih sebelum alamat email diverifikasi, dari jaringan lain. Kami mengirim email; buka tautannya untuk menetapkan kata sandi Anda.",
	"This password was chosen before the e-mail address was verified, from another network. We have sent a mail; open its link to set your password.")

// openedKept bounds how many networks are remembered for a link. The oldest go first: scanners come before people.
const openedKept = 8

// networkOf returns the network of an address: itself, or its /64 where it is IPv6 (a subscriber gets one at least); "" for none.
func networkOf(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(ip, bits).Masked().String()
}

func networkFrom(ctx context.Context) string { return networkOf(api.ClientFrom(ctx).IP) }

// opened is what opening a link does to an account, in a transaction that holds its row. It returns the sessions it ended.
func (s *Service) opened(ctx context.Context, u user, l mailLink) (ended []uuid.UUID, err error) {
	from, now := networkFrom(ctx), s.now()
	if err := s.rememberOpening(ctx, l, from); err != nil {
		return nil, err
	}
	var columns []string
	verifies := u.EmailVerifiedAt == nil
	if verifies {
		u.EmailVerifiedAt, columns = &now, append(columns, "email_verified_at")
	}
	evicts := false
	switch registered := l.PasswordHash != nil; {
	case !u.PasswordClaimed && u.ClaimID == nil: // changed since, or never claimed
	case !registered || u.ClaimID != nil && *u.ClaimID == l.ID: // about the claim that stands
		if !u.PasswordClaimed {
			break
		}
		proved, err := s.claimProved(ctx, u, from)
		if err != nil {
			return nil, err
		}
		u.PasswordClaimed, evicts = !proved, verifies && !proved
		columns = append(columns, "password_claimed")
	default: // about another
		proved := from != "" && from == l.ClaimedFrom
		newer := u.ClaimID == nil || bytes.Compare(l.ID[:], u.ClaimID[:]) > 0
		if takes := proved && newer || u.PasswordClaimed && (proved || newer); !takes {
			evicts = verifies && u.PasswordClaimed
			break
		}
		u.Name, u.PasswordHash, u.PasswordSetAt, u.PasswordClaimed, u.ClaimID = *l.Name, l.PasswordHash, &now, !proved, &l.ID
		columns, evicts = append(columns, "name", "password_hash", "password_set_at", "password_claimed", "claim_id"), true
	}
	if len(columns) == 0 {
		return nil, nil
	}
	u.UpdatedAt = now
	if err := s.DB.Gorm(ctx).Model(&u).Select(append(columns, "updated_at")).Updates(u).Error; err != nil {
		return nil, fmt.Errorf("verify the address of %s: %w", u.ID, err)
	}
	if evicts {
		return s.evict(ctx, u.ID)
	}
	return nil, nil
}

// settled reports whether opening l again can change nothing: it needs no lock then, and happens often.
func settled(u user, l mailLink) bool {
	return u.EmailVerifiedAt != nil && !u.PasswordClaimed &&
		(u.ClaimID == nil || l.PasswordHash == nil || bytes.Compare(l.ID[:], u.ClaimID[:]) <= 0)
}

// rememberOpening notes from where a link was opened.
func (s *Service) rememberOpening(ctx context.Context, l mailLink, from string) error {
	networks := strings.Fields(l.OpenedFrom)
	if from == "" || slices.Contains(networks, from) {
		return nil
	}
	if networks = append(networks, from); len(networks) > openedKept {
		networks = networks[len(networks)-openedKept:]
	}
	if err := s.DB.Gorm(ctx).Model(&l).Select("opened_from").Updates(mailLink{OpenedFrom: strings.Join(networks, " ")}).Error; err != nil {
		return fmt.Errorf("note where mail link %s was opened: %w", l.ID, err)
	}
	return nil
}

// claimProved reports whether the network that opened a link is one that knows the account's claimed password: it registered with it,
// or has signed in.
func (s *Service) claimProved(ctx context.Context, u user, from string) (bool, error) {
	if from == "" {
		return false, nil
	}
	var registered int64
	if u.ClaimID != nil {
		err := s.DB.Gorm(ctx).Model(&mailLink{}).Where("id = ? and claimed_from = ?", *u.ClaimID, from).Count(&registered).Error
		if err != nil {
			return false, fmt.Errorf("read the registration of %s: %w", u.ID, err)
		}
	}
	if registered > 0 {
		return true, nil
	}
	var addresses []string
	err := s.DB.Gorm(ctx).Model(&session{}).Where("user_id = ? and revoked_at is null", u.ID).Distinct().Limit(100).Pluck("ip", &addresses).Error
	if err != nil {
		return false, fmt.Errorf("read the sessions of %s: %w", u.ID, err)
	}
	return slices.ContainsFunc(addresses, func(text string) bool {
		ip, err := netip.ParseAddr(text)
		return err == nil && networkOf(ip) == from
	}), nil
}

// confirmClaim decides about a sign-in by the right password that is only claimed: good where the mail has been read from here, refused with
// auth.password_unconfirmed otherwise, and then the address' owner gets a mail. It changes u along.
func (s *Service) confirmClaim(ctx context.Context, u *user) error {
	if !u.PasswordClaimed || u.EmailVerifiedAt == nil {
		return nil
	}
	var refused error
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		now, err := s.lockUser(ctx, u)
		if err != nil {
			return err
		}
		if now.storedHash() != u.storedHash() || now.DisabledAt != nil {
			return invalidCredentials // meanwhile another's
		}
		if !now.PasswordClaimed {
			u.PasswordClaimed = false
			return nil
		}
		var openings []string
		err = s.DB.Gorm(ctx).Model(&mailLink{}).Where("user_id = ? and purpose = ? and email = ?", u.ID, purposeVerify, now.Email).Pluck("opened_from", &openings).Error
		if err != nil {
			return fmt.Errorf("read where the mail of %s was opened: %w", u.ID, err)
		}
		if from := networkFrom(ctx); from != "" && slices.Contains(strings.Fields(strings.Join(openings, " ")), from) {
			now.PasswordClaimed, u.PasswordClaimed = false, false
			return s.DB.Gorm(ctx).Model(&now).Select("password_claimed").Updates(now).Error
		}
		refused = passwordUnconfirmed
		err = s.record(ctx, Event{Type: eventLoginFailed, Outcome: outcomeFailure, Reason: "password_unconfirmed", UserID: u.ID, Identifier: now.Email, AMR: amrPassword})
		if err != nil {
			return err
		}
		return s.offerReset(ctx, now, letterConfirm)
	})
	if err != nil {
		return wrap(err, "confirm a password")
	}
	s.AccountChanged(u.ID)
	return refused
}

// claimChanged reports whether a sign-in that began with the account as in then must begin anew: its password was only a claim, and the
// address has been verified meanwhile. Sessions of before have been ended; this one must not come after.
func claimChanged(then, now user) bool {
	return now.PasswordClaimed && !sameTime(then.EmailVerifiedAt, now.EmailVerifiedAt)
}

// evict removes everything that whoever used the account before its owner may have left in it, except what the caller is about to set: all
// sessions, second factors, remembered devices, linked identities and links to set a password. It wants a transaction that holds the user's
// row, and returns the sessions it ended, for s.ended.add.
func (s *Service) evict(ctx context.Context, userID uuid.UUID) (ended []uuid.UUID, err error) {
	for _, table := range leftBehind() {
		if err := s.DB.Gorm(ctx).Exec("delete from "+table+" where user_id = ?", userID).Error; err != nil {
			return nil, fmt.Errorf("evict from account %s: %w", userID, err)
		}
	}
	if err := s.DB.Gorm(ctx).Exec("update users set two_factor_at = null, google_linked_at = null where id = ? and (two_factor_at is not null or google_linked_at is not null)", userID).Error; err != nil {
		return nil, fmt.Errorf("evict from account %s: %w", userID, err)
	}
	if err := s.endResetLinks(ctx, userID); err != nil {
		return nil, err
	}
	return s.endSessions(ctx, userID, endedReclaimed, "true")
}

// leftBehind is the tables, by user_id, whose rows are ways into an account or factors of it. Whoever adds one names it here.
func leftBehind() []string {
	return []string{"totp_factors", "totp_enrolments", "recovery_codes", "passkeys", "challenges", "remembered_devices", "google_identities"}
}

// requireOwner refuses, with auth.email_unverified, who has not shown that the account is theirs: nothing may be added to it that
// would outlive the day its owner comes.
func requireOwner(u user) error {
	if u.EmailVerifiedAt == nil || u.PasswordClaimed {
		return emailUnverified
	}
	return nil
}
