// Package gorm has of GORM what the tests need.
package gorm

import (
	"context"
	"database/sql"
)

type DB struct{ Error error }

type Session struct {
	Context context.Context
	NewDB   bool
}

type Dialector interface{}

type Option interface{}

func Open(Dialector, ...Option) (*DB, error) { return nil, nil }

func (db *DB) WithContext(context.Context) *DB                      { return db }
func (db *DB) Session(*Session) *DB                                 { return db }
func (db *DB) Model(any) *DB                                        { return db }
func (db *DB) Table(string, ...any) *DB                             { return db }
func (db *DB) Select(any, ...any) *DB                               { return db }
func (db *DB) Where(any, ...any) *DB                                { return db }
func (db *DB) Joins(string, ...any) *DB                             { return db }
func (db *DB) Order(any) *DB                                        { return db }
func (db *DB) Raw(string, ...any) *DB                               { return db }
func (db *DB) Exec(string, ...any) *DB                              { return db }
func (db *DB) Scan(any) *DB                                         { return db }
func (db *DB) Find(any, ...any) *DB                                 { return db }
func (db *DB) Create(any) *DB                                       { return db }
func (db *DB) Count(*int64) *DB                                     { return db }
func (db *DB) Update(string, any) *DB                               { return db }
func (db *DB) Pluck(string, any) *DB                                { return db }
func (db *DB) Transaction(func(*DB) error, ...*sql.TxOptions) error { return nil }

type Chain[T any] struct{}

func G[T any](*DB) Chain[T] { return Chain[T]{} }

func (c Chain[T]) Where(any, ...any) Chain[T]        { return c }
func (c Chain[T]) Find(context.Context) ([]T, error) { return nil, nil }

type expr struct{}

func Expr(string, ...any) expr { return expr{} }
