# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured: Busbar in its kinds, and the peers. Each start is one of its own, in a folder of its own, on
free ports, and is ended by process id.

    with SERVERS["nats"].start(build) as server:
        server.port, server.pids()
"""
import atexit
import dataclasses
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SRC = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
RABBIT_SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
PEER_SCRIPTS = os.path.join(SRC, "bench/peers")
FILES = 60000  # that a peer may open, if the machine lets it
DEADLINE = 60


class Unavailable(Exception):
    """It is not installed, or the bus cannot do it yet; the text says what is missing."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {DEADLINE} s: {what}")
        time.sleep(0.01)


_open = []  # what is running


def close_all():
    while _open:
        _open[-1].close()


atexit.register(close_all)


def end_when_told():
    """SIGTERM ends the program as Ctrl-C does: with its servers."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


class Server:
    """Processes with a folder, and the port for the generator."""

    publish_port = None  # if publishers go elsewhere
    is_tls = False

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="bbench-", dir="/tmp")
        self.processes = []
        _open.append(self)
        self.port = free_port()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def certificate(self):
        """A certificate and its key, P-256; clients come by TLS."""
        self.is_tls = True
        paths = [os.path.join(self.dir, name) for name in ("certificate.pem", "key.pem")]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
        return paths

    def spawn(self, *argv, **env):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir, env=dict(os.environ, **env))
        self.processes.append(p)
        return p

    def log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()[-2000:]

    def listens(self, process, port=None):
        """Waits until something accepts connections there."""
        def is_there():
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended with {process.returncode}: {self.log()}")
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port or self.port)) == 0
        wait_for(is_there, f"{process.args[0]} listens")

    def pids(self):
        """Our own and their children."""
        found = []
        todo = [p.pid for p in self.processes]
        while todo:
            pid = todo.pop(0)
            found.append(pid)
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as f:
                    todo += [int(x) for x in f.read().split()]
        return found

    def memory_kib(self):
        """What is resident, shared pages counted in parts."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        return total

    def peak_kib(self):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
        return total

    def close(self):
        if self in _open:
            _open.remove(self)
        for p in reversed(self.processes):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.processes:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


# ---- Busbar ----

class Busbar(Server):
    """kind: ws, http or tcp; publish_by: the kind that publishers speak, if it is another."""

    def __init__(self, build, kind="ws", publish_by=None, link="nanomsg", workers=1, history=100, tls=False, **sections):
        super().__init__()
        self.build = build
        ports = {kind: self.port}
        if publish_by is not None:
            ports[publish_by] = self.publish_port = free_port()
        config = {
            "runtime_dir": self.dir + "/run", "log": {"level": "warn"}, "link": {"transport": link},
            # Memory as the peers; bench/durable.py measures the store.
            "broker": {"backend": "memory", "topics_max": 10000000, "history_max": "16GiB"},
            "limits": {"connections": 200000, "queue_bytes": "16MiB", "publish_hold_time": "2m"},
            **{k: {"listen": f"127.0.0.1:{port}", "workers": workers if k == kind else 1} for k, port in ports.items()},
            "topics": [{"match": "#", "history": history if isinstance(history, dict) else
                        {"messages": history, "age": "5m", "bytes": "1GiB"}}],
        }
        if tls:
            certificate, key = self.certificate()
            for k in ports:
                config[k]["tls"] = {"listen": config[k].pop("listen"), "certificate": certificate, "key": key}
                config[k]["listen"] = ""
        for name, section in sections.items():
            config[name] = {**config.get(name, {}), **section} if isinstance(section, dict) else section
        self.config = os.path.join(self.dir, "busbar.yaml")
        with open(self.config, "w") as f:
            json.dump(config, f)
        self.start(ports, workers, kind)

    def start(self, ports, workers, kind):
        self.start_broker()
        for k in ports:
            for n in range(1, (workers if k == kind else 1) + 1):
                self.spawn_ready(os.path.join(self.build, f"frontends/{k}/busbar-{k}"), "--config", self.config, "--instance", f"{k}.{n}")
        if "; send is used" in self.log():  # asked for io_uring, and has none: what is measured would not be what its name says
            raise Unavailable("io_uring is not in this build or not allowed here")

    def start_broker(self):
        self.broker = self.spawn_ready(os.path.join(self.build, "broker/busbar-broker"), "--config", self.config)

    def spawn_ready(self, *argv):
        """Waits until it says that it is ready, which a frontend is when it is attached to the broker."""
        name = f"{os.path.basename(self.dir)}-{os.urandom(4).hex()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind("\0" + name)
            notify.settimeout(DEADLINE)
            process = self.spawn(*argv, NOTIFY_SOCKET="@" + name)
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
            except socket.timeout:
                raise RuntimeError(f"{argv[0]} was not ready in time: {self.log()}") from None
        return process


# ---- The peers ----

class UWebSockets(Server):
    script = "uws.mjs"

    def __init__(self, build, tls=False):
        super().__init__()
        self.listens(self.spawn("node", os.path.join(PEER_SCRIPTS, self.script), str(self.port), *(self.certificate() if tls else [])))


class NodeWs(UWebSockets):
    script = "ws.mjs"


class Nchan(Server):
    def __init__(self, build, workers=1, tls=False):
        super().__init__()
        path = os.path.join(self.dir, "nginx.conf")
        ssl = ""
        if tls:
            certificate, key = self.certificate()
            ssl = f"ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;"
        with open(path, "w") as f:
            f.write(f"""load_module {NCHAN_MODULE};
daemon off; worker_processes {workers}; pid {self.dir}/pid; error_log {self.dir}/error.log; worker_rlimit_nofile {FILES};
events {{ worker_connections 30000; }}
http {{ access_log off; client_body_temp_path {self.dir}/b; proxy_temp_path {self.dir}/p; fastcgi_temp_path {self.dir}/f;
uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s; nchan_shared_memory_size 256M;
server {{ listen 127.0.0.1:{self.port} {"ssl" if tls else ""} backlog=4096; keepalive_requests 100000000; {ssl}
 location ~ /sub/(.+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest; }}
 location ~ /events/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest; }}
 location ~ /poll/(.+)$ {{ nchan_subscriber longpoll; nchan_channel_id $1; nchan_subscriber_first_message newest; }}
 location ~ /pub/(.+)$ {{ nchan_publisher websocket; nchan_channel_id $1; nchan_message_buffer_length 100; nchan_message_timeout 5m; }}
}} }}
""")
        self.listens(self.spawn("nginx", "-p", self.dir, "-c", path))
        wait_for(lambda: len(self.pids()) >= 1 + workers, "nginx has its workers")


class Nats(Server):
    """Over TCP at port, over WebSocket at ws_port."""

    def __init__(self, build, is_ws=False, tls=False, more=""):
        super().__init__()
        security = "no_tls: true"
        if tls:
            certificate, key = self.certificate()
            security = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'
        tcp_port = free_port() if is_ws else self.port
        path = os.path.join(self.dir, "nats.conf")
        with open(path, "w") as f:
            f.write(f'listen: "127.0.0.1:{tcp_port}"\n')
            if is_ws:
                f.write(f'websocket {{ listen: "127.0.0.1:{self.port}"\n {security} }}\n')
            f.write(more.format(dir=self.dir))
        self.listens(self.spawn("nats-server", "-c", path))


class JetStream(Nats):
    """One stream for all subjects, in a file. is_queue: a work queue with the consumer that the generator pulls from."""

    def __init__(self, build, is_queue=False):
        super().__init__(build, more='jetstream {{ store_dir: "{dir}/js" }}\n')
        self.ask("STREAM.CREATE.BENCH", {
            "name": "BENCH", "subjects": ["bench.>"], "retention": "workqueue" if is_queue else "limits", "storage": "file",
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1, "num_replicas": 1, "discard": "old"})
        if is_queue:
            self.ask("CONSUMER.DURABLE.CREATE.BENCH.work", {"stream_name": "BENCH", "config": {
                "durable_name": "work", "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant",
                "max_ack_pending": 100000, "max_waiting": 10000}})

    def ask(self, what, body):
        text = json.dumps(body)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s:
            s.sendall(f'CONNECT {{"verbose":false}}\r\nSUB _INBOX.a 1\r\nPUB $JS.API.{what} _INBOX.a {len(text)}\r\n{text}\r\n'.encode())
            answer = b""
            while b'"created"' not in answer:
                data = s.recv(65536)
                if not data or b'"error"' in answer:
                    raise RuntimeError(f"nats-server: {answer!r}")
                answer += data


class Redis(Server):
    """sync: appendfsync of the append-only file; None: nothing is kept."""

    def __init__(self, build, sync=None, tls=False):
        super().__init__()
        keep = ["--appendonly", "yes", "--appendfsync", sync] if sync else []
        port = ["--port", str(self.port)]
        if tls:
            certificate, key = self.certificate()
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
                    "--tls-auth-clients", "no"]
        self.listens(self.spawn("redis-server", "--bind", "127.0.0.1", *port, "--protected-mode", "no", "--maxclients", str(FILES), "--save", "", "--dir", self.dir, *keep))


class Mosquitto(Server):
    def __init__(self, build):
        super().__init__()
        path = os.path.join(self.dir, "mosquitto.conf")
        with open(path, "w") as f:  # no bound on what waits for a client, or it drops a message of a stream
            f.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
                    "max_queued_messages 0\nuser root\nlog_type error\n")
        self.listens(self.spawn("mosquitto", "-c", path))


class RabbitMq(Server):
    """A node of its own, and the port mapper that it asks for: that one counts for nothing."""

    def __init__(self, build):
        super().__init__()
        home, mapper_port = os.path.join(self.dir, "home"), free_port()
        os.mkdir(home)
        for name, text in [("rabbit.conf", f"listeners.tcp.local = 127.0.0.1:{self.port}\n"), ("plugins", "[].\n")]:
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)
        env = {"HOME": home, "ERL_EPMD_PORT": str(mapper_port), "RABBITMQ_NODENAME": f"bench{self.port}@localhost",
               "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(free_port()), "RABBITMQ_MNESIA_BASE": self.dir + "/mnesia",
               "RABBITMQ_LOG_BASE": self.dir, "RABBITMQ_LOGS": self.dir + "/rabbit.log", "RABBITMQ_CONFIG_FILE": self.dir + "/rabbit.conf",
               "RABBITMQ_ENABLED_PLUGINS_FILE": self.dir + "/plugins", "RABBITMQ_PID_FILE": self.dir + "/pid"}
        self.mapper = self.spawn("epmd", "-port", str(mapper_port), "-address", "127.0.0.1", **env)
        self.listens(self.mapper, mapper_port)
        self.listens(self.spawn(RABBIT_SCRIPT, **env))

    def pids(self):
        return [pid for pid in super().pids() if pid != self.mapper.pid]


# ---- Their names ----

@dataclasses.dataclass
class Kind:
    label: str  # in tables
    proto: str  # of the generator
    make: type
    options: dict = dataclasses.field(default_factory=dict)
    needs: str = ""  # the program

    @property
    def is_ours(self):
        return issubclass(self.make, Busbar)

    def check(self):
        if self.needs.startswith("/"):
            is_there = os.path.exists(self.needs)
        elif self.needs.endswith(".mjs"):
            is_there = shutil.which("node") and os.path.exists(os.path.join(PEER_SCRIPTS, "node_modules"))
        else:
            is_there = not self.needs or shutil.which(self.needs)
        if not is_there:
            raise Unavailable(f"{self.label} is not installed here")

    def start(self, build, **options):
        self.check()
        try:
            return self.make(build, **{**self.options, **options})
        except BaseException:
            close_all()
            raise


def _busbar():
    protos = {"ws": ("WebSocket", "busbar-ws", {"kind": "ws"}), "tcp": ("TCP", "busbar-tcp", {"kind": "tcp"}),
              "sse": ("SSE", "busbar-sse", {"kind": "http", "publish_by": "ws"}),
              "poll": ("long-poll", "busbar-poll", {"kind": "http", "publish_by": "ws"}),
              "cable": ("Action Cable", "busbar-cable", {"kind": "ws", "channels": [{"channel": "BenchChannel", "stream": "bench/{room}"}]}),
              "raw": ("raw WebSocket", "busbar-raw", {"kind": "ws"}), "http": ("HTTP", "busbar-http", {"kind": "http"}),
              "ws-msgpack": ("WebSocket, MessagePack", "busbar-ws-msgpack", {"kind": "ws"}),
              "tcp-msgpack": ("TCP, MessagePack", "busbar-tcp-msgpack", {"kind": "tcp"})}
    for name, (label, proto, options) in protos.items():
        for link in ("nanomsg", "unix"):
            for workers in (1, 2):
                suffix = ("-unix" if link == "unix" else "") + (f"-{workers}w" if workers > 1 else "")
                words = f"Busbar, {label}, {link}" + (f", {workers} workers" if workers > 1 else "")
                yield f"busbar-{name}{suffix}", Kind(words, proto, Busbar, {**options, "link": link, "workers": workers})


def _uring():
    yield "busbar-ws-unix-uring", Kind("Busbar, WebSocket, unix, io_uring", "busbar-ws", Busbar,
                                       {"kind": "ws", "link": "unix", "io": {"client_writes": "io_uring"}})


def _encrypted():
    for link in ("nanomsg", "unix"):
        for kind, label in (("ws", "WebSocket"), ("tcp", "TCP")):
            yield f"busbar-{kind}-tls{'-unix' if link == 'unix' else ''}", Kind(
                f"Busbar, {label}, TLS, {link}", f"busbar-{kind}", Busbar, {"kind": kind, "link": link, "tls": True})
    yield "uwebsockets-tls", Kind("uWebSockets, TLS", "plain-ws", UWebSockets, {"tls": True}, needs="uws.mjs")
    yield "nats-ws-tls", Kind("NATS, WebSocket, TLS", "nats-ws", Nats, {"is_ws": True, "tls": True}, needs="nats-server")
    yield "nchan-tls", Kind("nchan, WebSocket, TLS", "nchan", Nchan, {"tls": True}, needs=NCHAN_MODULE)
    yield "redis-tls", Kind("Redis, TLS", "redis", Redis, {"tls": True}, needs="redis-server")


def _stored():
    """With a store in a file, as JetStream and RabbitMQ have it."""
    for link in ("nanomsg", "unix"):
        yield f"busbar-tcp-sqlite{'-unix' if link == 'unix' else ''}", Kind(
            f"Busbar, TCP, sqlite, {link}", "busbar-tcp", Busbar,
            {"kind": "tcp", "link": link, "broker": {"backend": "sqlite"}, "store": {"path": "busbar.db"}})


SERVERS = {
    **dict(_busbar()),
    **dict(_uring()),
    **dict(_stored()),
    **dict(_encrypted()),
    "uwebsockets": Kind("uWebSockets", "plain-ws", UWebSockets, needs="uws.mjs"),
    "node-ws": Kind("ws (node)", "plain-ws", NodeWs, needs="ws.mjs"),
    "redis": Kind("Redis", "redis", Redis, needs="redis-server"),
    "nats": Kind("NATS", "nats", Nats, needs="nats-server"),
    "nats-ws": Kind("NATS, WebSocket", "nats-ws", Nats, {"is_ws": True}, needs="nats-server"),
    "mosquitto": Kind("Mosquitto", "mqtt", Mosquitto, needs="mosquitto"),
    "nchan": Kind("nchan, WebSocket", "nchan", Nchan, needs=NCHAN_MODULE),
    "nchan-2w": Kind("nchan, WebSocket, 2 workers", "nchan", Nchan, {"workers": 2}, needs=NCHAN_MODULE),
    "nchan-sse": Kind("nchan, SSE", "nchan-sse", Nchan, needs=NCHAN_MODULE),
    "nchan-poll": Kind("nchan, long-poll", "nchan-poll", Nchan, needs=NCHAN_MODULE),
    "jetstream": Kind("JetStream, file", "jetstream", JetStream, needs="nats-server"),
    "jetstream-queue": Kind("JetStream, work queue, file", "jetstream-queue", JetStream, {"is_queue": True}, needs="nats-server"),
    "redis-stream": Kind("Redis, Streams, everysec", "redis", Redis, {"sync": "everysec"}, needs="redis-server"),
    "rabbitmq": Kind("RabbitMQ, durable queue", "amqp", RabbitMq, needs=RABBIT_SCRIPT),
}


# ---- The generator ----

def generator(build, server, proto, arguments, **popen):
    argv = [os.path.join(build, "bench/busbar-load"), *arguments, "--proto", proto, "--port", str(server.port)]
    if server.is_tls:
        argv.append("--tls")
    if server.publish_port is not None:
        argv += ["--publish-port", str(server.publish_port)]
    for pid in server.pids():
        argv += ["--pid", str(pid)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            total += sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
    return total / os.sysconf("SC_CLK_TCK")


def median_of(rounds):
    """Of each figure by itself; what failed does not count, but is said if nothing else is there."""
    good = [r for r in rounds if "error" not in r]
    if not good:
        return rounds[0]
    result = {k: statistics.median(r[k] for r in good) for k, v in good[0].items() if isinstance(v, (int, float))}
    shares = [r["cpu_s_by_pid"] for r in good if "cpu_s_by_pid" in r]
    if shares:
        result["cpu_s_by_pid"] = [statistics.median(of_one) for of_one in zip(*shares)]
    result["rounds"] = len(good)
    result["errors"] = [r["error"] for r in rounds if "error" in r]
    return result
