"""Tercel's HTTP/3 with each peer, both ways and case by case; `run` installs what it needs and starts it.

Every case is a method of `TercelAsks` or `PeerAsks` below; it returns a note, or raises Failed or Unsupported."""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import ends
from ends import Failed, Unsupported

CASES = {
    "files": "0 bytes, 1 byte, 1 MiB and a large file, by their hashes",
    "parallel": "200 small files, 50 at a time",
    "head": "HEAD: a status and no body",
    "range": "a range of bytes",
    "missing": "404",
    "put": "PUT of 1 MiB, by its hash",
    "post": "POST",
    "trailers": "trailers of requests and responses",
    "goaway": "GOAWAY in the middle of an exchange, which is finished",
    "grease": "reserved settings, streams and frames",
    "qpack": "a peer with a dynamic table of QPACK",
    "many": "10,000 files over one connection",
}
FAST = ("files", "parallel", "head", "range", "missing", "put", "goaway", "grease", "qpack")


def same(what, found, expected):
    if found != expected:
        raise Failed(f"{what}: {found}, where {expected} was expected")


class TercelAsks:
    """`tercel get`, or the same library by a program of more words, at a peer's server."""

    title = "asks"

    def __init__(self, peer, site, tercel):
        self.peer, self.site, self.tercel = peer, site, tercel

    def fetch(self, names, prefix="", parallel=16):
        """Fetches files by `tercel get`; all must be right, and come over one connection."""
        with self.peer.serve(self.site) as server, tempfile.TemporaryDirectory(dir=self.site.work) as out:
            urls = [f"https://localhost:{server.port}{prefix}/{name}" for name in names]
            seconds = self.tercel.get([*urls, "-o", out, "--parallel", str(parallel)])
            for name in names:
                same(name, ends.hash_of(pathlib.Path(out, name.rsplit("/", 1)[-1])), self.site.hashes[name])
            same("connections", server.connections(), 1)
        return f"{seconds:.1f} s"

    def ask(self, plan):
        with self.peer.serve(self.site) as server:
            results, _, note = self.tercel.asker.ask(server.port, self.site, plan, 4)
            return results, note

    def files(self):
        return self.fetch(self.site.sizes)

    def parallel(self):
        return self.fetch(self.site.small, parallel=50)

    def head(self):
        results, _ = self.ask(["HEAD /mib"])
        same("HEAD", results, [("200", "0", ends.EMPTY, "-")])

    def range(self):
        results, _ = self.ask([f"GET /mib {ends.SPAN}"])
        same("range", results, [("206", *self.site.span, "-")])

    def missing(self):
        with self.peer.serve(self.site) as server, tempfile.TemporaryDirectory(dir=self.site.work) as out:
            said = self.tercel.get_fails([f"https://localhost:{server.port}/missing", "-o", out])
            if "404" not in said and "no such file" not in said:
                raise Failed(f"it said: {said}")
            same("files left", list(pathlib.Path(out).iterdir()), [])

    def put(self):
        with self.peer.serve(self.site) as server:
            url = f"https://localhost:{server.port}/up/put"
            self.tercel.get([url, "--upload", str(self.site.root / "mib")])
            same("what came", server.uploads(), [("PUT", "/up/put", *self.site.is_of("mib"), "-")])

    def post(self):
        self.peer.needs("post")
        results, _ = self.ask([f"POST /up/echo - {self.site.root}/mib"])
        same("the echo", results, [("200", *self.site.is_of("mib"), "-")])

    def trailers(self):
        self.peer.needs("trailers")
        mib = self.site.is_of("mib")
        results, _ = self.ask([f"POST /up/echo - {self.site.root}/mib abc", "GET /trailers/mib"])
        same("trailers", results, [("200", *mib, "abc"), ("200", *mib, mib[1])])

    def goaway(self):
        self.peer.needs("goaway")
        return self.fetch(["mib"], prefix="/goaway")

    def grease(self):
        self.peer.needs("grease")
        self.fetch(["one"])
        return self.peer.grease

    def qpack(self):
        self.peer.needs("qpack")
        self.fetch(["one"])
        return "the peer offers one, which Tercel's encoder does without"

    def many(self):
        return self.fetch(self.site.many, parallel=100)


class PeerAsks:
    """A peer's client at `tercel serve`."""

    title = "serves"

    def __init__(self, peer, site, tercel):
        self.peer, self.site, self.tercel = peer, site, tercel

    def ask(self, plan, parallel=4, server=None):
        """Asks `tercel serve`, or another server that Tercel runs; over one connection."""
        with server or self.tercel.serve(self.site) as server:
            results, seconds, note = self.peer.ask(server.port, self.site, plan, parallel)
            same("connections", server.connections(), 1)
            return results, seconds, note

    def fetch(self, names, parallel):
        results, seconds, _ = self.ask([f"GET /{name}" for name in names], parallel)
        for name, result in zip(names, results, strict=True):
            same(name, result, ("200", *self.site.is_of(name), "-"))
        return f"{seconds:.1f} s"

    def files(self):
        return self.fetch(self.site.sizes, 1)

    def parallel(self):
        return self.fetch(self.site.small, 50)

    def head(self):
        results, _, _ = self.ask(["HEAD /mib"])
        same("HEAD", results, [("200", "0", ends.EMPTY, "-")])

    def range(self):
        results, _, _ = self.ask([f"GET /mib {ends.SPAN}"])
        same("range", results, [("206", *self.site.span, "-")])

    def missing(self):
        results, _, _ = self.ask(["GET /missing"])
        same("status", results[0][0], "404")

    def upload(self, trailer):
        target = self.site.uploads / "put"
        target.unlink(missing_ok=True)
        results, _, _ = self.ask([f"PUT /uploads/put - {self.site.root}/mib {trailer}"])
        same("status", results[0][0], "201")
        same("what came", ends.hash_of(target), self.site.hashes["mib"])

    def put(self):
        self.upload("-")

    def post(self):
        # The program takes none, and says so before it has the body; after that the connection must be of use.
        results, _, _ = self.ask([f"POST /mib - {self.site.root}/large", "GET /one"], 1)
        same("status", [result[0] for result in results], ["405", "200"])
        results, _, _ = self.ask([f"POST /up/echo - {self.site.root}/mib"], server=self.tercel.echo(self.site))
        same("the echo", results, [("200", *self.site.is_of("mib"), "-")])

    def trailers(self):
        self.peer.needs("trailers")
        self.upload("abc")
        plan = [f"POST /up/echo - {self.site.root}/mib abc"]
        results, _, _ = self.ask(plan, server=self.tercel.echo(self.site))
        same("trailers", results, [("200", *self.site.is_of("mib"), "abc")])

    def goaway(self):
        """The server is told to end when half of an upload is there."""
        for file in self.site.uploads.iterdir():
            file.unlink()
        with self.tercel.serve(self.site) as server:

            def end():
                # What the server has not heard of yet it would not serve.
                ends.until("an upload", lambda: any(self.site.uploads.iterdir()))
                server.end()

            plan = [f"PUT /uploads/half - half:{self.site.root}/mib"]
            results, _, _ = self.peer.ask(server.port, self.site, plan, 1, on_half=end)
            same("status", results[0][0], "201")
        same("what came", ends.hash_of(self.site.uploads / "half"), self.site.hashes["mib"])

    def grease(self):
        self.peer.needs("grease")
        self.fetch(["one"], 1)
        return self.peer.grease

    def qpack(self):
        self.peer.needs("qpack")
        _, _, note = self.ask(["GET /one"])
        return f"Tercel has none and says so ({note})"

    def many(self):
        return self.fetch(self.site.many, 100)


def run_case(side, case):
    try:
        if isinstance(side, PeerAsks):
            side.peer.needs("client")
        return "pass", getattr(side, case)() or ""
    except Unsupported as reason:
        return "not supported", str(reason)
    except (Failed, OSError) as failure:
        return "FAIL", str(failure)


def table(results):
    """The matrix in Markdown: cases down, peers and roles across; below it what a cell has no room for."""
    columns = list(results)
    lines = ["| case | " + " | ".join(f"{title} {peer}" for title, peer in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for case, text in CASES.items():
        cells = []
        for column in columns:
            verdict, note = results[column].get(case, ("", ""))
            time = f", {note}" if note.endswith(" s") else ""
            cells.append("-" if verdict == "not supported" else verdict + time)
        if any(cells):
            lines.append(f"| {text} | " + " | ".join(cells) + " |")
    lines.append("")
    for title, peer in columns:
        notes = {}
        for case, (_, note) in results[title, peer].items():
            if note and not note.endswith(" s"):
                notes.setdefault(note, []).append(case)
        if list(notes.values()) == [list(results[title, peer])]:
            lines.append(f"- {title} {peer}: {next(iter(notes))}.")
        elif notes:
            told = "; ".join(f"{', '.join(cases)}: {note}" for note, cases in notes.items())
            lines.append(f"- {title} {peer}: {told}.")
    return "\n".join(lines) + "\n"


def draw(tercel, qlogs, work):
    """`tercel trace` draws each qlog of the peers, and finds packets in it. How many there are, and what is wrong."""
    files = sorted([*qlogs.rglob("*.sqlog"), *qlogs.rglob("*.qlog")])
    page, wrong = work / "trace.html", []
    for file in files:
        done = subprocess.run([tercel, "trace", file, "--output", page], capture_output=True, text=True)
        if done.returncode:
            wrong.append(f"{file}: {done.stderr.strip()}")
        elif '"k":"s"' not in page.read_text():
            wrong.append(f"{file}: no packet is drawn")
    return len(files), wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tercel", required=True)
    parser.add_argument("--aioquic", help="a Python that has it")
    parser.add_argument("--caddy")
    parser.add_argument("--h3", help="the program of h3/")
    parser.add_argument("--quiche", help="the program of quiche/")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--case", choices=CASES, help="no other")
    parser.add_argument("--peer", help="no other")
    parser.add_argument("--qlog-of-peers", type=pathlib.Path, help="where the peers leave their qlog files")
    parser.add_argument("--results", type=pathlib.Path, help="where to write the matrix")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        site = ends.Site(pathlib.Path(work), arguments.fast)
        tercel = ends.Tercel(arguments.tercel, arguments.h3, site)
        peers = [peer for peer in ends.peers(arguments, tercel) if arguments.peer in (None, peer.name)]
        results, failed = {}, False
        for peer in peers:
            for side in (TercelAsks,) if isinstance(peer, ends.Itself) else (TercelAsks, PeerAsks):
                side = side(peer, site, tercel)
                for case in FAST if arguments.fast else CASES:
                    if arguments.case in (None, case):
                        if arguments.qlog_of_peers:
                            role = "server" if isinstance(side, TercelAsks) else "client"
                            site.keep_qlogs(arguments.qlog_of_peers / f"{peer.name}-{role}" / case)
                        verdict, note = run_case(side, case)
                        failed |= verdict == "FAIL"
                        results.setdefault((side.title, peer.name), {})[case] = verdict, note
                        print(f"Tercel {side.title:6} {peer.name:9} {case:9} {verdict:14} {note}", flush=True)
        if arguments.qlog_of_peers:
            count, wrong = draw(arguments.tercel, arguments.qlog_of_peers, site.work)
            print(f"tercel trace draws {count - len(wrong)} of {count} qlogs", *wrong, sep="\n")
            failed |= bool(wrong) or not count
        if arguments.results:
            versions = "; ".join(filter(None, (peer.version() for peer in peers)))
            arguments.results.write_text(ends.RESULTS.format(versions=versions, table=table(results)))
    sys.exit("FAILED" if failed else 0)


main()
