package tenants

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"garment.id/homecore/platform/names"
)

// SlugPattern is what a workspace name looks like: a DNS label (RFC 1123) of lower-case ASCII, so that no two look alike
// by their letters' script, and none is an internationalised name (RFC 5890: no hyphens in third and fourth place).
const SlugPattern = `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`

//go:embed reserved.txt
var reservedText string

// names that are nobody's.
type nobodys struct {
	whole    map[string]bool // without hyphens
	parts    []string        // as a part between hyphens, or as the whole
	anywhere []string        // however they are embedded
}

var forbidden = sync.OnceValue(func() (n nobodys) {
	n.whole = map[string]bool{}
	for line := range strings.Lines(reservedText) {
		word := strings.TrimSpace(line)
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case strings.HasPrefix(word, "**"):
			n.anywhere = append(n.anywhere, lettersOf(word[2:]))
		case strings.HasPrefix(word, "*"):
			n.parts = append(n.parts, lettersOf(word[1:]))
		default:
			n.whole[word], n.whole[lettersOf(word)] = true, true
		}
	}
	return n
})

// reserved reports whether a slug must not be given to anybody: names of the platform's own hosts, words that would let a
// tenant pass for the platform, ids, and profanity, also where it is spelt with other characters that read alike.
func reserved(slug string) bool {
	if strings.Contains(slug, "--") || isID(slug) {
		return true
	}
	n := forbidden()
	// A number is one: toko-171 spells nothing. A single digit may stand for a letter among others.
	parts := slices.DeleteFunc(strings.Split(slug, "-"), func(part string) bool { return len(part) > 1 && strings.Trim(part, "0123456789") == "" })
	plain := strings.Join(parts, "")
	// "mall" may be had although it reads like "mail"; who writes "ma1l" means to be read so.
	if n.whole[plain] || (len(plain) > 4 || strings.ContainsAny(plain, "0123456789")) && n.whole[lettersOf(plain)] {
		return true
	}
	letters := lettersOf(plain)
	for _, word := range n.anywhere {
		if strings.Contains(letters, word) {
			return true
		}
	}
	for _, word := range n.parts {
		if letters == word || slices.ContainsFunc(parts, func(part string) bool { return lettersOf(part) == word }) {
			return true
		}
	}
	return false
}

// isID reports whether a slug looks like an id: wherever a tenant may be named by either, it would mean another one, or none.
func isID(slug string) bool { return len(slug) == 36 && uuid.Validate(slug) == nil }

// lettersOf brings spellings of one word together: digits that stand for letters, letters that look like others, and letters said twice.
func lettersOf(word string) string {
	var b strings.Builder
	for _, r := range spelt.Replace(word) {
		if s := b.String(); s == "" || rune(s[len(s)-1]) != r {
			b.WriteRune(r)
		}
	}
	return b.String()
}

var spelt = strings.NewReplacer("rn", "m", "vv", "w", "0", "o", "1", "l", "i", "l", "2", "z", "3", "e", "4", "a", "5", "s", "6", "g", "7", "t", "8", "b", "9", "g")

// lookalikeSQL finds tenants whose name reads like another one; lookalikes' index has this expression.
const lookalikeSQL = `select exists (select from tenants
where translate(replace(replace(slug, 'rn', 'm'), 'vv', 'w'), '01i3457', 'olleast') = translate(replace(replace(@slug, 'rn', 'm'), 'vv', 'w'), '01i3457', 'olleast')
	and slug <> @slug and id <> @but)`

// lookalike reports whether a tenant other than but has a name that reads like slug, and is another.
func (s *Service) lookalike(ctx context.Context, slug string, but uuid.UUID) (found bool, err error) {
	if err = s.DB.Gorm(ctx).Raw(lookalikeSQL, map[string]any{"slug": slug, "but": but}).Scan(&found).Error; err != nil {
		return false, fmt.Errorf("look for names like %s: %w", slug, err)
	}
	return found, nil
}

// claimLookalikes lets nobody else claim a name like slug until the transaction ends, and refuses with SlugTaken where one is taken.
func (s *Service) claimLookalikes(ctx context.Context, slug string) error {
	alike := strings.NewReplacer("rn", "m", "vv", "w", "0", "o", "1", "l", "i", "l", "3", "e", "4", "a", "5", "s", "7", "t").Replace(slug)
	if err := s.DB.Gorm(ctx).Exec("select pg_advisory_xact_lock(hashtextextended(?, 0))", "slug "+alike).Error; err != nil {
		return fmt.Errorf("lock names like %s: %w", slug, err)
	}
	taken, err := s.lookalike(ctx, slug, uuid.Nil)
	if err == nil && taken {
		err = SlugTaken
	}
	return err
}

var slugPattern = regexp.MustCompile(SlugPattern)

// CheckNames says what is wrong with a slug or a name, for who does not come by HTTP. Empty ones are not looked at.
func CheckNames(slug, name string) error {
	if slug != "" && (len(slug) < 3 || len(slug) > 40 || !slugPattern.MatchString(slug)) {
		return errors.New("a slug is 3 to 40 lower-case letters, digits and hyphens, without a hyphen at its ends")
	}
	if name != "" && !validName(name) {
		return errors.New("a name has 2 to 120 characters, on one line")
	}
	return nil
}

// validName reports whether a workspace may be called so; people read it in lists and in mails.
func validName(name string) bool { return names.Valid(strings.TrimSpace(name), 2, 120) }
