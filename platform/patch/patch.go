// Package patch is for updates in which a field may be left out: left out means unchanged, null means none.
package patch

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Field is a field of an update. Tag it `json:"name,omitempty"`, so that it may be left out.
type Field[T any] struct {
	Given bool // the client named it
	Value T
}

// UnmarshalJSON is only called for a field that is there.
func (f *Field[T]) UnmarshalJSON(text []byte) error {
	f.Given = true
	return json.Unmarshal(text, &f.Value)
}

// MarshalJSON writes the value, null where it was left out; request hashes are made of it.
func (f Field[T]) MarshalJSON() ([]byte, error) {
	if !f.Given {
		return []byte("null"), nil
	}
	return json.Marshal(f.Value)
}

// Schema is the schema of T, for OpenAPI and to check requests against; a pointer may be null.
func (Field[T]) Schema(r huma.Registry) *huma.Schema {
	t := reflect.TypeFor[T]()
	s := huma.SchemaFromType(r, t)
	s.Nullable = t.Kind() == reflect.Pointer
	return s
}

// Set copies the value to where it belongs, if the client gave one.
func (f Field[T]) Set(to *T) {
	if f.Given {
		*to = f.Value
	}
}
