package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"garment.id/homecore/platform/fault"
)

func TestFault(t *testing.T) {
	t.Parallel()
	used := fault.New(fault.Conflict, "things.used", "Terpakai.", "Used.")

	t.Run("is found however deeply it is wrapped", func(t *testing.T) {
		t.Parallel()
		err := fmt.Errorf("create a thing: %w", used.WithCause(errors.New("duplicate key")))
		f, ok := fault.From(err)
		if !ok || f.Code() != "things.used" || f.Kind() != fault.Conflict || !errors.Is(err, used) {
			t.Errorf("%v %v", f, ok)
		}
		if _, ok := fault.From(errors.New("plain")); ok {
			t.Error("a plain error is a fault")
		}
	})

	t.Run("a declared one is never changed", func(t *testing.T) {
		t.Parallel()
		one := used.WithField("code", "a", "a")
		two := one.WithField("code", "b", "b")
		_ = one.WithField("code", "c", "c")
		if len(used.Fields()) != 0 || len(one.Fields()["code"]) != 1 || len(two.Fields()["code"]) != 2 || two.Fields()["code"][1].ID != "b" {
			t.Errorf("%v\n%v\n%v", used.Fields(), one.Fields(), two.Fields())
		}
	})

	t.Run("keeps its cause for the log, not for its text", func(t *testing.T) {
		t.Parallel()
		cause := errors.New("duplicate key")
		f := used.WithCause(cause)
		if !errors.Is(f, cause) || f.Text().EN != "Used." || f.Error() != "things.used: duplicate key" {
			t.Errorf("%v", f)
		}
	})
}
