package identity

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

var errEmail = errors.New("not an e-mail address")

// domains maps a domain to its ASCII form and refuses what is none (UTS #46, with the length rules of DNS).
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// normaliseEmail returns the one form in which an address is stored, compared and written to: trimmed, NFKC, lower case, the
// domain in ASCII. Applied to its own result it changes nothing.
func normaliseEmail(s string) (string, error) {
	s = fold(strings.TrimSpace(s))
	at := strings.LastIndexByte(s, '@')
	if at < 1 {
		return "", errEmail
	}
	local := s[:at]
	domain, err := domains.ToASCII(s[at+1:])
	if err != nil || domain == "" || strings.HasSuffix(domain, ".") || len(local) > 64 || len(local)+1+len(domain) > 254 {
		return "", errEmail // lengths: RFC 5321 §4.5.3.1
	}
	if !validLocal(local) {
		return "", errEmail
	}
	return local + "@" + domain, nil
}

// fold brings letters that look alike to one form. Lower case can leave NFKC, hence the second turn.
func fold(s string) string { return norm.NFKC.String(strings.ToLower(norm.NFKC.String(s))) }

// validLocal says whether the part before the @ is an RFC 5322 dot-atom, letters of other alphabets included (RFC 6531).
func validLocal(local string) bool {
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return false
		}
		for _, r := range atom {
			if r > unicode.MaxASCII {
				if !unicode.In(r, unicode.L, unicode.M, unicode.N) {
					return false
				}
				continue
			}
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r) {
				return false
			}
		}
	}
	return true
}
