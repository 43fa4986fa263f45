// Workloads in Go: the parameters and checksums of the Rust ones, and the JSON lines of
// `mmtk run --json`, one an iteration. CPU spent collecting, peaks and goals are what the runtime prints of each cycle (GODEBUG=
// gctrace=1,gcpacertrace=1, to standard error, which the program reads from a file). Marking by workers that had nothing else to do
// counts, sweeping and the mutators' allocation slow path do not.
package main

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
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

// rng is xorshift64*, with the seeds of the Rust one.
type rng uint64

func newRng(seed uint64) *rng {
	r := rng(seed*0x9E3779B97F4A7C15 ^ 0xD1B54A32D192ED03 | 1)
	return &r
}
func (r *rng) bits() uint64 {
	x := uint64(*r)
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	*r = rng(x)
	return x * 0x2545F4914F6CDD1D
}
func (r *rng) below(n int) int { return int((r.bits() >> 32) * uint64(n) >> 32) }

// payload is a node of a payload tree: two more of them, or a leaf's array and string.
type payload struct{ l, r unsafe.Pointer }

func makePayload(depth int, tag uint64) *payload {
	if depth == 0 {
		array := new([10]uint64)
		for i := range array {
			array[i] = uint64(i)
		}
		str := new([5]uint64)
		str[0] = tag
		return &payload{unsafe.Pointer(array), unsafe.Pointer(str)}
	}
	l := makePayload(depth-1, tag)
	r := makePayload(depth-1, tag)
	return &payload{unsafe.Pointer(l), unsafe.Pointer(r)}
}

type splayNode struct {
	l, r  *splayNode
	value *payload
	key   uint64
}
type splayTree struct{ root *splayNode }

func (t *splayTree) splay(key uint64) {
	if t.root == nil {
		return
	}
	header := &splayNode{}
	l, r, n := header, header, t.root
	for {
		if key < n.key {
			if n.l == nil {
				break
			}
			if key < n.l.key {
				x := n.l
				n.l = x.r
				x.r = n
				n = x
				if n.l == nil {
					break
				}
			}
			r.l = n
			r = n
			n = n.l
		} else if key > n.key {
			if n.r == nil {
				break
			}
			if key > n.r.key {
				x := n.r
				n.r = x.l
				x.l = n
				n = x
				if n.r == nil {
					break
				}
			}
			l.r = n
			l = n
			n = n.r
		} else {
			break
		}
	}
	l.r = n.l
	r.l = n.r
	n.l = header.r
	n.r = header.l
	t.root = n
}
func (t *splayTree) insert(key uint64) bool {
	t.splay(key)
	if t.root != nil && t.root.key == key {
		return false
	}
	n := &splayNode{value: makePayload(5, key), key: key}
	if t.root != nil {
		if key > t.root.key {
			n.l = t.root
			n.r = t.root.r
			t.root.r = nil
		} else {
			n.r = t.root
			n.l = t.root.l
			t.root.l = nil
		}
	}
	t.root = n
	return true
}
func (t *splayTree) remove(key uint64) {
	t.splay(key)
	l, r := t.root.l, t.root.r
	if l == nil {
		t.root = r
	} else {
		t.root = l
		t.splay(key)
		t.root.r = r
	}
}
func (t *splayTree) greatestBelow(key uint64) (uint64, bool) {
	t.splay(key)
	if t.root.key < key {
		return t.root.key, true
	}
	n := t.root.l
	if n == nil {
		return 0, false
	}
	for n.r != nil {
		n = n.r
	}
	return n.key, true
}
func (n *splayNode) checksum(sum uint64) uint64 {
	for n != nil {
		if n.l != nil {
			sum = n.l.checksum(sum)
		}
		sum = mix(sum, n.key)
		n = n.r
	}
	return sum
}
func splay(size, ops int) uint64 {
	r := newRng(1000)
	t := &splayTree{}
	for n := 0; n < size; {
		if t.insert(r.bits() >> 16) {
			n++
		}
	}
	for i := 0; i < ops; i++ {
		key := r.bits() >> 16
		for !t.insert(key) {
			key = r.bits() >> 16
		}
		dead, ok := t.greatestBelow(key)
		if !ok {
			dead = key
		}
		t.remove(dead)
	}
	return t.root.checksum(0)
}

type entry struct {
	next      *entry
	value     *[8]uint64 // and more behind them
	key, slot uint64
}
type request struct {
	before *request
	words  [7]uint64
}
type parsed struct {
	before *request
	words  [15]uint64
}

// The compiler must not keep what a request leaves behind on the stack.
var left *parsed

func newValue(r *rng, key uint64) *[8]uint64 {
	n := 64 + r.below(448)
	v := make([]uint64, (n+7)/8)
	v[0] = key
	for i := 1; i < n/8; i++ {
		v[i] = key ^ uint64(i)
	}
	return (*[8]uint64)(v)
}
func lruCache(k, ops int) uint64 {
	buckets := 1
	for buckets < k {
		buckets *= 2
	}
	r := newRng(31)
	table, slots := make([]*entry, buckets), make([]*entry, k)
	hash := func(key uint64) int { return int(key*0x9E3779B97F4A7C15>>32) & (buckets - 1) }
	put := func(s int, key uint64) {
		v := newValue(r, key)
		h := hash(key)
		e := &entry{table[h], v, key, uint64(s)}
		table[h] = e
		slots[s] = e
	}
	for s := 0; s < k; s++ {
		put(s, uint64(s))
	}
	universe := k + k/2
	var sum, hits uint64
	for i := 0; i < ops; i++ {
		var key uint64
		if r.below(10) < 8 {
			key = uint64(r.below(universe / 5))
		} else {
			key = uint64(r.below(universe))
		}
		write := r.below(10) == 0
		garbage := &request{}
		garbage.words[0] = key
		left = &parsed{before: garbage}
		e := table[hash(key)]
		for e != nil && e.key != key {
			e = e.next
		}
		if e == nil {
			s := r.below(k)
			old := slots[s]
			at := &table[hash(old.key)]
			for *at != old {
				at = &(*at).next
			}
			*at = old.next
			put(s, key)
		} else {
			hits++
			if write {
				e.value = newValue(r, key)
			} else {
				var words uint64
				for _, w := range e.value {
					words += w
				}
				sum = mix(sum, words)
			}
		}
	}
	return mix(sum, hits)
}

type record struct {
	payload *[2]uint64 // and more behind them
	number  uint64
	rest    [2]uint64
}

func phases(size, ops int) uint64 {
	kinds := [][2]int{{16, 0}, {4, 0}, {4, 16}, {10, 4}, {16, 16}, {2, 4}}
	r := newRng(77)
	table := make([]*record, size)
	var sum uint64
	for phase := 0; phase < ops; phase++ {
		part, reads := kinds[phase%len(kinds)][0], kinds[phase%len(kinds)][1]
		used := size * part / 16
		if used < 1 {
			used = 1
		}
		for i := used; i < size; i++ {
			table[i] = nil
		}
		for step := 0; step < size*2; step++ {
			payload := make([]uint64, (16+r.below(48)+7)/8)
			payload[0] = uint64(step)
			n := &record{payload: (*[2]uint64)(payload), number: uint64(phase ^ step)}
			table[r.below(used)] = n
			for i := 0; i < reads; i++ {
				if other := table[r.below(used)]; other != nil {
					sum = mix(sum, other.number^other.payload[0])
				}
			}
		}
	}
	for _, n := range table {
		if n != nil {
			sum = mix(sum, n.number)
		}
	}
	return sum
}

func run(workload string, size int) uint64 {
	or := func(otherwise int) int {
		if size == 0 {
			return otherwise
		}
		return size
	}
	switch workload {
	case "gcbench":
		return gcbench(or(18))
	case "binary-trees":
		return binaryTrees(or(18))
	case "splay":
		return splay(or(8000), 100000)
	case "lru-cache":
		return lruCache(or(200000), 2000000)
	case "phases":
		return phases(or(200000), 12)
	}
	panic("unknown workload " + workload)
}

// pacerTrace takes what the pacer says of its cycles: it is written to standard error, which becomes this file.
func pacerTrace() *os.File {
	if os.Getenv("GODEBUG") != "gctrace=1,gcpacertrace=1" {
		return nil
	}
	f, err := os.CreateTemp("", "gobench")
	if err != nil {
		return nil
	}
	os.Remove(f.Name())
	syscall.Dup3(int(f.Fd()), 2, 0)
	return f
}

var (
	goalOf = regexp.MustCompile(`-> (\d+) B \(∆goal (-?\d+)`)
	cpuOf  = regexp.MustCompile(`([\d.]+)\+([\d.]+)/([\d.]+)/([\d.]+)\+([\d.]+) ms cpu`)
)

// cycles reads the trace between two offsets: milliseconds of CPU, and the peaks of cycles as parts of their goals, sorted.
func cycles(f *os.File, from, to int64) (ms float64, ratios []float64) {
	text := make([]byte, to-from)
	f.ReadAt(text, from)
	number := func(s string) float64 { n, _ := strconv.ParseFloat(s, 64); return n }
	for _, m := range goalOf.FindAllStringSubmatch(string(text), -1) {
		peak := number(m[1])
		ratios = append(ratios, peak/(peak-number(m[2])))
	}
	for _, m := range cpuOf.FindAllStringSubmatch(string(text), -1) {
		for _, part := range m[1:] {
			ms += number(part)
		}
	}
	sort.Float64s(ratios)
	return ms, ratios
}

func end(f *os.File) int64 {
	if f == nil {
		return 0
	}
	at, _ := f.Seek(0, 2)
	return at
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

func main() {
	name, workload := os.Args[1], os.Args[2]
	heap, _ := strconv.Atoi(os.Args[3])
	iters, _ := strconv.Atoi(os.Args[4])
	size, _ := strconv.Atoi(os.Args[5])
	threads, _ := strconv.Atoi(os.Args[6])
	trace := pacerTrace()
	for it := 0; it < iters; it++ {
		runtime.GC()
		os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		u0, s0, f0, w0 := usage()
		t0 := time.Now()
		told := end(trace)
		sum := run(workload, size)
		wall := time.Since(t0)
		collecting, goals, gc := "null,\"mut_cpu_ms\":null", "null,\"goal_max\":null", 0.0
		if trace != nil {
			ms, ratios := cycles(trace, told, end(trace))
			gc = ms
			if len(ratios) > 0 {
				goals = fmt.Sprintf("%.3f,\"goal_max\":%.3f", ratios[len(ratios)/2], ratios[len(ratios)-1])
			}
		}
		u1, s1, f1, w1 := usage()
		runtime.ReadMemStats(&m1)
		n := int(m1.NumGC - m0.NumGC)
		var g debug.GCStats
		debug.ReadGCStats(&g)
		rss := statusBytes("VmHWM:")
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
		if trace != nil {
			collecting = fmt.Sprintf("%.1f,\"mut_cpu_ms\":%.1f", gc, cpu-gc)
		}
		fmt.Printf("{\"plan\":\"%s\",\"workload\":\"%s\",\"heap_bytes\":%d,\"gc_threads\":%d,\"mutators\":1,\"iter\":%d,"+
			"\"wall_ms\":%.1f,\"cpu_ms\":%.1f,\"gc_cpu_ms\":%s,\"user_ms\":%.1f,\"sys_ms\":%.1f,"+
			"\"gcs\":%d,\"pauses\":%d,\"stw_ms\":%.3f,\"pause_p50_ms\":%.3f,\"pause_p99_ms\":%.3f,\"pause_max_ms\":%.3f,"+
			"\"peak_reserved_bytes\":%d,\"goal_p50\":%s,\"rss_bytes\":%d,\"minflt\":%d,\"nvcsw\":%d,\"checksum\":\"%016x\"}\n",
			name, workload, heap, threads, it,
			float64(wall.Nanoseconds())/1e6, cpu, collecting, u1-u0, s1-s0,
			n, n, float64(m1.PauseTotalNs-m0.PauseTotalNs)/1e6, q(0.5), q(0.99), q(1),
			m1.Sys, goals, rss, f1-f0, w1-w0, sum)
	}
}
