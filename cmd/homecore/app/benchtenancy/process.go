package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// What the kernel says of processes, in the form that Linux gives it; elsewhere it is 0.

// tick is Linux's USER_HZ, which is the same on all its platforms.
const tick = 10 * time.Millisecond

// backends returns the process ids of the server's sessions that gave this application name.
func (w *world) backends(ctx context.Context, application string) ([]int, error) {
	rows, err := w.owner.Query(ctx, "select pid from pg_stat_activity where application_name = $1", application)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// ownCPU is what this process has spent.
func ownCPU() time.Duration {
	pid := os.Getpid()
	return cpuOf([]int{pid})[pid]
}

// cpuOf is what each of the processes has spent.
func cpuOf(pids []int) map[int]time.Duration {
	spent := make(map[int]time.Duration, len(pids))
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The name, in brackets, may hold blanks; utime and stime are the 12th and 13th after it (proc(5)).
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			continue
		}
		for _, f := range fields[11:13] {
			n, _ := strconv.Atoi(f)
			spent[pid] += time.Duration(n) * tick
		}
	}
	return spent
}

// memory is what a process has for itself, in MB: the private pages of its private mappings. A page of shared_buffers that no
// other process happens to have touched counts as private in smaps_rollup, and is no memory of the backend's.
func memory(pid int) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	var kB int
	own := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch {
		case !strings.HasSuffix(name, ":"): // a mapping begins: its addresses, then its permissions
			own = len(value) > 3 && value[3] == 'p'
		case own && (name == "Private_Clean:" || name == "Private_Dirty:"):
			n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			kB += n
		}
	}
	return float64(kB) / 1024
}

// memoryOf is the median over the processes.
func memoryOf(pids []int) float64 {
	all := make([]float64, len(pids))
	for i, pid := range pids {
		all[i] = memory(pid)
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}
