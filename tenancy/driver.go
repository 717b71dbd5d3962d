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

// The statements every connection prepares when it is made. The values travel as parameters: no SQL is ever built from a
// tenant's data. A setting made with is_local = true ends with the transaction, and so leaves nothing for the next tenant.
const (
	enterSQL = `select pg_catalog.set_config('search_path', $1, true), pg_catalog.set_config('role', $2, true)`

	// The role's own limits stay in force unless the Scope has stricter ones, so there are several forms.
	enterTimeoutSQL  = enterSQL + `, pg_catalog.set_config('statement_timeout', $3, true)`
	enterReadOnlySQL = enterSQL + `, pg_catalog.set_config('transaction_read_only', 'on', true)`
	enterBothSQL     = enterTimeoutSQL + `, pg_catalog.set_config('transaction_read_only', 'on', true)`
)

var fixedSQL = [...]string{enterSQL, enterTimeoutSQL, enterReadOnlySQL, enterBothSQL, "begin", "commit", "rollback"}

// connector makes the connections of one affinity group.
type connector struct {
	config   *pgx.ConnConfig
	named    bool // prepared statements have names
	capacity int
	known    *descriptions
	refused  func(Scope)
}

func newConnector(config *pgx.ConnConfig, cfg Config, known *descriptions) *connector {
	config = config.Copy()
	// Values in text format are read as ISO dates and UTC, whatever the database was configured to prefer.
	for name, value := range map[string]string{"timezone": "UTC", "datestyle": "ISO, MDY", "intervalstyle": "postgres"} {
		config.RuntimeParams[name] = value
	}
	if cfg.Pooler {
		delete(config.RuntimeParams, "intervalstyle") // PgBouncer refuses the ones it does not track
	}
	config.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: pg, CancelRequestDelay: cancelDelay, DeadlineDelay: cancelLimit}
	}
	return &connector{config: config, named: !cfg.Pooler, capacity: cfg.Statements, known: known, refused: cfg.Refused}
}

// Connect logs in as the group's role, which by itself can reach nothing.
func (cn *connector) Connect(ctx context.Context) (driver.Conn, error) {
	pc, err := pgx.ConnectConfig(ctx, cn.config.Copy())
	if err != nil {
		return nil, err
	}
	c := &conn{
		pg:    pc.PgConn(),
		types: pc.TypeMap(),
		named: cn.named,
		stmts: newLRU[statementKey, *statement](cn.capacity),
		known: cn.known, refused: cn.refused,
		fixed: make(map[string]*pgconn.StatementDescription, len(fixedSQL)),
	}
	if c.named {
		if err := c.prepareFixed(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare a new connection: %w", err), c.Close())
		}
	}
	return c, nil
}

func (cn *connector) Driver() driver.Driver { return noDriver{} }

// noDriver satisfies database/sql: connections come from a connector, never from a name.
type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("tenancy: use tenancy.Open")
}

// prepareFixed prepares all of fixedSQL in one round trip.
func (c *conn) prepareFixed(ctx context.Context) error {
	p := c.pg.StartPipeline(ctx)
	for i, sql := range fixedSQL {
		p.SendPrepare(fmt.Sprintf("hc_%d", i), sql, nil)
	}
	if err := p.Sync(); err != nil {
		return err
	}
	for i, sql := range fixedSQL {
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
var textOIDs = []uint32{pgtype.TextOID, pgtype.TextOID, pgtype.TextOID}
