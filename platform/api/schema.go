package api

import (
	"path"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// schemaNames names the schemas of a document: a type by its package and its own name, so that two modules may both have a Draft.
type schemaNames struct {
	module    string // of the operation being registered
	operation string
	byType    map[reflect.Type]string
	taken     map[string]bool
}

func newSchemaNames() *schemaNames {
	return &schemaNames{byType: map[reflect.Type]string{}, taken: map[string]bool{}}
}

// enter says which operation, with an input of which package, the schemas named next belong to.
func (n *schemaNames) enter(pkg, operation string) {
	n.module, n.operation = path.Base(pkg), operation
	if pkg == "" {
		n.module = ""
	}
}

func (n *schemaNames) name(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return title(t.String()) // gets no entry of its own
	}
	if known, ok := n.byType[t]; ok {
		return known
	}
	name := n.compose(t, hint)
	for i := 2; n.taken[name]; i++ {
		name = n.compose(t, hint) + strconv.Itoa(i)
	}
	n.byType[t], n.taken[name] = name, true
	return name
}

func (n *schemaNames) compose(t reflect.Type, hint string) string {
	name := t.Name()
	base, arguments, generic := strings.Cut(name, "[")
	switch {
	case name == "":
		return title(n.module) + title(hint)
	case strings.Contains(arguments, "struct {}"):
		return base + "Empty"
	case strings.Contains(arguments, "{"):
		return base + title(n.operation)
	}
	full := prefixed(t.PkgPath() + "." + base)
	if generic {
		arguments = strings.ReplaceAll(strings.TrimSuffix(arguments, "]"), "[]", "List[")
		for part := range strings.FieldsFuncSeq(arguments, func(r rune) bool { return r == '[' || r == ']' || r == '*' || r == ',' }) {
			full += prefixed(part)
		}
	}
	return full
}

// prefixed turns a type's full name, garment.id/homecore/modules/tenant/customers.Draft, into CustomersDraft.
func prefixed(name string) string {
	pkg, name, ok := strings.Cut(path.Base(name), ".")
	if !ok {
		return title(pkg)
	}
	name, _, _ = strings.Cut(name, "·") // the number of a type declared in a function
	if pkg == "api" {
		return title(name)
	}
	return title(pkg) + title(name)
}

// title joins the words of s, each with a capital first letter: central.auth.login becomes CentralAuthLogin.
func title(s string) string {
	var b strings.Builder
	up := true
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			up = true
			continue
		}
		if up {
			r = unicode.ToUpper(r)
		}
		up = false
		b.WriteRune(r)
	}
	return b.String()
}

var uuidType = reflect.TypeFor[uuid.UUID]()

// emailPattern describes the pattern below; validation_texts.go knows it by this text.
const emailPattern = "an email address"

// refineSchemas tightens what huma makes of two kinds of fields: a uuid.UUID is said to be one, and an email address may not be
// "Name <address>", which huma's own check lets pass. An object of anything says so by true, which readers take that stumble over {}.
func refineSchemas(registry huma.Registry) {
	for name, s := range registry.Map() {
		t := registry.TypeFromRef("#/components/schemas/" + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for _, f := range reflect.VisibleFields(t) {
			jsonName, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := s.Properties[jsonName]
			if p == nil {
				continue
			}
			if elem := f.Type; p.Type == huma.TypeArray && elem.Kind() == reflect.Slice && elem.Elem() == uuidType {
				p.Items.Format = "uuid"
			}
			if values, ok := p.AdditionalProperties.(*huma.Schema); ok && values.Type == "" && values.Ref == "" {
				p.AdditionalProperties = true
			}
			if f.Type == uuidType || f.Type.Kind() == reflect.Pointer && f.Type.Elem() == uuidType {
				p.Format = "uuid"
			}
			if p.Format == "email" && p.Pattern == "" {
				p.Pattern, p.PatternDescription = `^[^\s@<>"(),:;\\]+@[^\s@<>"(),:;\\]+$`, emailPattern
				p.PrecomputeMessages()
			}
		}
	}
}
