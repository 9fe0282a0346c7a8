"""What went over the link, as tshark decrypts it: packets with their frames and TLS messages."""

import json
import struct
import subprocess
from dataclasses import dataclass, field

INITIAL, ZERO_RTT, HANDSHAKE, RETRY, ONE_RTT, NEGOTIATION = "Initial", "0-RTT", "Handshake", "Retry", "1-RTT", "VN"
CLIENT, SERVER = "client", "server"

V1, V2 = 1, 0x6B3343CF
_KINDS = {V1: [INITIAL, ZERO_RTT, HANDSHAKE, RETRY], V2: [RETRY, INITIAL, ZERO_RTT, HANDSHAKE]}

HELLO, SERVER_HELLO, TICKET, CERTIFICATE, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, FINISHED = 1, 2, 4, 11, 13, 15, 20

ACK, ACK_ECN, CRYPTO, NEW_TOKEN = 0x02, 0x03, 0x06, 0x07
NEW_CONNECTION_ID, PATH_CHALLENGE, PATH_RESPONSE = 0x18, 0x1A, 0x1B
CLOSE, APPLICATION_CLOSE, DONE = 0x1C, 0x1D, 0x1E
ACK_FREQUENCY = 0xAF
RESET_STREAM_AT = (0x24, 0x21)  # The second as MsQuic has it.
TIMESTAMP = 0x2F5
OBSERVED_ADDRESS = (0x9F81A6, 0x9F81A7)

HANDSHAKE_ONLY = "quic.header_form == 1"


class Node(list):
    """An object of JSON with all its pairs: tshark repeats names."""

    def get(self, name):
        return next((value for key, value in self if key == name), None)

    def every(self, name):
        """All values of this name, however deep."""
        for key, value in self:
            if key == name:
                yield value
            if isinstance(value, Node):
                yield from value.every(name)
            elif isinstance(value, list):
                for one in value:
                    if isinstance(one, Node):
                        yield from one.every(name)

    def number(self, name):
        value = self.get(name)
        return None if value is None else int(value, 0)


@dataclass
class Frame:
    type: int
    node: Node

    @property
    def is_stream(self):
        return 0x08 <= self.type <= 0x0F

    @property
    def is_datagram(self):
        return self.type in (0x30, 0x31)

    @property
    def data_length(self):
        """Of a STREAM frame."""
        data = next(self.node.every("quic.stream_data"), None)
        return len(data.split(":")) if data else 0

    @property
    def stream(self):
        return next((int(value, 0) for value in self.node.every("quic.stream.stream_id")), None)

    @property
    def error(self):
        """The code of a CONNECTION_CLOSE."""
        for name in ("quic.cc.error_code", "quic.cc.error_code.app"):
            for value in self.node.every(name):
                return int(value, 0)
        return None


@dataclass
class Packet:
    time: float
    sender: str
    front: int
    path: int
    ecn: int
    datagram: int  # its number
    size: int  # of the UDP payload that it came in
    connection: int
    kind: str
    version: int
    key_phase: int | None
    token_length: int
    dcid: str
    fixed_bit: bool
    frames: list = field(default_factory=list)
    node: Node = None

    def has(self, *types):
        return any(frame.type in types for frame in self.frames)

    @property
    def messages(self):
        """The types of the TLS messages that it completes."""
        return [int(value) for value in self.node.every("tls.handshake.type")]

    def suites(self):
        return [int(value, 16) for value in self.node.every("tls.handshake.ciphersuite")]

    def parameter(self, name):
        """A transport parameter of the message in it."""
        return next((int(value, 0) for value in self.node.every("tls.quic.parameter." + name)), None)


def _packet(layers, quic, datagram, connection):
    ip = layers.get("ip")
    identification = int(ip.get("ip.id"), 0)
    version = quic.number("quic.version") or 0
    if quic.get("quic.header_form") in ("0", None):
        short = quic.get("quic.short") or quic
        kind, phase = ONE_RTT, short.number("quic.key_phase") if isinstance(short, Node) else None
        phase = phase if phase is not None else next((int(p, 0) for p in quic.every("quic.key_phase")), None)
    else:
        phase = None
        number = next((int(value, 0) for name in ("quic.long.packet_type", "quic.long.packet_type_v2")
                       for value in quic.every(name)), None)
        kinds = _KINDS.get(version, _KINDS[V1])
        kind = NEGOTIATION if version == 0 or number is None else kinds[number]
    frames = [Frame(int(frame.get("quic.frame_type"), 0), frame) for frame in quic.every("quic.frame")
              if isinstance(frame, Node) and frame.get("quic.frame_type") is not None]
    return Packet(
        time=float(layers.get("frame").get("frame.time_relative")),
        sender=CLIENT if ip.get("ip.src") == "10.0.1.1" else SERVER,
        front=identification >> 8, path=identification & 0xFF,
        ecn=int(next(ip.every("ip.dsfield.ecn"), "0"), 0),
        datagram=datagram, size=int(ip.get("ip.len")) - 28,
        connection=connection,
        kind=kind, version=version, key_phase=phase,
        token_length=quic.number("quic.token_length") or 0,
        dcid=next(quic.every("quic.dcid"), ""),
        fixed_bit=next(quic.every("quic.fixed_bit"), "1") in ("1", "True"), frames=frames, node=quic)


def _without_later_retries(path):
    """A copy of a trace without the Retry packets that a client must discard (RFC 9000 section 17.2.5.2): if a ClientHello
    takes two datagrams, the second may be answered by a Retry of its own after the client has followed the first, and
    tshark takes its keys from the last."""
    result, seen = path + ".once", set()
    with open(path, "rb") as trace, open(result, "wb") as out:
        out.write(trace.read(24))
        while header := trace.read(16):
            record = trace.read(struct.unpack("<I", header[8:12])[0])
            packet = record[28:]
            is_retry = packet[:1] >= b"\xf0" and packet[1:5] == V1.to_bytes(4, "big")
            destination = packet[6:6 + packet[5]] if is_retry else None
            if destination not in seen:
                out.write(header + record)
            if is_retry:
                seen.add(destination)
    return result


class Trace:
    def __init__(self, directory):
        self.directory = directory
        self.read = {}

    def packets(self, side, only="quic"):
        """What this side sent and received; `only` is a filter of tshark's."""
        if (side, only) not in self.read:
            trace = _without_later_retries(f"{self.directory}/{side}.pcap")
            # The client's port may be one by which tshark knows another protocol.
            command = ["tshark", "-r", trace, "-d", "udp.port==443,quic", "-o", f"tls.keylog_file:{self.directory}/keys",
                       "-Y", only, "-T", "json", "-J", "frame ip quic"]
            output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
            packets = []
            for number, item in enumerate(json.loads(output or b"[]", object_pairs_hook=Node)):
                layers = item.get("_source").get("layers")
                # It is told once for a datagram.
                connection = next((int(n) for n in layers.every("quic.connection.number")), -1)
                for name, quic in layers:
                    for one in quic if name == "quic" and not isinstance(quic, Node) else [quic]:
                        if name == "quic" and isinstance(one, Node):
                            packets.append(_packet(layers, one, number, connection))
            self.read[side, only] = packets
        return self.read[side, only]

    def handshake(self, side=CLIENT):
        """The datagrams with long headers."""
        return self.packets(side, HANDSHAKE_ONLY)
