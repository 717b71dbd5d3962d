package api

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds nesting: no body of ours is deeper than a few levels.
const maxDepth = 32

var (
	errJSONText      = errors.New("text that is not UTF-8, or holds NUL")
	errJSONDepth     = errors.New("nested too deeply")
	errJSONDuplicate = errors.New("a name stands twice in an object")
)

// isText reports whether PostgreSQL can keep s: UTF-8 without NUL.
func isText(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }

// checkJSON refuses what encoding/json lets pass and we cannot use: text PostgreSQL refuses, deep nesting, and names that stand
// twice in an object, since a schema would see the last of them while decoding into a struct merges both. It judges only that;
// whether data is JSON at all, encoding/json says.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errJSONText
	}
	var (
		objects [maxDepth]names
		depth   = -1 // of the value around the current byte
	)
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if depth++; depth == maxDepth {
				return errJSONDepth
			}
			objects[depth].begin(data[i] == '{')
		case '}', ']':
			if depth--; depth < -1 {
				return nil // not JSON
			}
		case ',':
			if depth >= 0 {
				objects[depth].nameNext = objects[depth].object
			}
		case '"':
			end, escaped, nul := stringEnd(data, i)
			if nul {
				return errJSONText
			}
			if depth >= 0 && objects[depth].nameNext {
				objects[depth].nameNext = false
				if !objects[depth].add(data[i:end], escaped) {
					return errJSONDuplicate
				}
			}
			i = end - 1
		}
	}
	return nil
}

// stringEnd returns the index after the string that begins at start, whether it holds escapes, and whether one of them is NUL.
func stringEnd(data []byte, start int) (end int, escaped, nul bool) {
	for i := start + 1; i < len(data); i++ {
		switch data[i] {
		case '"':
			return i + 1, escaped, nul
		case '\\':
			escaped = true
			if i+5 < len(data) && string(data[i+1:i+6]) == "u0000" {
				nul = true
			}
			i++
		}
	}
	return len(data), escaped, nul
}

// names are the names of one object so far: a few are compared one by one, many are kept in a set.
type names struct {
	object   bool
	nameNext bool
	few      [][]byte
	many     map[string]struct{}
}

func (n *names) begin(object bool) {
	n.object, n.nameNext, n.few, n.many = object, object, n.few[:0], nil
}

// add takes a quoted name; it returns false if the object has it already.
func (n *names) add(quoted []byte, escaped bool) bool {
	name := quoted
	if escaped {
		var plain string
		if json.Unmarshal(quoted, &plain) != nil {
			return true // not JSON
		}
		name = append(append([]byte{'"'}, plain...), '"')
	}
	if n.many != nil {
		if _, ok := n.many[string(name)]; ok {
			return false
		}
		n.many[string(name)] = struct{}{}
		return true
	}
	for _, known := range n.few {
		if string(known) == string(name) {
			return false
		}
	}
	n.few = append(n.few, name)
	if len(n.few) == 16 {
		n.many = make(map[string]struct{}, 64)
		for _, known := range n.few {
			n.many[string(known)] = struct{}{}
		}
	}
	return true
}
