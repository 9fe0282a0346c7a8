"""Tercel against its peers, case by case. See ../README.md."""

import argparse
import concurrent.futures
import os
import statistics
import subprocess
import sys
import tempfile
import time

import cases
import cell
import peers
import report


def certificates(place):
    """An authority, and certificates for localhost of two sizes with one key."""
    def openssl(*words, **more):
        subprocess.run(["openssl", *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=place, **more)

    for name in ("ca.key", "key.pem"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", name)
    openssl("req", "-x509", "-new", "-key", "ca.key", "-sha256", "-days", "30", "-subj", "/CN=interop authority",
            "-out", "ca.pem")
    openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=localhost", "-out", "request.pem")
    # Enough names that three times what a client sends at first is not enough for the certificate.
    padding = "".join(f",DNS:{number:03}.a-rather-long-name-to-make-the-certificate-large.example" for number in range(120))
    for name, names in (("cert.pem", ""), ("large.pem", padding)):
        with open(f"{place}/extensions", "w", encoding="utf-8") as out:
            out.write(f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1{names}\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-sha256", "-extfile", "extensions", "-out", name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tercel", required=True)
    parser.add_argument("--cli", required=True, help="the program tercel")
    parser.add_argument("--link", required=True)
    parser.add_argument("--caddy")
    parser.add_argument("--program", action="append", default=[], metavar="NAME=PROGRAM")
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--case", action="append", default=[])
    parser.add_argument("--role", choices=["client", "server"], action="append", default=[])
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--keep", metavar="DIRECTORY", help="where traces and logs stay")
    parser.add_argument("--results", metavar="FILE")
    arguments = parser.parse_args()

    tercel = peers.End("tercel", [arguments.tercel], arguments.link, is_tercel=True, cli=arguments.cli)
    ends = []
    for word in arguments.program:
        name, program = word.split("=", 1)
        if not arguments.peer or name in arguments.peer:
            ends.append(peers.End(name, program.split(" "), arguments.link))
    if arguments.caddy and (not arguments.peer or "caddy" in arguments.peer):
        ends.append(peers.Caddy("caddy", [arguments.caddy], arguments.link))
    wanted = [case for case in cases.CASES if not arguments.case or case.name in arguments.case]
    if arguments.fast:
        wanted = [case.quickly() for case in wanted]
    place = arguments.keep or tempfile.mkdtemp(prefix="interop-")
    os.makedirs(place, exist_ok=True)
    place = os.path.realpath(place)
    if arguments.keep:
        os.environ["INTEROP_KEEP"] = "yes"
    certificates(place)

    cells = [(end, role, case) for case in wanted for end in ends for role in arguments.role or ["server", "client"]]
    # The longest first, so that none is left over at the end.
    cells.sort(key=lambda one: -one[2].seconds)
    results, started = [], time.monotonic()
    load = [os.getloadavg()[0]]
    # Processes, and no threads: one that reads a large trace holds up the others for seconds, and some cases have a
    # clock in them. Ports are below those that the kernel gives away.
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs) as pool:
        running = [pool.submit(cell.run, place, tercel, *what, 12000 + number * 4) for number, what in enumerate(cells)]
        for future in concurrent.futures.as_completed(running):
            result = future.result()
            results.append(result)
            print(f"{result.outcome:5} {result.peer} as {result.role}: {result.case} ({result.seconds:.1f} s) {result.note}",
                  flush=True)
            load.append(os.getloadavg()[0])
    circumstances = (f"{arguments.jobs} cells at a time, on a machine of {os.cpu_count()} processors whose load was {load[0]:.0f} "
                     f"when it began and {statistics.median(load):.0f} in the middle")
    text = report.table(results, wanted, ends, circumstances)
    print(text)
    print(f"{time.monotonic() - started:.0f} s; what failed is in {place}")
    if arguments.results:
        with open(arguments.results, "w", encoding="utf-8") as out:
            out.write(text)
    sys.exit(any(result.outcome == cell.FAIL for result in results))


if __name__ == "__main__":
    main()
