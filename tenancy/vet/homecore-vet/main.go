// Command homecore-vet runs the rules of package vet: go vet -vettool=.bin/homecore-vet ./...
package main

import (
	"golang.org/x/tools/go/analysis/unitchecker"

	"garment.id/homecore/tenancy/vet"
)

func main() { unitchecker.Main(vet.Analyzers()...) }
