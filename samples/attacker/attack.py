#!/usr/bin/env python3
"""An app that attacks its node. It answers every request with what it tried
and what succeeded; nothing must. Push it to see what your cluster's apps can do.

    GET /          {"tried": 123, "breaches": []}
    GET /healthz   200, without attacking
"""
import concurrent.futures
import ctypes
import http.server
import ipaddress
import itertools
import json
import os
import socket
import struct
import time

# Ports of the node that an app has no business with. 80 and 443 are the
# router's, which everybody may reach.
NODE_PORTS = [22, 2375, 2376, 4646, 4647, 4648, 7300, 7301, 7302, 7303, 7304, 8300, 8301, 8302, 8500, 8501, 8502, 8503, 8600]
METADATA = ["169.254.169.254", "169.254.170.2"]
APP_PORT = 8080
NEIGHBOURS = 30  # first addresses of the containers' network


def gateway():
    """The node as its containers see it, from the default route."""
    with open("/proc/net/route") as routes:
        for line in routes:
            fields = line.split()
            if len(fields) > 2 and fields[1] == "00000000":
                return socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
    return None


def own_network():
    """The network that containers share, from the route without a gateway."""
    with open("/proc/net/route") as routes:
        for line in list(routes)[1:]:
            fields = line.split()
            if int(fields[2], 16) == 0:
                network, mask = (socket.inet_ntoa(struct.pack("<L", int(fields[i], 16))) for i in (1, 7))
                return ipaddress.ip_network(f"{network}/{mask}")
    return None


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("198.51.100.1", 9))  # sends nothing
        return s.getsockname()[0]


def targets():
    """(why it is forbidden, address, port)"""
    nodes = {a for a in (gateway(), os.environ.get("CF_INSTANCE_IP")) if a}
    nodes |= {a for a in os.environ.get("ATTACK_NODES", "").split(",") if a}
    for node in sorted(nodes):
        for port in NODE_PORTS:
            yield "port of a node", node, port
        published = int(os.environ.get("CF_INSTANCE_PORT", "20000"))
        for port in range(published - 20, published + 21):
            yield "published port of an app", node, port
    for address in METADATA:
        for port in (80, 443):
            yield "metadata of the cloud", address, port
    me, network = own_address(), own_network()
    for host in itertools.islice(network.hosts() if network else (), NEIGHBOURS):
        if str(host) != me:
            yield "another container", str(host), APP_PORT


def connects(target):
    why, address, port = target
    try:
        socket.create_connection((address, port), timeout=1).close()
        return f"{why}: {address}:{port} accepts"
    except OSError:
        return None


def succeeds(do):
    """Runs do in a child: it may change what the process is."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(1 if do() is False else 0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def fence():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect("/stackato/run/fence.sock")


def docker():
    for path in ("/var/run/docker.sock", "/run/docker.sock"):
        if os.path.exists(path):
            return True
    return False


def mount():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0


def namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(0x10000000 | 0x00020000) == 0 and mount()


def trace():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.ptrace(16, 1, None, None) == 0  # PTRACE_ATTACH to the first process


def capabilities():
    with open("/proc/self/status") as status:
        sets = [line.split() for line in status if line.startswith("Cap")]
    return any(int(value, 16) for _, value in sets)


def suid():
    """A set-user-ID program still has no effect."""
    for path in ("/bin/su", "/usr/bin/passwd", "/usr/bin/mount"):
        if os.path.exists(path) and os.stat(path).st_mode & 0o4000:
            with open("/proc/self/status") as status:
                return "NoNewPrivs:\t0" in status.read()
    return False


def call(number, *arguments):
    """A system call that has no function of its own; numbers of x86-64."""
    if os.uname().machine != "x86_64":
        return -1
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(number, *arguments)


def key():
    return call(248, b"user", b"attacker", b"secret", 6, -3) >= 0  # add_key to the session's ring


def ring():
    return call(425, 1, ctypes.create_string_buffer(120)) >= 0  # io_uring_setup


def kernel_log():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.klogctl(3, ctypes.create_string_buffer(4096), 4096) > 0


def hypervisor():
    socket.socket(40, socket.SOCK_STREAM)  # AF_VSOCK


def nomad():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect("/secrets/api.sock")


def writable_outside():
    """Directories of the node's disk that no limit counts."""
    return any(os.access(path, os.W_OK | os.X_OK) for path in ("/alloc", "/local", "/secrets", "/alloc/data", "/alloc/tmp"))


POWERS = {
    "fence's socket": fence,
    "Docker's socket": docker,
    "become root": lambda: os.setuid(0),
    "another group": lambda: os.setgroups([0]),
    "mount": mount,
    "a user namespace of its own": namespace,
    "trace the first process": trace,
    "environment of the first process": lambda: open("/proc/1/environ").read(),
    "files of the first process": lambda: os.listdir("/proc/1/root"),
    "signal to the first process": lambda: os.kill(1, 0),
    "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "a device": lambda: os.mknod("/tmp/device", 0o60666, os.makedev(8, 0)),
    "write to /etc": lambda: open("/etc/passwd", "a"),
    "write to /stackato": lambda: open("/stackato/bin/evil", "w"),
    "the kernel's memory": lambda: open("/proc/kcore", "rb").read(1),
    "the kernel's settings": lambda: open("/proc/sys/kernel/core_pattern", "w"),
    "a key of the kernel": key,
    "io_uring": ring,
    "the kernel's log": kernel_log,
    "a socket to the hypervisor": hypervisor,
    "Nomad's socket": nomad,
    "the node's disk past the limit": writable_outside,
    "the machine's clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "the machine's name": lambda: socket.sethostname("attacker"),
    "before all others": lambda: os.nice(-5),
    "control groups": lambda: open("/sys/fs/cgroup/pids/cgroup.procs" if os.path.exists("/sys/fs/cgroup/pids") else "/sys/fs/cgroup/cgroup.procs", "a"),
    "memory of the first process": lambda: open("/proc/1/mem", "rb"),
    "what the first process has open": lambda: os.listdir("/proc/1/fd"),
    "capabilities": capabilities,
    "set-user-ID programs": suid,
}


def attack():
    tried = list(targets())
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        breaches = [b for b in pool.map(connects, tried) if b]
    breaches += [name for name, do in POWERS.items() if succeeds(do)]
    breaches += [f"variable {name}" for name in sorted(os.environ) if name.startswith(("NOMAD_", "CONSUL_", "DOCKER_"))]
    return {"tried": len(tried) + len(POWERS) + len(os.environ), "breaches": breaches}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"ok\n" if self.path == "/healthz" else json.dumps(attack(), indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
