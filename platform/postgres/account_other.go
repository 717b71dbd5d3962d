//go:build !unix

package postgres

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

var errUnix = errors.New("running PostgreSQL is for Unix only: set HOMECORE_DATABASE_URL to the URL of a running server")

type account struct{ name string }

func runAs() (account, error) { return account{}, errUnix }

func (account) apply(*exec.Cmd)      {}
func (account) own(string) error     { return errUnix }
func (account) ownAll(string) error  { return errUnix }
func (account) dirMode() fs.FileMode { return 0o700 }
func (account) reach(string) error   { return errUnix }
func lock(*os.File) (bool, error)    { return false, errUnix }
func kill(int, syscall.Signal) error { return errUnix }
func alive(int) bool                 { return false }
