package tenancy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
)

// How a cancelled statement ends: the server is asked to cancel it a moment later (most are done by then), and a server
// that does not answer loses the connection.
const (
	cancelDelay = 5 * time.Millisecond
	cancelLimit = 5 * time.Second
)

// endLimit bounds COMMIT and ROLLBACK, which no longer listen to the caller's context.
const endLimit = 30 * time.Second

// enterSQL is the statement that enters a tenant. The values travel as parameters: no SQL is ever built from a tenant's data. A
// setting made with is_local = true ends with the transaction, and so leaves nothing for the next tenant. It returns no row:
// its conditions are all evaluated, and none holds. (One column, since pgconn has a statement without any described each time.)
//
// The role's own limits stay in force unless the Scope has stricter ones, so there are several forms.
func enterSQL(shared, timeout, readOnly bool) string {
	sql := `select 1 where pg_catalog.set_config('search_path', $1, true) is null or pg_catalog.set_config('application_name', $2, true) is null`
	if shared {
		// No role to become, so no membership that could be missing: the right to use the schema is the gate.
		sql += ` or 1 / pg_catalog.has_schema_privilege($3, 'usage')::int = 0`
	} else {
		sql += ` or pg_catalog.set_config('role', $3, true) is null`
	}
	if readOnly {
		sql += ` or pg_catalog.set_config('transaction_read_only', 'on', true) is null`
	}
	if timeout {
		sql += ` or pg_catalog.set_config('statement_timeout', $4, true) is null`
	}
	return sql
}

// enterForm says which form of enterSQL a Scope needs.
func (s *Scope) enterForm() int {
	form := 0
	if s.timeout > 0 {
		form |= 1
	}
	if s.readOnly {
		form |= 2
	}
	return form
}

// fixedSQL are the statements every connection prepares when it is made: the four forms of enter, and those of transactions.
func fixedSQL(shared bool) []string {
	sql := make([]string, 0, 7)
	for form := range 4 {
		sql = append(sql, enterSQL(shared, form&1 != 0, form&2 != 0))
	}
	return append(sql, "begin", "commit", "rollback")
}

// connector makes the connections of one affinity group.
type connector struct {
	config   *pgx.ConnConfig
	named    bool // prepared statements have names
	capacity int
	tenants  int
	shared   bool
	known    *descriptions
	lane     *lane
	tracer   Tracer
}

func newConnector(config *pgx.ConnConfig, cfg Config, cluster Cluster, known *descriptions, l *lane) *connector {
	config = config.Copy()
	// Values in text format are read as ISO dates and UTC, whatever the database was configured to prefer.
	// SQL is checked (see refuse) as these two have the server read it.
	for name, value := range map[string]string{
		"timezone": "UTC", "datestyle": "ISO, MDY", "intervalstyle": "postgres",
		"client_encoding": "UTF8", "standard_conforming_strings": "on",
	} {
		config.RuntimeParams[name] = value
	}
	if cluster.Pooler {
		delete(config.RuntimeParams, "intervalstyle") // PgBouncer refuses the ones it does not track
	}
	config.BuildContextWatcherHandler = cancelling
	return &connector{
		config: config, named: !cluster.Pooler, capacity: cfg.Statements, tenants: cfg.Tenants, shared: cluster.Shared, known: known, lane: l,
		tracer: cfg.Tracer,
	}
}

func cancelling(pg *pgconn.PgConn) ctxwatch.Handler {
	return &canceller{pg: pg}
}

// Connect logs in as the group's role, which by itself can reach nothing.
func (cn *connector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := cn.connect(ctx, cn.config.Copy())
	if err != nil {
		return nil, err // not a nil *conn, which would be no nil driver.Conn
	}
	c.mine.Lock()
	c.pooled = true
	if c.lane != nil && c.named {
		c.lane.conn.Store(c)
	}
	return c, nil
}

func (cn *connector) connect(ctx context.Context, config *pgx.ConnConfig) (*conn, error) {
	pc, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	c := &conn{
		pg:    pc.PgConn(),
		types: pc.TypeMap(),
		named: cn.named,
		stmts: newLRU[statementKey, *statement](cn.capacity),
		known: cn.known, tracer: cn.tracer, lane: cn.lane, shared: cn.shared,
		served: make(map[string]entry), limit: cn.tenants,
		fixed:   make(map[string]*pgconn.StatementDescription),
		watcher: ctxwatch.NewContextWatcher(cancelling(pc.PgConn())),
	}
	fixed := fixedSQL(cn.shared)
	copy(c.enterSQL[:], fixed)
	if c.named {
		if err := c.prepareFixed(ctx, fixed); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare a new connection: %w", err), c.Close())
		}
	}
	return c, nil
}

func (cn *connector) Driver() driver.Driver { return noDriver{cn} }

// noDriver satisfies database/sql: connections come from a connector, never from a name.
type noDriver struct{ from *connector }

func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("tenancy: use tenancy.Open")
}

// prepareFixed prepares them in one round trip.
func (c *conn) prepareFixed(ctx context.Context, fixed []string) error {
	p := c.pg.StartPipeline(ctx)
	for i, sql := range fixed {
		p.SendPrepare(fmt.Sprintf("hc_%d", i), sql, nil)
	}
	if err := p.Sync(); err != nil {
		return err
	}
	for i, sql := range fixed {
		result, err := p.GetResults()
		if err != nil {
			return errors.Join(err, p.Close())
		}
		sd := result.(*pgconn.StatementDescription)
		sd.Name = fmt.Sprintf("hc_%d", i)
		c.fixed[sql] = sd
	}
	return p.Close()
}

// types used by enter when nothing is prepared.
var textOIDs = []uint32{pgtype.TextOID, pgtype.TextOID, pgtype.TextOID, pgtype.TextOID}
