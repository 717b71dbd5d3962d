// Command homecore is the whole of HomeCore: the API, the job workers, and what operators need, in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	_ "time/tzdata" // tenants' time zones, also where the system has none

	"github.com/alecthomas/kong"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version = ""

type commands struct {
	Dev       devCommand       `cmd:"" help:"Everything on one machine: Postgres, migrations, API, jobs, kept mail. Needs no Docker and no database server."`
	Serve     serveCommand     `cmd:"" help:"The API, for production. Configuration comes from the environment."`
	Work      workCommand      `cmd:"" help:"The job workers, for production."`
	Migrate   migrateCommand   `cmd:"" help:"Show or run migrations of schema central and of the tenants' schemas."`
	Tenants   tenantsCommand   `cmd:"" help:"Operators' work on tenants."`
	Clusters  clustersCommand  `cmd:"" help:"The databases that hold tenants."`
	Operators operatorsCommand `cmd:"" help:"Who may run the platform."`
	Keys      keysCommand      `cmd:"" help:"Keys that sign access tokens."`
	Openapi   openapiCommand   `cmd:"" name:"openapi" help:"Print the OpenAPI 3.1 document of a surface."`
	Doctor    doctorCommand    `cmd:"" help:"Check configuration, database, migrations, mail and clock, and say what to do."`
	Version   versionCommand   `cmd:"" help:"Print the version."`
}

// console is where a command reads its surroundings and writes its output.
type console struct {
	ctx     context.Context
	out     io.Writer
	err     io.Writer
	environ []string
}

// errUsage is a wrong use of the command line, exit code 2.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(&console{ctx: ctx, out: os.Stdout, err: os.Stderr, environ: os.Environ()}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run parses the arguments and runs the command: 0 well, 1 failed, 2 wrong usage.
func run(c *console, args []string) (code int) {
	exited := false
	parser, err := kong.New(&commands{},
		kong.Name("homecore"),
		kong.Description("The backend of a multi-tenant SaaS: one schema for each tenant."),
		kong.UsageOnError(),
		kong.Writers(c.out, c.err),
		kong.Exit(func(status int) { exited, code = true, status }), // --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(c.err, "homecore:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited {
		return code
	}
	if err != nil {
		fmt.Fprintf(c.err, "homecore: %v\nTry %s --help.\n", err, nearest(err))
		return 2
	}
	switch err := command.Run(c); {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(c.err, "homecore:", err)
		return 2
	default:
		fmt.Fprintln(c.err, "homecore:", err)
		return 1
	}
}

// nearest is the command whose help explains a wrong use of it.
func nearest(err error) string {
	var wrong *kong.ParseError
	if !errors.As(err, &wrong) || wrong.Context == nil {
		return "homecore"
	}
	words := []string{"homecore"}
	for _, step := range wrong.Context.Path {
		if step.Command != nil {
			words = append(words, step.Command.Name)
		}
	}
	return strings.Join(words, " ")
}

type versionCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (v *versionCommand) Run(c *console) error {
	if v.JSON {
		return printJSON(c.out, map[string]string{"version": buildVersion()})
	}
	_, err := fmt.Fprintln(c.out, "homecore", buildVersion())
	return err
}

// buildVersion is the release's, else what Go knows of the build.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
