package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/tenancy/fleet"
)

type clustersCommand struct {
	List clustersList `cmd:"" help:"List the clusters that hold tenants."`
	Add  clustersAdd  `cmd:"" help:"Prepare another database for tenants, or change what is known of one."`
}

type clustersList struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON."`
}

type clusterRow struct {
	Name       string     `json:"name"`
	Kind       fleet.Kind `json:"kind"`
	URLEnv     string     `json:"url_env,omitempty"`
	Groups     int        `json:"groups"`
	Capacity   *int       `json:"capacity"`
	AcceptsNew bool       `json:"accepts_new"`
	Tenants    int        `json:"tenants"`
	Reachable  bool       `json:"reachable"`
}

func (l *clustersList) Run(c *console) error {
	f, done, err := l.fleet(c)
	if err != nil {
		return err
	}
	defer done()
	rows := []clusterRow{}
	for _, cluster := range f.Clusters() {
		row := clusterRow{Name: cluster.Name, Kind: cluster.Kind, URLEnv: cluster.URLRef, Groups: cluster.Groups, Capacity: cluster.Capacity, AcceptsNew: cluster.AcceptsNew}
		if err := f.Main().Owner().QueryRow(c.ctx, "select count(*) from central.tenants where cluster = $1 and status <> 'dropped'", cluster.Name).Scan(&row.Tenants); err != nil {
			return fmt.Errorf("count the tenants of cluster %s: %w", cluster.Name, err)
		}
		row.Reachable = cluster.Owner().Ping(c.ctx) == nil
		rows = append(rows, row)
	}
	if l.JSON {
		return printJSON(c.out, rows)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tGROUPS\tTENANTS\tCAPACITY\tNEW\tREACHABLE")
	words := map[bool]string{true: "yes", false: "no"}
	for _, r := range rows {
		capacity := "-"
		if r.Capacity != nil {
			capacity = fmt.Sprint(*r.Capacity)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", r.Name, r.Kind, r.Groups, r.Tenants, capacity, words[r.AcceptsNew], words[r.Reachable])
	}
	return w.Flush()
}

type clustersAdd struct {
	dataDir
	Name       string `arg:"" help:"1 to 16 lower-case letters and digits."`
	URLEnv     string `name:"url-env" help:"The variable with its address; HOMECORE_CLUSTER_<NAME>_URL by default." placeholder:"VARIABLE"`
	Kind       string `help:"postgres, or citus for a coordinator with schema-based sharding." enum:"postgres,citus" default:"postgres"`
	Groups     int    `help:"Affinity groups of tenants, 1 to 256; fixed once it is added." default:"8"`
	Capacity   int    `help:"Tenants it may hold; 0: no limit." default:"0"`
	AcceptsNew bool   `help:"Place new tenants here." negatable:"" default:"true"`
}

func (a *clustersAdd) Run(c *console) error {
	ref := cmp.Or(a.URLEnv, app.Prefix+"CLUSTER_"+strings.ToUpper(a.Name)+"_URL")
	switch {
	case !fleet.ValidClusterName(a.Name):
		return fmt.Errorf("%w: a cluster's name is 1 to 16 letters and digits, in lower case", errUsage)
	case a.Groups < 1 || a.Groups > 256:
		return fmt.Errorf("%w: --groups: want 1 to 256", errUsage)
	case a.Capacity < 0:
		return fmt.Errorf("%w: --capacity: want 0 or more", errUsage)
	case !strings.HasPrefix(ref, app.Prefix+"CLUSTER_") || !strings.HasSuffix(ref, "_URL"):
		return fmt.Errorf("%w: --url-env: want a name such as %sCLUSTER_EAST_URL", errUsage, app.Prefix)
	}
	config, err := a.config(c) // the login roles' passwords come from the secret
	if err != nil {
		return err
	}
	owner, err := app.OpenOwner(c.ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer owner.Close()
	f, err := app.LoadFleet(c.ctx, config, owner)
	if err != nil {
		return err
	}
	defer f.Close()
	cluster := fleet.Cluster{Name: a.Name, Kind: fleet.Kind(a.Kind), URLRef: ref, Groups: a.Groups, AcceptsNew: a.AcceptsNew}
	if a.Capacity > 0 {
		cluster.Capacity = &a.Capacity
	}
	if err := app.AddCluster(c.ctx, config, f, owner, cluster); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "cluster %s is ready; restart serve and work with %s set, so that they serve it\n", a.Name, ref)
	return nil
}
