package migrations

import "regexp"

// What a statement of a file without transaction may have that Postgres refuses in one.
var (
	concurrently = regexp.MustCompile(`(?is)^(\s*(?:create\s+(?:unique\s+)?index|drop\s+index|reindex\s+(?:index|table|schema)|refresh\s+materialized\s+view))\s+concurrently\b`)
	detach       = regexp.MustCompile(`(?is)^(\s*alter\s+table\s.*\bdetach\s+partition\s+\S+)\s+concurrently\b`)
	vacuum       = regexp.MustCompile(`(?i)^\s*vacuum\b`)
	block        = regexp.MustCompile(`(?i)^\s*do\b`)
	commit       = regexp.MustCompile(`(?im)^(.*?)\bcommit\s*;`)
)

// Fresh returns the statements for a schema that is being made, where all run in one transaction: CONCURRENTLY is left out,
// so are VACUUM and the commits of a DO block. What a procedure commits cannot be seen from here: call none.
func (m Migration) Fresh() []string {
	if !m.NoTransaction {
		return m.Statements
	}
	out := make([]string, 0, len(m.Statements))
	for _, s := range m.Statements {
		switch {
		case vacuum.MatchString(s):
			continue
		case block.MatchString(s):
			s = commit.ReplaceAllString(s, "${1}null;")
		default:
			s = detach.ReplaceAllString(concurrently.ReplaceAllString(s, "$1"), "$1")
		}
		out = append(out, s)
	}
	return out
}
