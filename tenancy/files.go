package tenancy

import (
	"context"
	"fmt"
	"io/fs"
)

// FilePrefix returns what the keys of the tenant's files begin with, in whatever keeps files. It has the tenant's id and not
// its slug: an id is never another tenant's, and a rename moves no file.
func (s Scope) FilePrefix() string { return "tenants/" + s.tenant.String() + "/" }

// FileKey returns the key of a file of the tenant that ctx works for. A name is a path as fs.ValidPath wants it, so that none
// leads out of the tenant's prefix. It returns ErrNoTenant where ctx carries no Scope.
func FileKey(ctx context.Context, name string) (string, error) {
	s, err := Current(ctx)
	if err != nil {
		return "", err
	}
	if !fs.ValidPath(name) || name == "." {
		return "", fmt.Errorf("tenancy: %q is no name of a file", name)
	}
	return s.FilePrefix() + name, nil
}
