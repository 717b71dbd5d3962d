package tenancy

import (
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// plan decides how the statement travels. Only one whose types nobody knows yet, with arguments that cannot be written
// without knowing them, costs a round trip of its own here.
func (c *conn) plan(cl *call, worthwhile bool) error {
	if cl.keep {
		if s, ok := c.stmts.get(cl.key); ok {
			cl.stmt, cl.assumed = s, true
			if encode(&c.build, c.types, s.description, cl.args) == nil {
				return nil
			}
			c.forget(cl.key)
		}
	}
	if worthwhile {
		if d := c.known.get(cl.key); d != nil {
			cl.stmt, cl.parse, cl.assumed = newStatement(c.newName(cl), d), true, true
			if encode(&c.build, c.types, d, cl.args) == nil {
				return nil
			}
			c.known.forget(cl.key)
		}
	}
	// Not on the way of what was sent before: whoever is known here has been through it.
	if !cl.trusted {
		if err := refuse(cl.key.sql); err != nil {
			return err
		}
	}
	cl.stmt, cl.parse, cl.assumed = nil, true, false
	if texts, ok := plain(cl.args); ok {
		cl.texts = texts
		return nil
	}
	return c.describe(cl)
}

func (c *conn) newName(cl *call) string {
	if !cl.keep {
		return ""
	}
	c.serial++
	return "hc_s" + strconv.FormatUint(c.serial, 36)
}

// describe asks the server for the types of the statement, and encodes the arguments for them.
func (c *conn) describe(cl *call) error {
	name := c.newName(cl)
	p, sent, err := c.start(cl)
	if err != nil {
		return err
	}
	p.SendPrepare(name, cl.key.sql, nil)
	if err := c.sync(p); err != nil {
		return err
	}
	var result any
	if err = c.entered(cl, p, sent); err == nil {
		result, err = p.GetResults()
	}
	if closing := c.finish(p); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	d := newDescription(result.(*pgconn.StatementDescription))
	cl.stmt, cl.parse, cl.parsed = newStatement(name, d), name == "", true
	c.remember(cl, cl.stmt)
	return encode(&c.build, c.types, d, cl.args)
}

// again is tried once for a statement that may have failed only because what was known of it is out of date, as it is
// after a migration. Inside a transaction the failure stands: earlier statements are lost with it.
func (c *conn) again(cl *call, cause error) (*rows, error) {
	c.forget(cl.key)
	c.known.forget(cl.key)
	if c.tx != nil || !c.usable() {
		return nil, cause
	}
	cl.retried = true
	old := cl.stmt.description
	if err := c.describe(cl); err != nil {
		return nil, cause
	}
	if pgErr, _ := errors.AsType[*pgconn.PgError](cause); pgErr.Code != "0A000" && cl.stmt.same(old) {
		return nil, cause // nothing had changed: the error is the caller's
	}
	return c.send(cl)
}

// remember keeps a statement the server has just parsed, and what it said of it.
func (c *conn) remember(cl *call, s *statement) {
	if !cl.keep {
		if !c.named && !cl.trusted && cacheable(cl.key.sql) {
			c.known.put(cl.key, s.description)
		}
		return
	}
	c.known.put(cl.key, s.description)
	if old, evicted := c.stmts.put(cl.key, s); evicted {
		c.retired = append(c.retired, old.bound.Name)
	}
}

func (c *conn) forget(key statementKey) {
	if s, ok := c.stmts.remove(key); ok {
		c.retired = append(c.retired, s.bound.Name)
	}
}

// suspicious says whether err may come from a description that is out of date.
func suspicious(err error) bool {
	if _, refused := errors.AsType[*EntryError](err); refused {
		return false
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == "0A000" || pgErr.Code == "08P01" || isClass(pgErr, "22") || isClass(pgErr, "42"))
}
