package tenancy

import (
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	maxDescriptions = 8192     // in the process, for one cluster
	maxCachedSQL    = 16 << 10 // a longer statement is a batch that will not be seen again
	firstUserOID    = 16384    // PostgreSQL's FirstNormalObjectId: below are the built-in types, the same everywhere
)

// statementKey is what a prepared statement belongs to. One shared by all tenants would be analysed again at every change
// of search_path, and a migrated tenant's tables may have other types.
type statementKey struct {
	schema  string
	version int64
	sql     string
}

// description is what the server says of a statement: the types of its parameters and columns. It does not change.
type description struct {
	pgconn.StatementDescription                              // without a name
	params                      *pgconn.StatementDescription // its parameters alone
	formats                     []int16                      // in which its columns are asked for

	took     usualTime
	pure     bool      // running it twice is as good as once; set when it is first shared
	decoders sync.Pool // of []decoder, each used by one result at a time
}

func newDescription(sd *pgconn.StatementDescription) *description {
	d := &description{StatementDescription: *sd, params: &pgconn.StatementDescription{ParamOIDs: sd.ParamOIDs}}
	for _, field := range sd.Fields {
		d.formats = append(d.formats, resultFormat(field.DataTypeOID))
	}
	return d
}

// portable says whether d is true of every tenant at the same version: the oid of a type made by a migration is not.
func (d *description) portable() bool {
	for _, oid := range d.ParamOIDs {
		if oid >= firstUserOID {
			return false
		}
	}
	for _, field := range d.Fields {
		if field.DataTypeOID >= firstUserOID {
			return false
		}
	}
	return true
}

func (d *description) same(other *description) bool {
	if len(d.ParamOIDs) != len(other.ParamOIDs) {
		return false
	}
	for i, oid := range d.ParamOIDs {
		if oid != other.ParamOIDs[i] {
			return false
		}
	}
	return d.sameColumns(other)
}

func (d *description) sameColumns(other *description) bool {
	if len(d.Fields) != len(other.Fields) {
		return false
	}
	for i, field := range d.Fields {
		if field.Name != other.Fields[i].Name || field.DataTypeOID != other.Fields[i].DataTypeOID {
			return false
		}
	}
	return true
}

// descriptions are shared by all connections to a cluster, so that a statement one of them has met is parsed, bound and
// executed by any other in a single round trip.
type descriptions struct {
	mu    sync.Mutex
	known *lru[statementKey, *description]
}

func newDescriptions() *descriptions {
	return &descriptions{known: newLRU[statementKey, *description](maxDescriptions)}
}

func (ds *descriptions) get(key statementKey) *description {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d, ok := ds.known.get(key.anySchema()); ok {
		return d
	}
	d, _ := ds.known.get(key)
	return d
}

func (ds *descriptions) put(key statementKey, d *description) {
	d.pure = isPure(key.sql)
	if d.portable() {
		key = key.anySchema()
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.known.put(key, d)
}

func (ds *descriptions) forget(key statementKey) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.known.remove(key.anySchema())
	ds.known.remove(key)
}

func (key statementKey) anySchema() statementKey {
	key.schema = ""
	return key
}

// statement is a description bound to a name on one connection; unnamed ones have to be parsed each time.
type statement struct {
	*description
	bound   *pgconn.StatementDescription // the description with the name
	columns []string
	decode  []decoder
}

func newStatement(name string, d *description) *statement {
	s := &statement{description: d}
	bound := d.StatementDescription
	bound.Name = name
	s.bound = &bound
	return s
}

// reader returns the names and decoders of the columns. They are kept: a connection reads one result at a time.
func (s *statement) reader(types *pgtype.Map) ([]string, []decoder) {
	if s.columns == nil {
		s.columns, s.decode = columnsOf(types, s.Fields, s.formats)
	}
	return s.columns, s.decode
}

func columnsOf(types *pgtype.Map, fields []pgconn.FieldDescription, formats []int16) ([]string, []decoder) {
	names, decode := make([]string, len(fields)), make([]decoder, len(fields))
	for i, field := range fields {
		format := int16(pgtype.TextFormatCode)
		if i < len(formats) {
			format = formats[i]
		}
		names[i], decode[i] = field.Name, decoderFor(types, field.DataTypeOID, format)
	}
	return names, decode
}

// cacheable says whether sql is worth a name. What is not a query (SAVEPOINT with GORM's random names, SET, DDL) never is.
func cacheable(sql string) bool {
	if len(sql) > maxCachedSQL {
		return false
	}
	sql = strings.TrimLeft(sql, " \t\r\n(")
	for _, verb := range [...]string{"select", "insert", "update", "delete", "with", "values", "merge"} {
		if len(sql) > len(verb) && strings.EqualFold(sql[:len(verb)], verb) {
			return true
		}
	}
	return false
}
