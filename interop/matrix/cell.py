"""One cell of the matrix: a server, a client, the link between them, and the check of what went over it."""

import filecmp
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

import cases
from checks import Wrong
from known import fault
from trace import CLIENT, SERVER, Trace

PASS, FAIL, UNSUPPORTED = "pass", "fail", "-"
PEER = "peer"  # It fails, by the peer's fault.


@dataclass
class Result:
    peer: str
    role: str
    case: str
    outcome: str
    note: str = ""
    seconds: float = 0.0


class Run:
    """What a check may look at."""

    def __init__(self, directory, role, names, size):
        self.directory, self.role, self.names, self.bytes = directory, role, names, size
        self.trace = Trace(directory)
        self.server_says = self.client_says = ""
        self.seconds = self.client_seconds = 0.0

    def peer_is(self, role):
        return self.role == role

    def completed(self):
        """How many handshakes came as far as keys for application data."""
        with open(f"{self.directory}/keys", encoding="utf-8") as keys:
            return len({line.split()[1] for line in keys if line.startswith("SERVER_TRAFFIC_SECRET_0 ")})


class Process:
    """A program that says something first."""

    def __init__(self, command, log, environment, stdin=None):
        self.log = log
        self.out = open(log, "a", encoding="utf-8")
        self.process = subprocess.Popen(command, stdin=stdin, stdout=self.out, stderr=subprocess.STDOUT,
                                        env=environment, start_new_session=True)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_for(self, word, seconds=30.0):
        limit = time.monotonic() + seconds
        while word not in self.said():
            if self.process.poll() is not None and word not in self.said():
                return False
            if time.monotonic() > limit:
                return False
            time.sleep(0.01)
        return True

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.out.close()


def run(place, tercel, peer, role, case, port):
    """`role` is the peer's. `place` has the certificates; the cell gets a directory in it."""
    result = Result(peer.name, role, case.name, FAIL)
    why = peer.cannot(case.name, role)
    if why:
        result.outcome, result.note = UNSUPPORTED, why
        return result
    directory = f"{place}/{peer.name}-{role}-{case.name}"
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory + "/out")
    cases.write_files(case, directory + "/www")
    names = list(cases.names(case))
    made = Run(directory, role, names, sum(case.files))
    server, client = (peer, tercel) if role == SERVER else (tercel, peer)
    try:
        started = time.monotonic()
        code = _talk(place, made, case, server, client, port)
        result.seconds = time.monotonic() - started
        _judge(result, made, case, code)
    except Wrong as wrong:
        result.note = str(wrong)
    except Exception as error:  # A trace that cannot be read fails its cell, not the matrix.
        result.note = f"{type(error).__name__}: {error}"
    if result.outcome == FAIL and (why := fault(peer.name, role, case.name, made)):
        result.outcome, result.note = PEER, why
    if result.outcome == PASS and not os.environ.get("INTEROP_KEEP"):
        shutil.rmtree(directory, ignore_errors=True)
    return result


def _judge(result, made, case, code):
    said = made.client_says + made.server_says
    if "unsupported: " in said:
        result.outcome, result.note = UNSUPPORTED, said.split("unsupported: ", 1)[1].splitlines()[0]
        return
    if code is None and not case.fails:
        raise Wrong(f"no end within {case.seconds} s: " + _last(made))
    if not case.fails:
        if code != 0:
            raise Wrong(f"the client ends with {code}: " + _last(made))
        for name in made.names:
            if not os.path.exists(f"{made.directory}/out/{name}"):
                raise Wrong("a file is missing")
            if not filecmp.cmp(f"{made.directory}/www/{name}", f"{made.directory}/out/{name}", shallow=False):
                raise Wrong("a file is not as it was")
    result.note = case.check(made) or ""
    result.outcome = PASS


def _last(made):
    lines = [line for line in made.client_says.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"


def _talk(place, made, case, server, client, port):
    directory = made.directory
    host = "[::1]" if case.ipv6 else "127.0.0.1"
    front, preferred, back = f"{host}:{port}", f"{host}:{port + 1}", f"{host}:{port + 2}"
    # Tercel's keys open every packet.
    of_tercel, of_peer = directory + "/keys", directory + "/keys-of-peer"
    environment = {name: {**os.environ, "SSLKEYLOGFILE": of_tercel if end.is_tercel else of_peer}
                   for name, end in (("server", server), ("client", client))}
    chain = "large.pem" if case.large_certificate else "cert.pem"
    options = ["--cert", f"{place}/{chain}", "--key", f"{place}/key.pem", "--ca", f"{place}/ca.pem"]
    serve = server.command("server", case.name, listen=back, directory=f"{directory}/www", options=options,
                           preferred=preferred if case.preferred else None)
    ask = client.command("client", case.name, connect=front, directory=f"{directory}/out", options=options,
                         names=made.names)
    link = [server.link, "--front", front, "--server", back, "--trace", directory, *case.link]
    # The type of a packet can be changed to anything on the way. What peers make of a Retry from a client, for
    # example, is not our business; what Tercel makes of it is.
    link += ["--spare-types", "to-client" if server.is_tercel else "to-server"]
    if case.preferred:
        link += ["--front", preferred]
    processes = []
    try:
        serving = Process(serve, directory + "/server.log", environment["server"])
        processes.append(serving)
        linking = Process(link, directory + "/link.log", os.environ, stdin=subprocess.PIPE)
        processes.append(linking)
        ready = serving.wait_for(server.ready(case.name)) and linking.wait_for("ready")
        if not ready:
            made.server_says = serving.said()
            if "unsupported: " in made.server_says:
                return 127
            raise Wrong("the server does not start: " + made.server_says[-200:] + linking.said()[-200:])
        began = time.monotonic()
        asking = Process(ask, directory + "/client.log", environment["client"])
        processes.append(asking)
        if case.restart:
            time.sleep(case.restart)
            serving.end()
            serving = Process(serve, directory + "/server.log", environment["server"])
            processes.append(serving)
        try:
            code = asking.process.wait(case.seconds)
        except subprocess.TimeoutExpired:
            code = None
        made.seconds = made.client_seconds = time.monotonic() - began
        # What is under way arrives.
        time.sleep(0.15)
        linking.process.stdin.close()
        linking.process.wait(10)
        made.server_says, made.client_says = serving.said(), asking.said()
        return code
    finally:
        for process in processes:
            process.end()
