package migrate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy/fleet"
)

// A backend keeps what it has read of each table it touched: a connection is closed after that many schemas.
const recycleAfter = 500

// Both are prepared on each worker's connection; the search path is the same whenever they run, or their plans would be
// made anew.
var (
	prepareClaim = `prepare homecore_claim (text, integer) as
		select version from tenancy.schemas
		where schema_name = $1 and version < $2 and state <> 'dropping' and pg_try_advisory_xact_lock(` + fleet.SchemaLock + `)
		for update skip locked`
	prepareDone = `prepare homecore_done (text, integer, text) as
		with ledger as (insert into tenancy.applied (schema_name, version, name) values ($1, $2, $3))
		update tenancy.schemas set version = $2, failure = null, failed_at = null, attempts = 0 where schema_name = $1`
	prepareDoneOnMain = `prepare homecore_done (text, integer, text) as
		with ledger as (insert into tenancy.applied (schema_name, version, name) values ($1, $2, $3)),
			done as (update tenancy.schemas set version = $2, failure = null, failed_at = null, attempts = 0 where schema_name = $1 returning tenant_id)
		update central.tenants t set schema_version = $2 from done where t.id = done.tenant_id and t.schema_name = $1 and t.schema_version < $2`
)

// worker migrates one schema at a time, on a connection of its own.
type worker struct {
	run     *run
	cluster *fleet.Cluster
	conn    *pgx.Conn
	visited int
}

// work takes schemas from the queue until there are none.
func (w *worker) work(ctx context.Context, q *queue) {
	s, c := q.take(true), claim{}
	for s != nil && !q.halted() { // what is claimed already is let go
		if !c.tried {
			var err error
			if c, err = w.claim(ctx, s); err != nil {
				w.fail(ctx, q, s, 0, err)
				s, c = w.next(ctx, q), claim{}
				continue
			}
		}
		if !c.won {
			q.miss(s)
			s, c = w.next(ctx, q), claim{}
			continue
		}
		m := w.run.set[c.version]
		if m.NoTransaction {
			s = w.outside(ctx, q, s, m)
			c = claim{}
			continue
		}
		s, c = w.inside(ctx, q, s, m)
	}
	w.rollback(ctx)
}

// next is the schema to go on with. The connection is in no transaction while it waits for one.
func (w *worker) next(ctx context.Context, q *queue) *schema {
	if s := q.take(false); s != nil {
		return s
	}
	w.rollback(ctx)
	return q.take(true)
}

// claim is what became of the wish to work on a schema: the transaction that won it is open.
type claim struct {
	tried   bool
	won     bool
	version int // that the schema is at
}

func (w *worker) claim(ctx context.Context, s *schema) (claim, error) {
	if err := w.connect(ctx); err != nil {
		return claim{}, err
	}
	_, c, err := w.exchange(ctx, w.claiming(s))
	return c, err
}

func (w *worker) claiming(s *schema) []string {
	execute := fmt.Sprintf("execute homecore_claim(%s, %d)", literal(s.Schema), len(w.run.set))
	if w.conn.PgConn().TxStatus() == 'T' {
		return []string{execute}
	}
	return []string{"begin", execute}
}

// inside applies a migration in the transaction that holds the schema, and claims what comes next: the same schema if it
// lacks more, else another. It returns that.
func (w *worker) inside(ctx context.Context, q *queue, s *schema, m migrations.Migration) (*schema, claim) {
	last := m.Version == len(w.run.set)
	next := s
	if last {
		next = nil
		if w.visited++; w.visited < recycleAfter {
			next = q.take(false)
		}
	}
	statements := []string{"set local search_path = " + quote(s.Schema) + ", pg_temp"}
	for _, statement := range m.Statements {
		statements = append(statements, strings.TrimSuffix(statement, ";"))
	}
	statements = append(statements, "set local search_path to default", w.done(s, m), "commit")
	if next != nil {
		statements = append(statements, "begin", fmt.Sprintf("execute homecore_claim(%s, %d)", literal(next.Schema), len(w.run.set)))
	}
	committed, c, err := w.exchange(ctx, statements)
	switch {
	case !committed:
		w.fail(ctx, q, s, m.Version, err)
		if next == s {
			next = nil
		}
	case last:
		w.run.migrated(s)
		q.settle()
	default:
		s.Version = m.Version
	}
	if next == nil {
		return w.next(ctx, q), claim{}
	}
	return next, c // not tried if the connection was lost after the commit
}

func (w *worker) done(s *schema, m migrations.Migration) string {
	return fmt.Sprintf("execute homecore_done(%s, %d, %s)", literal(s.Schema), m.Version, literal(m.Name))
}

// exchange sends the statements, which end in a claim or in a commit: at once, or to Citus one by one.
func (w *worker) exchange(ctx context.Context, statements []string) (committed bool, c claim, err error) {
	messages := statements
	if w.cluster.Kind != fleet.Citus {
		messages = []string{strings.Join(statements, ";\n")}
	}
	for _, message := range messages {
		results := w.conn.PgConn().Exec(ctx, message)
		for results.NextResult() {
			result := results.ResultReader()
			c = claim{}
			for result.NextRow() {
				if len(result.Values()) == 1 {
					c.version, _ = strconv.Atoi(string(result.Values()[0]))
					c.won = true
				}
			}
			if tag, err := result.Close(); err == nil && tag.String() == "COMMIT" {
				committed = true
			}
		}
		if err := results.Close(); err != nil {
			return committed, claim{}, err
		}
	}
	c.tried = true
	return committed, c, nil
}

// outside runs a migration that wants no transaction, under the schema's lock, and records it. It returns the schema to go on
// with: the same one if all went well.
func (w *worker) outside(ctx context.Context, q *queue, s *schema, m migrations.Migration) *schema {
	w.rollback(ctx) // the claim's transaction: its version is looked at again below
	mine, err := w.underLock(ctx, s, m)
	switch {
	case err != nil:
		w.fail(ctx, q, s, m.Version, err)
		return w.next(ctx, q)
	case !mine:
		q.miss(s)
		return w.next(ctx, q)
	case m.Version < len(w.run.set):
		s.Version = m.Version
		return s
	default:
		w.visited++
		w.run.migrated(s)
		q.settle()
		return w.next(ctx, q)
	}
}

func (w *worker) underLock(ctx context.Context, s *schema, m migrations.Migration) (mine bool, err error) {
	if err := w.connect(ctx); err != nil {
		return false, err
	}
	if err := w.conn.QueryRow(ctx, "select pg_try_advisory_lock("+fleet.SchemaLock+")", s.Schema).Scan(&mine); err != nil || !mine {
		return false, err
	}
	defer func() {
		// A connection that cannot let go is closed, which lets go too.
		after := context.WithoutCancel(ctx)
		_, free := w.conn.Exec(after, "select pg_advisory_unlock("+fleet.SchemaLock+")", s.Schema)
		_, reset := w.conn.Exec(after, "set search_path to default")
		if free != nil || reset != nil || w.limit(after, w.run.o.LockTimeout) != nil {
			_ = w.conn.Close(after)
		}
	}()
	var version int
	err = w.conn.QueryRow(ctx, "select version from tenancy.schemas where schema_name = $1 and state <> 'dropping'", s.Schema).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && version != m.Version-1 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := w.dropUnfinished(ctx, s, m); err != nil {
		return true, err
	}
	if _, err := w.conn.Exec(ctx, "set search_path = "+quote(s.Schema)+", pg_temp"); err != nil {
		return true, err
	}
	for _, statement := range m.Statements {
		wait := w.run.o.LockTimeout
		if concurrently.MatchString(statement) {
			wait = 10 * time.Minute // nobody waits behind it, and giving up means to begin again
		}
		err := w.limit(ctx, wait)
		if err == nil {
			_, err = w.conn.PgConn().Exec(ctx, statement).ReadAll()
		}
		if err != nil {
			// An unfinished index is of no use, costs writes, and refuses them if it is unique.
			_ = w.limit(ctx, w.run.o.LockTimeout)
			return true, errors.Join(err, w.dropUnfinished(ctx, s, m))
		}
	}
	for _, statement := range []string{"set search_path to default", w.done(s, m)} {
		if _, err := w.conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			return true, err
		}
	}
	return true, nil
}

func (w *worker) limit(ctx context.Context, wait time.Duration) error {
	_, err := w.conn.Exec(ctx, fmt.Sprintf("set lock_timeout = %d", wait.Milliseconds()))
	return err
}

var (
	concurrently = regexp.MustCompile(`(?i)^\s*(create|drop|reindex)\b[^;]*?\bconcurrently\b`)
	indexName    = regexp.MustCompile(`(?i)^\s*(?:create\s+(?:unique\s+)?|reindex\s+)index\s+concurrently\s+(?:if\s+not\s+exists\s+)?("(?:[^"]|"")+"|\w+)`)
)

// dropUnfinished drops what a build of the migration's indexes that was cut off has left: PostgreSQL marks them invalid.
func (w *worker) dropUnfinished(ctx context.Context, s *schema, m migrations.Migration) error {
	var names []string
	for _, statement := range m.Statements {
		if found := indexName.FindStringSubmatch(statement); found != nil {
			name := strings.ToLower(found[1])
			if strings.HasPrefix(name, `"`) {
				name = strings.ReplaceAll(strings.Trim(found[1], `"`), `""`, `"`)
			}
			names = append(names, name, name+"_ccnew", name+"_ccold")
		}
	}
	if len(names) == 0 {
		return nil
	}
	// By name, since the catalogue has no index by schema.
	rows, err := w.conn.Query(ctx, `select c.relname from pg_class c join pg_index i on i.indexrelid = c.oid
		where c.relname = any($1::text[]) and c.relnamespace = (select oid from pg_namespace where nspname = $2) and c.relkind = 'i' and not i.indisvalid`, names, s.Schema)
	if err != nil {
		return err
	}
	unfinished, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range unfinished {
		if _, err := w.conn.Exec(ctx, "drop index concurrently if exists "+pgx.Identifier{s.Schema, name}.Sanitize()); err != nil {
			return fmt.Errorf("drop the unfinished index %s: %w", name, err)
		}
	}
	return nil
}

// fail decides what follows from a failed attempt to bring a schema to the given version: another one later, or that it has
// failed.
func (w *worker) fail(ctx context.Context, q *queue, s *schema, version int, err error) {
	w.rollback(ctx)
	if ctx.Err() != nil {
		q.settle()
		return
	}
	s.tries++
	if s.tries < w.run.o.Attempts && passing(err) {
		wait := w.run.o.Backoff << (s.tries - 1)
		q.later(s, wait/2+rand.N(wait)) //nolint:gosec // apart from others, not secret
		return
	}
	if version > 0 {
		err = fmt.Errorf("migration %s: %w", w.run.set[version-1].Name, err)
	}
	err = errors.Join(err, w.record(ctx, s, err))
	w.run.failed(s, err)
	q.settle()
}

// record writes the failure into the schema's row, unless somebody else has the schema now, or has migrated it.
func (w *worker) record(ctx context.Context, s *schema, failure error) error {
	if err := w.connect(ctx); err != nil {
		return nil //nolint:nilerr // which is what has failed
	}
	_, err := w.conn.Exec(ctx, `update tenancy.schemas set failure = $3, failed_at = now(), attempts = attempts + $4
		where schema_name = (select schema_name from tenancy.schemas where schema_name = $1 and version < $2 for update skip locked)`,
		s.Schema, len(w.run.set), failure.Error(), s.tries)
	if err != nil {
		return fmt.Errorf("record the failure: %w", err)
	}
	return nil
}

// passing says whether an error may go away by itself: a lock, a deadlock, a lost connection.
func passing(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true
	}
	switch pg.Code {
	case "55P03", "40P01", "40001", "57P01", "57P02", "57P03", "53300":
		return true
	}
	return strings.HasPrefix(pg.Code, "08")
}

// connect sees to it that the worker has a connection that works.
func (w *worker) connect(ctx context.Context) error {
	if w.conn != nil && !w.conn.IsClosed() && w.visited < recycleAfter {
		return nil
	}
	w.close()
	config := w.cluster.Owner().Config().ConnConfig
	config.RuntimeParams["application_name"] = "homecore migrate"
	config.RuntimeParams["lock_timeout"] = strconv.FormatInt(w.run.o.LockTimeout.Milliseconds(), 10)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	w.conn, w.visited = conn, 0
	done := prepareDone
	if w.cluster == w.run.fleet.Main() {
		done = prepareDoneOnMain
	}
	for _, statement := range []string{prepareClaim, done} {
		if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			w.close()
			return err
		}
	}
	return nil
}

func (w *worker) rollback(ctx context.Context) {
	if w.conn == nil || w.conn.IsClosed() || w.conn.PgConn().TxStatus() == 'I' {
		return
	}
	if _, err := w.conn.Exec(context.WithoutCancel(ctx), "rollback"); err != nil {
		w.close()
	}
}

func (w *worker) close() {
	if w.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = w.conn.Close(ctx)
		w.conn = nil
	}
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal quotes a text as standard SQL does; standard_conforming_strings has been PostgreSQL's default since 9.1.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
