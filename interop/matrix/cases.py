"""The cases: those of the QUIC interop runner, with its networks and its checks, and some of our own."""

import os
from dataclasses import dataclass, field

import checks

KB, MB = 1 << 10, 1 << 20


@dataclass
class Case:
    name: str
    shows: str
    check: callable
    files: list  # sizes
    link: list = field(default_factory=list)
    seconds: int = 30  # for the client
    fast: dict = field(default_factory=dict)  # what is different where time is short
    name_length: int = 10
    ipv6: bool = False
    large_certificate: bool = False
    preferred: bool = False  # the server has a preferred address
    restart: float = 0  # the server is started again so long after the client
    fails: bool = False  # the client is meant to fail
    needs: str = ""  # "client" or "server": only as such does a peer show something of its own

    def quickly(self):
        """As it runs where time is short."""
        return Case(**{**self.__dict__, **self.fast})


LOSS = ["--burst", "3"]

CASES = [
    Case("handshake", "a handshake, and a file", checks.handshake, [KB]),
    Case("transfer", "three files at once, 10 MB", checks.one_handshake, [2 * MB, 3 * MB, 5 * MB], seconds=60,
         fast={"files": [500 * KB, MB]}),
    Case("longrtt", "a round trip of 1.5 s", checks.long_rtt, [KB], ["--delay", "750"], 60),
    Case("chacha20", "ChaCha20-Poly1305, the only suite offered", checks.chacha20, [3 * MB], fast={"files": [500 * KB]}),
    Case("multiplexing", "1,999 files, no more than 1,000 streams at once", checks.multiplexing, [32] * 1999,
         seconds=60),
    Case("retry", "a Retry, and its token", checks.retry, [KB]),
    Case("resumption", "the second connection goes on with the session of the first", checks.resumption,
         [5 * KB, 5 * KB]),
    Case("zerortt", "requests in 0-RTT packets", checks.zero_rtt, [32] * 40, name_length=250),
    Case("http3", "HTTP/3", checks.one_handshake, [5 * KB, 10 * KB, 500 * KB]),
    Case("blackhole", "nothing passes for 2 s after 5 s", checks.one_handshake, [10 * MB],
         ["--blackhole", "5000,2000"], 60, fast={"files": [7 * MB]}),
    Case("keyupdate", "a key update, followed by the other end", checks.key_update, [3 * MB], fast={"files": [500 * KB]}),
    Case("ecn", "packets are marked, and marks are told of", checks.ecn, [500 * KB],
         ["--congested", "50"]),
    Case("amplificationlimit", "a large certificate and a client that is not heard", checks.amplification, [5 * KB],
         ["--silence", "6"], 60, large_certificate=True),
    Case("handshakeloss", "50 connections, 30 % lost", checks.many_handshakes, [KB] * 50, [*LOSS, "--loss", "30"], 300,
         fast={"files": [KB] * 10, "seconds": 100}),
    Case("transferloss", "2 MB, 2 % lost", checks.one_handshake, [2 * MB], [*LOSS, "--loss", "2"], 60,
         fast={"files": [500 * KB]}),
    Case("handshakecorruption", "50 connections, 30 % corrupted", checks.many_handshakes, [KB] * 50,
         [*LOSS, "--corruption", "30"], 300, fast={"files": [KB] * 10, "seconds": 100}),
    Case("transfercorruption", "2 MB, 2 % corrupted", checks.one_handshake, [2 * MB], [*LOSS, "--corruption", "2"], 60,
         fast={"files": [500 * KB]}),
    Case("ipv6", "over IPv6", checks.one_handshake, [5 * KB, 10 * KB], ipv6=True),
    Case("v2", "begun with version 1, continued with version 2", checks.version_2, [KB]),
    Case("v2first", "version 2 from the beginning", checks.version_2_first, [KB]),
    Case("rebind-port", "a NAT that changes the client's port", checks.rebinding, [10 * MB],
         ["--rebind-port", "1000,5000"], 60, fast={"files": [3 * MB]}),
    Case("rebind-addr", "a NAT that changes the client's address", checks.rebinding, [10 * MB],
         ["--rebind-address", "1000,5000"], 60, fast={"files": [3 * MB]}),
    Case("connectionmigration", "the client moves to the server's preferred address", checks.preferred_address,
         [2 * MB], preferred=True, fast={"files": [500 * KB]}),
    Case("goodput", "8 MB as fast as 10 Mbit/s permit", checks.goodput, [8 * MB], seconds=60, fast={"files": [MB]}),
    Case("crosstraffic", "8 MB beside another flow", checks.goodput, [8 * MB], ["--cross-traffic", "yes"], 90,
         fast={"files": [MB]}),
    # Our own.
    Case("datagrams", "50 datagrams and back", checks.datagrams, [KB]),
    Case("reset", "a server that has lost its memory resets, and the client ends", checks.stateless_reset, [10 * MB],
         restart=1.0, fails=True, seconds=20),
    Case("versionnegotiation", "a version that the server does not speak, and one that it does", checks.version_negotiation, [KB]),
    Case("clientcert", "the client shows a certificate", checks.client_certificate, [KB]),
    Case("verdict", "the certificate is judged 300 ms later", checks.verdict, [KB]),
    Case("earlyclose", "Tercel closes before the handshake is complete", checks.early_close, [KB], fails=True,
         seconds=15),
    # Before the next update three probe timeouts pass (RFC 9001 section 6.5). A client that only receives takes these from
    # its first round trips: if its server is late with its first answer by half a second, that is more than five seconds.
    Case("keyupdatestorm", "key updates as often as the protocol permits", checks.key_update_storm, [10 * MB]),
    Case("streams", "1,000 streams, all asked before any is answered", checks.thousand_streams, [KB] * 1000, seconds=60),
    Case("halfrtt", "the server sends before the client has finished", checks.half_rtt, [KB]),
    Case("ackfrequency", "an end asks to be acknowledged less often", checks.ack_frequency, [2 * MB], fast={"files": [MB]}),
    Case("reliablereset", "a stream is reset, and its beginning delivered all the same", checks.reliable_reset, [100 * KB]),
    Case("timestamps", "the delay of each way is measured", checks.timestamps, [100 * KB]),
    Case("addressdiscovery", "each end tells the other where it sees it", checks.address_discovery, [KB]),
    Case("grease", "the QUIC bit is random", checks.grease, [500 * KB]),
    Case("migration", "the client moves to another socket", checks.migration, [2 * MB], fast={"files": [MB]}),
]

BY_NAME = {case.name: case for case in CASES}


def names(case):
    """What its files are called: only letters, and as long as the case wants."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number in range(len(case.files)):
        tail = ""
        while number or not tail:
            number, digit = divmod(number, len(letters))
            tail = letters[digit] + tail
        yield tail.rjust(4, "a").rjust(case.name_length, "x")


def write_files(case, directory):
    os.makedirs(directory, exist_ok=True)
    for name, size in zip(names(case), case.files):
        with open(f"{directory}/{name}", "wb") as out:
            out.write(os.urandom(size))
