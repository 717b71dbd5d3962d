package tenancy

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSessionStatement is returned, before any I/O, for SQL that would outlive its transaction, end it, or choose another
// tenant. Its text names what was refused, and what to use instead where there is something; the transaction goes on.
var ErrSessionStatement = errors.New("tenancy: not on a tenant's handle")

// refusedVerbs are statements that are refused whatever follows, with what to use instead.
var refusedVerbs = map[string]string{
	"abort": "Tx ends it", "begin": "use Tx", "commit": "Tx ends it", "end": "Tx ends it", "start": "use Tx",
	"reset": "", "discard": "", "load": "",
	"prepare": "statements are prepared by themselves", "execute": "", "deallocate": "",
	"listen": "use Listen", "unlisten": "use Listener.Close", "notify": "use Notify",
	"copy": "use CopyFrom or CopyTo",
	"do":   "its body is a string, which nobody can check",
}

// refusedFunctions are those of pg_catalog that change the session or what all tenants share, and those that run SQL from a
// string. pg_advisory_… and pg_try_advisory_… are refused by their beginnings.
var refusedFunctions = map[string]string{
	"set_config": "", "lastval": "use RETURNING", "pg_notify": "use Notify",
	"query_to_xml": "", "query_to_xmlschema": "", "query_to_xml_and_xmlschema": "", "ts_stat": "", "ts_rewrite": "",
}

// localSettings are those that SET LOCAL may change: they say how a statement runs, not what it sees. statement_timeout is
// not among them, since it is part of a tenant's plan; a shorter limit is a deadline of the context.
var localSettings = map[string]bool{
	"lock_timeout": true, "work_mem": true, "hash_mem_multiplier": true, "jit": true, "plan_cache_mode": true,
	"random_page_cost": true, "cursor_tuple_fraction": true,
}

// refuse returns an ErrSessionStatement for SQL that has no place on a tenant's handle. It reads sql as PostgreSQL's lexer
// does (scan.l, with standard_conforming_strings on, which every connection asks for), so that what stands in a string, a
// comment or a quoted name is not taken for what it is not, nor the other way round.
//
// It is a guard against mistakes. What holds against an attacker are the rights of the tenant's role.
func refuse(sql string) error {
	if strings.IndexByte(sql, 0) >= 0 {
		return notHere("a NUL byte", "") // the server would read less than is checked here
	}
	s := scanner{sql: sql}
	if err := refuseVerb(s); err != nil {
		return err
	}
	return refuseParts(s)
}

func notHere(what, instead string) error {
	if instead != "" {
		what += " (" + instead + ")"
	}
	return fmt.Errorf("%w: %s", ErrSessionStatement, what)
}

// refuseVerb looks at the first words. s is a copy: reading ahead moves nobody else.
func refuseVerb(s scanner) error {
	t := s.next()
	for t.is("(") || t.is(";") {
		t = s.next()
	}
	verb := t.word()
	if instead, ok := refusedVerbs[verb]; ok {
		return notHere(strings.ToUpper(verb), instead)
	}
	switch verb {
	case "set":
		return refuseSet(s)
	case "rollback":
		t = s.next()
		if w := t.word(); w == "work" || w == "transaction" {
			t = s.next()
		}
		if t.word() != "to" {
			return notHere("ROLLBACK", "return an error from Tx")
		}
	case "declare":
		for t = s.next(); t.kind != atEnd && t.word() != "for"; t = s.next() {
			if after := s; t.word() == "with" && after.next().word() == "hold" {
				return notHere("DECLARE … WITH HOLD", "")
			}
		}
	case "create":
		for t = s.next(); ; t = s.next() {
			switch t.word() {
			case "or", "replace", "global", "local":
				continue
			case "temp", "temporary":
				return notHere("CREATE TEMPORARY", "")
			}
			return nil
		}
	case "alter":
		switch what := s.next().word(); what {
		case "role", "user", "group", "database", "system":
			return notHere("ALTER "+strings.ToUpper(what), "")
		}
	case "explain":
		return refuseExplained(s)
	}
	return nil
}

// refuseExplained looks at the statement behind EXPLAIN [(option, …)] [ANALYZE] [VERBOSE], which may be executed.
func refuseExplained(s scanner) error {
	at := s
	t := s.next()
	if t.is("(") {
		if w := (&scanner{sql: s.sql, pos: s.pos}).next().word(); w != "select" && w != "with" && w != "values" {
			for depth := 1; depth > 0 && t.kind != atEnd; {
				switch t = s.next(); {
				case t.is("("):
					depth++
				case t.is(")"):
					depth--
				}
			}
			at = s
			t = s.next()
		}
	}
	for t.word() == "analyze" || t.word() == "analyse" || t.word() == "verbose" {
		at = s
		t = s.next()
	}
	return refuseVerb(at)
}

func refuseSet(s scanner) error {
	switch t := s.next(); t.word() {
	case "constraints", "transaction":
		return nil
	case "local":
		name := s.next().name()
		if localSettings[name] || strings.HasPrefix(name, "enable_") {
			return nil
		}
		return notHere("SET LOCAL "+name, "")
	case "session", "time":
		return notHere("SET "+strings.ToUpper(t.word()+" "+s.next().word()), "")
	default:
		return notHere("SET "+t.name(), "")
	}
}

// refuseParts looks for what is refused anywhere in a statement.
func refuseParts(s scanner) error {
	var last, before string // the names before this one, if they stand directly before it
	var updates, settings bool
	for t := s.next(); t.kind != atEnd; t = s.next() {
		name := t.name()
		if t.kind == escapedName {
			return notHere(`U&"…"`, "write the name itself")
		}
		after := s
		switch next := after.next(); {
		case name == "":
		case next.is("("):
			if instead, ok := refusedFunctions[name]; ok {
				return notHere(name+"()", instead)
			}
			if strings.HasPrefix(name, "pg_advisory_") || strings.HasPrefix(name, "pg_try_advisory_") {
				return notHere(name+"()", "use Lock, whose keys are the tenant's own")
			}
		case next.is("."):
			if name == "pg_temp" || strings.HasPrefix(name, "pg_temp_") {
				return notHere(name, "")
			}
		}
		// SELECT … INTO TEMP x, but not INSERT INTO temp.
		if w := t.word(); (w == "temp" || w == "temporary") && last == "into" && before != "insert" && before != "merge" {
			return notHere("INTO TEMPORARY", "")
		}
		if last == "into" && (t.word() == "local" || t.word() == "global") && before != "insert" && before != "merge" {
			continue // INTO LOCAL TEMP
		}
		// pg_settings is a view by which anybody may SET.
		updates = updates || t.word() == "update"
		settings = settings || name == "pg_settings"
		if updates && settings {
			return notHere("UPDATE pg_settings", "")
		}
		before, last = last, name
	}
	return nil
}

type tokenKind byte

const (
	atEnd       tokenKind = iota
	bareWord              // a keyword or a name without quotes
	quotedName            // "…", text is what is between the quotes
	escapedName           // U&"…"
	literal               // a string or a number
	sign                  // any other character
)

type token struct {
	kind   tokenKind
	text   string
	length int // in the SQL
}

func (t token) is(s string) bool { return t.kind == sign && t.text == s }

// word is the token in lower case if it may be a keyword.
func (t token) word() string {
	if t.kind != bareWord {
		return ""
	}
	return strings.ToLower(t.text)
}

// name is the token as a name: quoted ones stay as they are written.
func (t token) name() string {
	if t.kind == quotedName {
		return t.text
	}
	return t.word()
}

// scanner splits SQL into tokens, leaving out space and comments.
type scanner struct {
	sql string
	pos int
}

// next returns the next token, which ends at pos.
func (s *scanner) next() token {
	s.space()
	start := s.pos
	t := s.read()
	t.length = s.pos - start
	return t
}

func (s *scanner) read() token {
	if s.pos >= len(s.sql) {
		return token{}
	}
	start := s.pos
	switch b := s.sql[start]; {
	case b == '\'':
		s.pos++
		s.quoted(false)
		return token{kind: literal}
	case b == '"':
		s.pos++
		return token{kind: quotedName, text: s.identifier()}
	case b == '$':
		return s.dollar()
	case b >= '0' && b <= '9':
		for s.pos < len(s.sql) && (s.sql[s.pos] >= '0' && s.sql[s.pos] <= '9' || s.sql[s.pos] == '.') {
			s.pos++
		}
		return token{kind: literal}
	case startsName(b):
		return s.bare()
	}
	s.pos++
	return token{kind: sign, text: s.sql[start:s.pos]}
}

// bare reads a word, or the string or name of which it is the prefix.
func (s *scanner) bare() token {
	start := s.pos
	switch rest := s.sql[start:]; {
	case len(rest) >= 2 && rest[1] == '\'':
		switch rest[0] {
		case 'e', 'E':
			s.pos += 2
			s.quoted(true)
			return token{kind: literal}
		case 'b', 'B', 'x', 'X', 'n', 'N':
			s.pos += 2
			s.quoted(false)
			return token{kind: literal}
		}
	case len(rest) >= 3 && (rest[0] == 'u' || rest[0] == 'U') && rest[1] == '&' && rest[2] == '\'':
		s.pos += 3
		s.quoted(false)
		return token{kind: literal}
	case len(rest) >= 3 && (rest[0] == 'u' || rest[0] == 'U') && rest[1] == '&' && rest[2] == '"':
		s.pos += 3
		s.identifier()
		return token{kind: escapedName}
	}
	for s.pos < len(s.sql) && (startsName(s.sql[s.pos]) || s.sql[s.pos] >= '0' && s.sql[s.pos] <= '9' || s.sql[s.pos] == '$') {
		s.pos++
	}
	return token{kind: bareWord, text: s.sql[start:s.pos]}
}

func startsName(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' || b >= 0x80
}

func isSpace(b byte) bool {
	return b == ' ' || b == '\t' || b == '\n' || b == '\r' || b == '\f' || b == '\v'
}

// space skips white space and comments.
func (s *scanner) space() {
	for s.pos < len(s.sql) {
		rest := s.sql[s.pos:]
		switch {
		case isSpace(rest[0]):
			s.pos++
		case strings.HasPrefix(rest, "--"):
			s.line()
		case strings.HasPrefix(rest, "/*"):
			s.block()
		default:
			return
		}
	}
}

// line skips a comment that ends with its line.
func (s *scanner) line() {
	if end := strings.IndexAny(s.sql[s.pos:], "\r\n"); end >= 0 {
		s.pos += end
		return
	}
	s.pos = len(s.sql)
}

// block skips a comment in /* */, in which others may be nested.
func (s *scanner) block() {
	for depth := 0; s.pos < len(s.sql); {
		switch rest := s.sql[s.pos:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			s.pos += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			s.pos += 2
			if depth == 0 {
				return
			}
		default:
			s.pos++
		}
	}
}

// quoted skips a string from behind its opening quote. Another one on the next line continues it, by the same rules.
func (s *scanner) quoted(escapes bool) {
	for s.pos < len(s.sql) {
		switch b := s.sql[s.pos]; {
		case b == '\\' && escapes:
			s.pos = min(s.pos+2, len(s.sql))
		case b != '\'':
			s.pos++
		case s.pos+1 < len(s.sql) && s.sql[s.pos+1] == '\'':
			s.pos += 2
		default:
			s.pos++
			if !s.continued() {
				return
			}
		}
	}
}

// continued says whether a string goes on behind a line's end, and if so moves into it.
func (s *scanner) continued() bool {
	ahead, line := *s, false
	for ahead.pos < len(ahead.sql) {
		switch b := ahead.sql[ahead.pos]; {
		case b == '\n' || b == '\r':
			line = true
			ahead.pos++
		case isSpace(b):
			ahead.pos++
		case strings.HasPrefix(ahead.sql[ahead.pos:], "--"):
			ahead.line()
		case b == '\'' && line:
			s.pos = ahead.pos + 1
			return true
		default:
			return false
		}
	}
	return false
}

// identifier reads a quoted name from behind its opening quote.
func (s *scanner) identifier() string {
	start := s.pos
	for s.pos < len(s.sql) {
		if s.sql[s.pos] != '"' {
			s.pos++
			continue
		}
		if s.pos+1 < len(s.sql) && s.sql[s.pos+1] == '"' {
			s.pos += 2
			continue
		}
		s.pos++
		return strings.ReplaceAll(s.sql[start:s.pos-1], `""`, `"`)
	}
	return s.sql[start:]
}

// dollar reads $1, or a string in $$ or $tag$.
func (s *scanner) dollar() token {
	end := s.pos + 1
	for end < len(s.sql) && (startsName(s.sql[end]) || end > s.pos+1 && s.sql[end] >= '0' && s.sql[end] <= '9') {
		end++
	}
	if end >= len(s.sql) || s.sql[end] != '$' {
		s.pos++ // a parameter's number follows as a literal
		return token{kind: sign, text: "$"}
	}
	tag := s.sql[s.pos : end+1]
	s.pos = end + 1
	if length := strings.Index(s.sql[s.pos:], tag); length >= 0 {
		s.pos += length + len(tag)
	} else {
		s.pos = len(s.sql)
	}
	return token{kind: literal}
}
