package tenants

import (
	"fmt"
	"testing"
)

func TestNumbersSpellNothing(t *testing.T) {
	t.Parallel()
	for i := range 1000 {
		for _, slug := range []string{fmt.Sprintf("serentak-%03d", i), fmt.Sprintf("%03d", i), fmt.Sprintf("konveksi-%d-jaya", i)} {
			if reserved(slug) {
				t.Errorf("%s is reserved", slug)
			}
		}
	}
}
