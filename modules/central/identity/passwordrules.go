package identity

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the list of common passwords
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

// checkPassword adds to refusal what is wrong with a new password of u's, whose name and address are enough. Beside its length, that
// it is not what an attacker tries first is all that is asked (NIST SP 800-63B §3.1.1.2).
func (s *Service) checkPassword(refusal *fault.Fault, field, password string, u user) *fault.Fault {
	characters, fits := crypto.PasswordLength(password)
	switch least := s.Config.PasswordMinLength; {
	case characters < least:
		return refusal.WithField(field, fmt.Sprintf("Kata sandi minimal %d karakter.", least), fmt.Sprintf("The password needs at least %d characters.", least))
	case !fits:
		return refusal.WithField(field, fmt.Sprintf("Kata sandi maksimal %d byte.", crypto.MaxPasswordBytes), fmt.Sprintf("The password may have %d bytes at most.", crypto.MaxPasswordBytes))
	case isCommon(fold(password)):
		return refusal.WithField(field, "Kata sandi ini terlalu umum: termasuk yang pertama kali dicoba penyerang.", "This password is too common: it is among the first that attackers try.")
	case isPersonal(password, u, s.Brand.Name):
		return refusal.WithField(field, "Kata sandi ini mudah ditebak: tersusun dari nama, alamat email, atau nama layanan ini.", "This password is easy to guess: it is made of your name, your e-mail address or the name of this service.")
	default:
		return refusal
	}
}

//go:embed passwords/common.txt.gz
var commonCompressed []byte

// commonPasswords is the list, sorted; read when the first password is checked.
var commonPasswords = sync.OnceValue(func() []string {
	r, err := gzip.NewReader(bytes.NewReader(commonCompressed))
	if err != nil {
		panic(err) // what is embedded is tested
	}
	text, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
})

func listed(s string) bool {
	_, found := slices.BinarySearch(commonPasswords(), s)
	return found
}

const (
	longestTail = 6  // digits and marks behind a common password that leave it common: dragon2024!
	longestUnit = 4  // what is common however often it is repeated
	longestRun  = 20 // beyond it nobody tries runs and repetitions
)

// isCommon reports whether a folded password is on the list or one of it with a short tail, or is made of ASCII letters and digits and
// no more than a repetition or a run of neighbours.
func isCommon(s string) bool {
	if listed(s) {
		return true
	}
	base := strings.TrimRightFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
	if tail := utf8.RuneCountInString(s) - utf8.RuneCountInString(base); tail > 0 && tail <= longestTail && listed(base) {
		return true
	}
	if len(s) > longestRun || strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return false
	}
	if isRun(s) {
		return true
	}
	unit := period(s)
	return len(unit) < len(s) && (len(unit) <= longestUnit || listed(unit))
}

// isRun reports whether each character is its neighbour's neighbour, in one direction: 123456789012, abcdefghijkl, zyxwvutsrqpo.
func isRun(s string) bool {
	runes := []rune(s)
	if len(runes) < 2 {
		return false
	}
	step := func(a, b rune) rune {
		if a == '9' && b == '0' {
			return 1
		}
		if a == '0' && b == '9' {
			return -1
		}
		return b - a
	}
	first := step(runes[0], runes[1])
	if first < -1 || first > 1 {
		return false
	}
	for i := 1; i < len(runes); i++ {
		if step(runes[i-1], runes[i]) != first {
			return false
		}
	}
	return true
}

// period returns the shortest string of which s is a repetition; s itself where there is none. What is repeated last may be cut off.
func period(s string) string {
	for size := 1; size <= len(s)/2; size++ {
		if s[size:] == s[:len(s)-size] {
			return s[:size]
		}
	}
	return s
}

const (
	shortestWord = 4 // shorter names are part of too many words
	leastOfOwn   = 8 // what must be left of a password without such words
)

// isPersonal reports whether a password is made of the user's name or address or the product's name: without these so little is left of
// it, or something so common, that they are most of what there is to guess.
func isPersonal(password string, u user, brand string) bool {
	squeezed := squeeze(password)
	local, domain, _ := strings.Cut(u.Email, "@")
	words := []string{"homecore", squeeze(u.Email)}
	for _, text := range []string{u.Name, local, domain, brand} {
		words = append(words, squeeze(text))
		words = append(words, strings.FieldsFunc(fold(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })...)
	}
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) }) // a longer word first: it may hold a shorter one
	rest := squeezed
	for _, w := range words {
		if utf8.RuneCountInString(w) >= shortestWord {
			rest = strings.ReplaceAll(rest, w, "")
		}
	}
	return len(rest) < len(squeezed) && (utf8.RuneCountInString(rest) < leastOfOwn || isCommon(rest))
}

// squeeze leaves letters and digits, folded.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, fold(s))
}
