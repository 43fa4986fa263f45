// gcbench and binary-trees in Java: the parameters and checksums of the Rust workloads, and the JSON lines of
// `mmtk run --json`, one an iteration. Pauses come from the safepoint log that run.sh asks the JVM to write
// (-Dbench.log=FILE). CPU spent collecting is that of the JVM's GC threads and of the VM thread; the rest, the
// just-in-time compiler included, counts as mutator.
import java.io.RandomAccessFile;
import java.lang.management.*;
import java.nio.file.*;
import java.util.*;
import java.util.regex.*;

public class Bench {
    static final class Node { Node l, r; int i, j; Node() {} Node(Node l, Node r) { this.l = l; this.r = r; } }
    static final class Bt { Bt l, r; Bt() {} Bt(Bt l, Bt r) { this.l = l; this.r = r; } long check() { return l == null ? 1 : 1 + l.check() + r.check(); } }

    static long mix(long h, long v) { return Long.rotateLeft((h ^ v) * 0x9E3779B97F4A7C15L, 29); }
    static int treeSize(int d) { return (1 << (d + 1)) - 1; }
    static Node bottomUp(int d) {
        if (d == 0) return new Node();
        Node l = bottomUp(d - 1), r = bottomUp(d - 1);
        return new Node(l, r);
    }
    static void topDown(int d, Node n) {
        if (d == 0) return;
        n.l = new Node();
        n.r = new Node();
        topDown(d - 1, n.l);
        topDown(d - 1, n.r);
    }
    static long leftDepth(Node n) { long d = 0; for (n = n.l; n != null; n = n.l) d++; return d; }
    static long count(Node n) { return n.l == null ? 1 : 1 + count(n.l) + count(n.r); }

    static long gcbench(int lng) {
        int stretch = lng + 2;
        int len = lng < 16 ? 500000 >> (16 - lng) : 500000 << (lng - 16);
        long sum = mix(0, leftDepth(bottomUp(stretch)));
        Node root = new Node();
        topDown(lng, root);
        double[] array = new double[len];
        for (int i = 1; i < len; i++) array[i] = 1.0 / i;
        for (int d = 4; d <= lng; d += 2) {
            int iters = 2 * treeSize(stretch) / treeSize(d);
            for (int i = 0; i < iters; i++) topDown(d, new Node());
            for (int i = 0; i < iters; i++) {
                Node t = bottomUp(d);
                if (i == iters - 1) sum = mix(sum, leftDepth(t));
            }
        }
        sum = mix(sum, count(root));
        double s = 0;
        for (int i = 1; i < len; i++) s += array[i];
        return mix(sum, Double.doubleToRawLongBits(s));
    }
    static Bt make(int d) {
        if (d == 0) return new Bt();
        Bt l = make(d - 1), r = make(d - 1);
        return new Bt(l, r);
    }
    static long binaryTrees(int max) {
        long sum = mix(0, make(max + 1).check());
        Bt lng = make(max);
        for (int d = 4; d <= max; d += 2) {
            int iters = 1 << (max - d + 4);
            long c = 0;
            for (int i = 0; i < iters; i++) c += make(d).check();
            sum = mix(sum, c);
        }
        return mix(sum, lng.check());
    }

    static long statusBytes(String key) throws Exception {
        for (String l : Files.readAllLines(Path.of("/proc/self/status")))
            if (l.startsWith(key)) return Long.parseLong(l.trim().split("\\s+")[1]) << 10;
        return 0;
    }
    /** User and system milliseconds of the process (10 ms ticks), and faults without I/O, from /proc/self/stat. */
    static double[] usage() throws Exception {
        String s = Files.readString(Path.of("/proc/self/stat"));
        String[] f = s.substring(s.lastIndexOf(')') + 2).split(" ");
        return new double[] { Long.parseLong(f[11]) * 10.0, Long.parseLong(f[12]) * 10.0, Long.parseLong(f[7]) };
    }
    static final List<String> GC_THREADS = List.of("GC Thread", "G1 ", "VM Thread", "ZWorker", "ZDirector", "ZDriver", "ZStat",
        "XWorker", "XDirector", "XDriver", "ZUnmapper", "Shenandoah", "StringDedup");
    /** CPU milliseconds of the JVM's collector so far. */
    static double gcCpu() throws Exception {
        long ns = 0;
        try (var tasks = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
            for (Path t : tasks) {
                try {
                    String name = Files.readString(t.resolve("comm"));
                    if (GC_THREADS.stream().anyMatch(name::startsWith))
                        ns += Long.parseLong(Files.readString(t.resolve("schedstat")).split(" ")[0]);
                } catch (java.io.IOException gone) {}
            }
        }
        return ns / 1e6;
    }
    static long gcs() {
        long n = 0;
        for (var b : ManagementFactory.getGarbageCollectorMXBeans()) if (!b.getName().contains("Pauses")) n += b.getCollectionCount();
        return n;
    }
    static final Pattern SP = Pattern.compile("Safepoint \"(\\w+)\".*Total: *(\\d+) ns");
    static double rank(List<Double> p, double q) { return p.isEmpty() ? 0 : p.get(Math.max((int) Math.ceil(q * p.size()), 1) - 1); }

    public static void main(String[] a) throws Exception {
        try {
            run(a);
        } catch (OutOfMemoryError e) {
            System.err.println("out of memory: " + e.getMessage());
            System.out.println("{\"error\":\"oom\"}");
            System.exit(3);
        }
    }

    static void run(String[] a) throws Exception {
        String name = a[0], w = a[1];
        long heap = Long.parseLong(a[2]);
        int iters = Integer.parseInt(a[3]), size = Integer.parseInt(a[4]), threads = Integer.parseInt(a[5]);
        if (size == 0) size = 18;
        String log = System.getProperty("bench.log");
        var os = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        for (int it = 0; it < iters; it++) {
            if (it > 0) System.gc();
            long pos = Files.size(Path.of(log));
            try { Files.writeString(Path.of("/proc/self/clear_refs"), "5"); } catch (Exception e) {}
            long gcs = gcs();
            double[] u0 = usage();
            double gc = gcCpu();
            long c0 = os.getProcessCpuTime();
            long t0 = System.nanoTime();
            long sum = w.equals("gcbench") ? gcbench(size) : binaryTrees(size);
            double wall = (System.nanoTime() - t0) / 1e6;
            double cpu = (os.getProcessCpuTime() - c0) / 1e6;
            gc = gcCpu() - gc;
            double[] u1 = usage();
            gcs = gcs() - gcs;
            byte[] buf;
            try (var f = new RandomAccessFile(log, "r")) { f.seek(pos); buf = new byte[(int) (f.length() - pos)]; f.readFully(buf); }
            ArrayList<Double> p = new ArrayList<>();
            Matcher m = SP.matcher(new String(buf));
            while (m.find()) p.add(Long.parseLong(m.group(2)) / 1e6);
            Collections.sort(p);
            double stw = 0;
            for (double x : p) stw += x;
            System.out.printf(Locale.ROOT, "{\"plan\":\"%s\",\"workload\":\"%s\",\"heap_bytes\":%d,\"gc_threads\":%d,\"mutators\":1,\"iter\":%d,"
                + "\"wall_ms\":%.1f,\"cpu_ms\":%.1f,\"gc_cpu_ms\":%.1f,\"mut_cpu_ms\":%.1f,\"user_ms\":%.0f,\"sys_ms\":%.0f,"
                + "\"gcs\":%d,\"pauses\":%d,\"stw_ms\":%.3f,\"pause_p50_ms\":%.3f,\"pause_p99_ms\":%.3f,\"pause_max_ms\":%.3f,"
                + "\"peak_reserved_bytes\":null,\"rss_bytes\":%d,\"minflt\":%d,\"checksum\":\"%016x\"}%n",
                name, w, heap, threads, it, wall, cpu, gc, cpu - gc, u1[0] - u0[0], u1[1] - u0[1],
                gcs, p.size(), stw, rank(p, 0.5), rank(p, 0.99), rank(p, 1), statusBytes("VmHWM:"), (long) (u1[2] - u0[2]), sum);
        }
    }
}
