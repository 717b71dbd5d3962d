package identity

import (
	"testing"
	"time"
)

// RFC 6238, appendix B: the vectors of SHA-1 have eight digits, of which ours are the last six.
func TestAuth12_RFC6238Vectors(t *testing.T) {
	t.Parallel()
	secret := []byte("12345678901234567890")
	for unix, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		at := time.Unix(unix, 0)
		got, err := totpCode(secret, totpStep(at))
		if err != nil || got != want[2:] {
			t.Errorf("at %d: %s, want %s (%v)", unix, got, want[2:], err)
		}
		step, ok, err := matchTOTP(secret, want[2:], at, 0)
		if err != nil || !ok || step != totpStep(at) {
			t.Errorf("at %d: step %d %v %v", unix, step, ok, err)
		}
		if _, ok, _ := matchTOTP(secret, want[2:], at, step); ok { // RFC 6238 §5.2
			t.Errorf("at %d: taken twice", unix)
		}
	}
}
