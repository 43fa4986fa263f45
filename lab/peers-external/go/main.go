// gcbench and binary-trees in Go: the parameters and checksums of the Rust workloads, and the JSON lines of
// `mmtk run --json`, one an iteration. CPU spent collecting is Go's own estimate (runtime/metrics).
package main

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type node struct {
	l, r *node
	i, j int32
}
type bt struct{ l, r *bt }

func mix(h, v uint64) uint64 { return bits.RotateLeft64((h^v)*0x9E3779B97F4A7C15, 29) }
func treeSize(d int) int     { return 1<<(d+1) - 1 }

func bottomUp(d int) *node {
	if d == 0 {
		return &node{}
	}
	l := bottomUp(d - 1)
	r := bottomUp(d - 1)
	return &node{l: l, r: r}
}
func topDown(d int, n *node) {
	if d == 0 {
		return
	}
	n.l = &node{}
	n.r = &node{}
	topDown(d-1, n.l)
	topDown(d-1, n.r)
}
func leftDepth(n *node) uint64 {
	d := uint64(0)
	for n = n.l; n != nil; n = n.l {
		d++
	}
	return d
}
func count(n *node) uint64 {
	if n.l == nil {
		return 1
	}
	return 1 + count(n.l) + count(n.r)
}

func gcbench(long int) uint64 {
	stretch := long + 2
	arrayLen := 500000
	if long < 16 {
		arrayLen >>= 16 - long
	} else {
		arrayLen <<= long - 16
	}
	sum := mix(0, leftDepth(bottomUp(stretch)))
	root := &node{}
	topDown(long, root)
	array := make([]float64, arrayLen)
	for i := 1; i < arrayLen; i++ {
		array[i] = 1.0 / float64(i)
	}
	for d := 4; d <= long; d += 2 {
		iters := 2 * treeSize(stretch) / treeSize(d)
		for i := 0; i < iters; i++ {
			n := &node{}
			topDown(d, n)
		}
		for i := 0; i < iters; i++ {
			t := bottomUp(d)
			if i == iters-1 {
				sum = mix(sum, leftDepth(t))
			}
		}
	}
	sum = mix(sum, count(root))
	s := 0.0
	for i := 1; i < arrayLen; i++ {
		s += array[i]
	}
	return mix(sum, math.Float64bits(s))
}

func btMake(d int) *bt {
	if d == 0 {
		return &bt{}
	}
	l := btMake(d - 1)
	r := btMake(d - 1)
	return &bt{l, r}
}
func (n *bt) check() uint64 {
	if n.l == nil {
		return 1
	}
	return 1 + n.l.check() + n.r.check()
}
func binaryTrees(max int) uint64 {
	sum := mix(0, btMake(max+1).check())
	long := btMake(max)
	for d := 4; d <= max; d += 2 {
		iters := 1 << (max - d + 4)
		c := uint64(0)
		for i := 0; i < iters; i++ {
			c += btMake(d).check()
		}
		sum = mix(sum, c)
	}
	return mix(sum, long.check())
}

// statusBytes reads a size of the process.
func statusBytes(key string) uint64 {
	b, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, key) {
			v, _ := strconv.ParseUint(strings.Fields(l)[1], 10, 64)
			return v << 10
		}
	}
	return 0
}

func usage() (user, sys float64, faults, switches int64) {
	var u syscall.Rusage
	syscall.Getrusage(0, &u)
	f := func(t syscall.Timeval) float64 { return float64(t.Sec)*1e3 + float64(t.Usec)/1e3 }
	return f(u.Utime), f(u.Stime), u.Minflt, u.Nvcsw
}

// gcCPU is milliseconds since the start, idle time of workers not counted.
func gcCPU() float64 {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindFloat64 {
		return 0
	}
	return (s[0].Value.Float64() - s[1].Value.Float64()) * 1e3
}

func main() {
	name, workload := os.Args[1], os.Args[2]
	heap, _ := strconv.Atoi(os.Args[3])
	iters, _ := strconv.Atoi(os.Args[4])
	size, _ := strconv.Atoi(os.Args[5])
	threads, _ := strconv.Atoi(os.Args[6])
	if size == 0 {
		size = 18
	}
	for it := 0; it < iters; it++ {
		// The runtime brings its CPU estimate up to date at the end of a collection, hence one after the run too.
		runtime.GC()
		os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		g0 := gcCPU()
		u0, s0, f0, w0 := usage()
		t0 := time.Now()
		var sum uint64
		if workload == "gcbench" {
			sum = gcbench(size)
		} else {
			sum = binaryTrees(size)
		}
		wall := time.Since(t0)
		u1, s1, f1, w1 := usage()
		runtime.ReadMemStats(&m1)
		n := int(m1.NumGC - m0.NumGC)
		var g debug.GCStats
		debug.ReadGCStats(&g)
		rss := statusBytes("VmHWM:")
		runtime.GC()
		gc := gcCPU() - g0
		k := n
		if k > len(g.Pause) {
			k = len(g.Pause)
		}
		p := append([]time.Duration{}, g.Pause[:k]...)
		sort.Slice(p, func(a, b int) bool { return p[a] < p[b] })
		q := func(f float64) float64 {
			if k == 0 {
				return 0
			}
			i := int(math.Ceil(f*float64(k))) - 1
			if i < 0 {
				i = 0
			}
			return float64(p[i].Nanoseconds()) / 1e6
		}
		cpu := u1 - u0 + s1 - s0
		fmt.Printf("{\"plan\":\"%s\",\"workload\":\"%s\",\"heap_bytes\":%d,\"gc_threads\":%d,\"mutators\":1,\"iter\":%d,"+
			"\"wall_ms\":%.1f,\"cpu_ms\":%.1f,\"gc_cpu_ms\":%.1f,\"mut_cpu_ms\":%.1f,\"user_ms\":%.1f,\"sys_ms\":%.1f,"+
			"\"gcs\":%d,\"pauses\":%d,\"stw_ms\":%.3f,\"pause_p50_ms\":%.3f,\"pause_p99_ms\":%.3f,\"pause_max_ms\":%.3f,"+
			"\"peak_reserved_bytes\":%d,\"rss_bytes\":%d,\"minflt\":%d,\"nvcsw\":%d,\"checksum\":\"%016x\"}\n",
			name, workload, heap, threads, it,
			float64(wall.Nanoseconds())/1e6, cpu, gc, cpu-gc, u1-u0, s1-s0,
			n, n, float64(m1.PauseTotalNs-m0.PauseTotalNs)/1e6, q(0.5), q(0.99), q(1),
			m1.Sys, rss, f1-f0, w1-w0, sum)
	}
}
