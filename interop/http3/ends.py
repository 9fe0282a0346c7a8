"""The site, and the programs at both ends: Tercel's and its peers'."""

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).parent
PATIENCE = 120
SPAN = "1000-4999"
EMPTY = hashlib.sha256().hexdigest()

RESULTS = """# HTTP/3 with real peers

As `interop/http3/run` found it, with {versions}.
"-" is what a peer does not do, or not by itself; why is below the table. Times are those of one run on a machine of two
processors that others used, too, and most peers have one thread: they tell that nothing waits for a timeout, and
are no measure of speed.

{table}"""


class Failed(Exception):
    """What went wrong."""


class Unsupported(Exception):
    """Why a case does not apply."""


def until(what, holds):
    """Waits until something is so."""
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"waited for {what} in vain")
        time.sleep(0.01)


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Site:
    """What is served, with the hash of everything, and the certificate for it."""

    def __init__(self, work, fast):
        # More for the environment of peers.
        self.for_peers = {}
        self.work, self.root, self.uploads = work, work / "site", work / "site/uploads"
        self.uploads.mkdir(parents=True)
        (self.root / "many").mkdir()
        (self.root / "up").mkdir()
        self.hashes, self.lens = {}, {}
        source = random.Random(1)
        self.sizes = {"zero": 0, "one": 1, "mib": 1 << 20, "large": (5 if fast else 50) << 20}
        self.small = [f"many/{at:05}" for at in range(200)]
        self.many = [f"many/{at:05}" for at in range(200 if fast else 10_000)]
        for name, size in self.sizes.items() | {(name, 100 + at) for at, name in enumerate(self.many)}:
            (self.root / name).write_bytes(data := source.randbytes(size % 5000 if "/" in name else size))
            self.hashes[name], self.lens[name] = hashlib.sha256(data).hexdigest(), len(data)
        first, last = map(int, SPAN.split("-"))
        part = (self.root / "mib").read_bytes()[first : last + 1]
        self.span = str(len(part)), hashlib.sha256(part).hexdigest()
        self.sign()

    def keep_qlogs(self, directory):
        """Of all peers that run from now on."""
        directory.mkdir(parents=True, exist_ok=True)
        self.for_peers["QLOGDIR"] = str(directory)

    def is_of(self, name):
        """What a client says of a file that has come whole."""
        return str(self.lens[name]), self.hashes[name]

    def sign(self):
        """An authority, and a certificate for localhost that it has signed."""
        self.ca, self.certificate, self.key = (self.work / name for name in ("ca.pem", "cert.pem", "key.pem"))
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        new += ["-days", "10"]
        authority = [*new, "-keyout", self.work / "ca-key.pem", "-out", self.ca, "-subj", "/CN=Interop"]
        leaf = [*new, "-keyout", self.key, "-out", self.certificate, "-subj", "/CN=localhost"]
        leaf += ["-CA", self.ca, "-CAkey", self.work / "ca-key.pem"]
        leaf += ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
        for command in authority, leaf:
            subprocess.run(command, check=True, capture_output=True)


class Server(contextlib.AbstractContextManager):
    """A server that is running; its standard output goes to a file."""

    def __init__(self, work, command, port=None, environment=None):
        self.log = work / f"log-{time.monotonic_ns()}"
        self.errors = work / f"errors-{time.monotonic_ns()}"
        with self.log.open("w") as log, self.errors.open("w") as errors:
            self.process = subprocess.Popen(command, stdout=log, stderr=errors, env=os.environ | (environment or {}))
        self.port = port or self.wait_for_port()

    def wait_for_port(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            if said := re.search(r"listening (\d+)|127\.0\.0\.1:(\d+)", self.log.read_text()):
                return int(said[1] or said[2])
            time.sleep(0.02)
        self.stop()
        raise Failed(f"the server does not start: {self.errors.read_text()[-500:]}")

    def end(self):
        """Asks it to end, and does not wait."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """Ends it; its log is complete then."""
        if self.process.poll() is None:
            self.end()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __exit__(self, *_):
        self.stop()

    def lines(self):
        self.stop()
        return [line.split() for line in self.log.read_text(errors="replace").splitlines()]

    def connections(self):
        return sum(line == ["connection"] for line in self.lines())

    def uploads(self):
        return [tuple(line[1:]) for line in self.lines() if line[:1] == ["request"] and line[1] in ("PUT", "POST")]


class Program:
    """A client by the contract in README.md."""

    def __init__(self, command):
        self.command = [str(word) for word in command]

    def ask(self, port, site, plan, parallel, on_half=lambda: None):
        file = site.work / "plan"
        file.write_text("".join(" ".join([*line.split(), "-", "-", "-"][:5]) + "\n" for line in plan))
        command = [*self.command, "client", str(port), str(site.ca), str(file), str(parallel)]
        errors = site.work / "errors"
        to = {"stdout": subprocess.PIPE, "stderr": errors.open("w"), "env": os.environ | site.for_peers}
        with to["stderr"], subprocess.Popen(command, text=True, **to) as process:
            timer = threading.Timer(PATIENCE, process.kill)
            timer.start()
            lines = []
            for line in process.stdout:
                if line == "half\n":
                    on_half()
                else:
                    lines.append(line.rstrip("\n"))
            process.wait()
            timer.cancel()
        if process.returncode or not lines or not lines[-1].startswith("done "):
            raise Failed(f"the client ended with {process.returncode}: {' '.join(lines[-1:])} {errors.read_text()[-500:]}")
        _, seconds, *note = lines.pop().split(" ", 2)
        if bad := [line for line in lines if line.startswith("error")]:
            raise Failed(f"{len(bad)} of {len(lines)} requests failed, the first by: {bad[0]}")
        return [tuple(line.split(" ")) for line in lines], float(seconds), " ".join(note)


class TercelServer(Server):
    """`tercel serve`: connections are told apart by the address in the access log."""

    def __init__(self, site, command, environment):
        self.site = site
        super().__init__(site.work, command, environment=environment)

    def uploads(self):
        self.stop()
        file = self.site.root / "up/put"
        return [("PUT", "/up/put", str(file.stat().st_size), hash_of(file), "-")]

    def connections(self):
        asked = {line[0] for line in self.lines() if len(line) > 3 and line[3] == "HTTP/3.0"}
        served = self.errors.read_text(errors="replace").count("a connection is served")
        if served != len(asked):
            raise Failed(f"{served} connections, and requests from {len(asked)} addresses")
        return served


class Tercel:
    def __init__(self, program, asker, site):
        self.program, self.site = program, site
        self.h3 = asker
        self.asker = Program([asker, "tercel"]) if asker else self

    def ask(self, *_):
        raise Unsupported("needs the program of h3/")

    def serve(self, site):
        command = [self.program, "serve", site.root, "--listen", "127.0.0.1:0", "--writable"]
        command += ["--cert", site.certificate, "--key", site.key]
        environment = {"RUST_LOG": "tercel_h3=debug", "NO_COLOR": "1"}
        return TercelServer(site, command, environment)

    def echo(self, site):
        """A service of `tercel_h3::Server` that takes POST and trailers."""
        if not self.h3:
            raise Unsupported("needs the program of h3/")
        return Server(site.work, [self.h3, "tercel", "server", site.root, site.certificate, site.key])

    def run(self, arguments):
        command = [self.program, "get", "--ca", self.site.ca, "--force", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    def get(self, arguments):
        started = time.monotonic()
        done = self.run(arguments)
        if done.returncode:
            raise Failed(f"tercel get ended with {done.returncode}: {done.stderr[-500:]}")
        return time.monotonic() - started

    def get_fails(self, arguments):
        done = self.run(arguments)
        if done.returncode != 1:
            raise Failed(f"tercel get ended with {done.returncode}, where 1 was expected")
        return done.stderr


class Peer(Program):
    """Both ends by one program. `lacks` tells what a peer does not do, and why."""

    lacks = {}
    grease = ""

    def needs(self, *what):
        for one in what:
            if one in self.lacks:
                raise Unsupported(self.lacks[one])

    def serve(self, site):
        command = [*self.command, "server", site.root, site.certificate, site.key]
        return Server(site.work, command, environment=site.for_peers)

    def version(self):
        said = subprocess.run([*self.command, "version"], capture_output=True, text=True).stdout.split()
        return f"{self.name} {said[0]}"


class Aioquic(Peer):
    name = "aioquic"
    grease = "a setting, a stream, and frames on the control stream and on every request"


class Itself(Peer):
    name = "itself"
    lacks = dict.fromkeys(("post", "trailers", "goaway", "grease", "qpack"), "see the tests of its own")

    def __init__(self, tercel):
        self.serve = tercel.serve

    def version(self):
        return ""


class H3Quinn(Peer):
    name = "h3-quinn"
    grease = "a setting, a stream and a frame, as h3 sends them by itself"
    lacks = {"qpack": "h3 has none"}

    def version(self):
        return subprocess.run([*self.command, "version"], capture_output=True, text=True).stdout.strip()


class Quiche(Peer):
    name = "quiche"
    grease = "a setting, a stream and frames on requests, as quiche sends them by itself"
    lacks = {"qpack": "quiche has none"}


class Backend(http.server.BaseHTTPRequestHandler):
    """What Caddy gives uploads to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.came.append((self.command, self.path, str(len(body)), hashlib.sha256(body).hexdigest(), "-"))
        answer = body if self.command == "POST" else b""
        self.send_response(200 if self.command == "POST" else 201)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST

    def log_message(self, *_):
        pass


class CaddyServer(Server):
    def __init__(self, work, program, environment, backend):
        self.access, self.backend = work / "access.log", backend
        self.access.unlink(missing_ok=True)
        command = [program, "run", "--config", str(HERE / "Caddyfile"), "--adapter", "caddyfile"]
        super().__init__(work, command, int(environment["PORT"]), environment)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise Failed(f"Caddy does not start: {self.errors.read_text()[-500:]}") from None
                time.sleep(0.05)

    def connections(self):
        self.stop()
        requests = [json.loads(line)["request"] for line in self.access.read_text().splitlines() if '"request"' in line]
        return len({request["remote_port"] for request in requests if request["proto"] == "HTTP/3.0"})

    def uploads(self):
        return self.backend.came

    def stop(self):
        super().stop()
        self.backend.shutdown()


class Caddy(Peer):
    name = "Caddy"
    lacks = {
        "client": "Caddy 2.6 asks nobody by HTTP/3",
        "trailers": "its quic-go has none",
        "goaway": "its quic-go sends none",
        "grease": "its quic-go sends none",
        "qpack": "its quic-go has none",
    }

    def serve(self, site):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        backend.came = []
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        environment = {"PORT": port, "BACKEND": backend.server_port, "ROOT": site.root, "WORK": site.work}
        environment |= {"CERTIFICATE": site.certificate, "KEY": site.key, "HOME": site.work}
        environment |= {"XDG_DATA_HOME": site.work, "XDG_CONFIG_HOME": site.work}
        strings = {name: str(value) for name, value in environment.items()}
        return CaddyServer(site.work, self.command[0], strings, backend)


def peers(arguments, tercel):
    """Those that are there."""
    yield Itself(tercel)
    if arguments.aioquic:
        yield Aioquic([arguments.aioquic, HERE / "aioquic_ends.py"])
    if arguments.caddy:
        yield Caddy([arguments.caddy])
    if arguments.h3:
        yield H3Quinn([arguments.h3, "quinn"])
    if arguments.quiche:
        yield Quiche([arguments.quiche])
