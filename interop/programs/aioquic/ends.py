"""aioquic as a client and as a server of interop cases, called as tercel-interop-end documents."""

import argparse
import asyncio
import os
import socket
import sys

import aioquic
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import DatagramFrameReceived, HandshakeCompleted, ProtocolNegotiated, StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

DATAGRAMS = 50
RESERVED_VERSION = 0x1A2A3A4A

LACKS = {
    "addressdiscovery": "it does not tell of observed addresses",
    "reliablereset": "it has no RESET_STREAM_AT",
    "timestamps": "it does not measure the delay of one way",
    "grease": "it leaves the QUIC bit alone",
    "ackfrequency": "it does not know this extension",
    "ecn": "it has no ECN",
    "reset": "it neither sends stateless resets nor looks for them",
}
SERVER_LACKS = {
    "clientcert": "its server asks for no certificate",
    "connectionmigration": "its server has no preferred address",
}


def tell(line):
    print(line, flush=True)


def configuration(arguments):
    client = arguments.role == "client"
    made = QuicConfiguration(is_client=client, alpn_protocols=["h3" if arguments.case == "http3" else "hq-interop"])
    if not client or arguments.case in ("clientcert", "verdict"):
        made.load_cert_chain(arguments.cert, arguments.key)
    if client:
        made.load_verify_locations(arguments.ca)
        made.server_name = "localhost"
    made.secrets_log_file = open(os.environ["SSLKEYLOGFILE"], "a", encoding="utf-8") if "SSLKEYLOGFILE" in os.environ else None
    if arguments.case == "chacha20" and client:
        made.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
    if arguments.case == "datagrams":
        made.max_datagram_frame_size = 65536
    made.supported_versions = [QuicProtocolVersion.VERSION_1]
    if arguments.case == "v2":
        made.supported_versions = [QuicProtocolVersion.VERSION_2, QuicProtocolVersion.VERSION_1]
        made.original_version = QuicProtocolVersion.VERSION_1 if client else None
    if arguments.case == "v2first":
        made.supported_versions = [QuicProtocolVersion.VERSION_2]
    if arguments.case == "versionnegotiation" and client:
        made.original_version = RESERVED_VERSION
        made.supported_versions = [RESERVED_VERSION, QuicProtocolVersion.VERSION_1]
    return made


class Server(QuicConnectionProtocol):
    arguments = None

    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        self.requests, self.http = {}, None

    def file(self, path):
        with open(f"{self.arguments.www}/{os.path.basename(path)}", "rb") as opened:
            return opened.read()

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            if event.alpn_protocol == "h3":
                self.http = H3Connection(self._quic)
            if self.arguments.case == "halfrtt":
                stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
                self._quic.send_stream_data(stream, b"before you have finished", end_stream=True)
        if self.http is not None:
            for happened in self.http.handle_event(event):
                if isinstance(happened, HeadersReceived):
                    path = dict(happened.headers)[b":path"].decode()
                    self.http.send_headers(happened.stream_id, [(b":status", b"200")])
                    self.http.send_data(happened.stream_id, self.file(path), end_stream=True)
            return
        if isinstance(event, StreamDataReceived):
            request = self.requests.pop(event.stream_id, b"") + event.data
            if not event.end_stream:
                self.requests[event.stream_id] = request
            elif request.startswith(b"GET /"):
                self._quic.send_stream_data(event.stream_id, self.file(request[5:].strip().decode()), end_stream=True)
        if isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(event.data)


async def server(arguments):
    Server.arguments, tickets = arguments, {}
    host, port = arguments.listen.rsplit(":", 1)
    await serve(
        host.strip("[]"), int(port), configuration=configuration(arguments), create_protocol=Server,
        retry=arguments.case == "retry",
        session_ticket_fetcher=lambda label: tickets.get(label),
        session_ticket_handler=lambda ticket: tickets.update({ticket.ticket: ticket}),
    )
    tell("ready")
    await asyncio.Event().wait()


class Client(QuicConnectionProtocol):
    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        self.answers, self.whole, self.http, self.datagrams = {}, {}, None, asyncio.Queue()

    def answer(self, stream, data, end):
        self.answers.setdefault(stream, bytearray()).extend(data)
        if end and not self.whole[stream].done():
            self.whole[stream].set_result(bytes(self.answers.pop(stream)))

    def ask(self, path):
        stream = self._quic.get_next_available_stream_id()
        self.whole[stream] = self._loop.create_future()
        if self.http is not None:
            headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/" + path.encode())]
            self.http.send_headers(stream, headers, end_stream=True)
        else:
            self._quic.send_stream_data(stream, f"GET /{path}\r\n".encode(), end_stream=True)
        return self.whole[stream]

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            tell(f"handshake complete, resumed {event.session_resumed}, early data {event.early_data_accepted}")
        if isinstance(event, DatagramFrameReceived):
            self.datagrams.put_nowait(event.data)
        if self.http is not None:
            for happened in self.http.handle_event(event):
                if isinstance(happened, DataReceived):
                    self.answer(happened.stream_id, happened.data, happened.stream_ended)
        elif isinstance(event, StreamDataReceived) and event.stream_id in self.whole:
            self.answer(event.stream_id, event.data, event.end_stream)


async def open_socket(address, protocol):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    return await asyncio.get_running_loop().create_datagram_endpoint(lambda: protocol, sock=opened)


async def one(arguments, paths, last, tickets):
    host, port = arguments.connect.rsplit(":", 1)
    address = (host.strip("[]"), int(port), *((0, 0) if ":" in host else ()))  # As the socket will call it.
    made = configuration(arguments)
    if arguments.case in ("resumption", "zerortt"):
        made.session_ticket = tickets[-1] if tickets else None
    quic = QuicConnection(configuration=made, session_ticket_handler=tickets.append)
    client = Client(quic)
    transport, _ = await open_socket(address, client)
    client.connect(address)
    if arguments.case == "zerortt" and last:
        waiting = [client.ask(path) for path in paths]
        client.transmit()
        await client.wait_connected()
    else:
        await client.wait_connected()
        if arguments.case == "http3":
            client.http = H3Connection(quic)
        if arguments.case == "keyupdate":
            await client.ping()
            client.request_key_update()
        if arguments.case == "datagrams":
            await datagrams(client)
        waiting = [client.ask(path) for path in paths]
        client.transmit()
    if arguments.case == "migration":
        asyncio.get_running_loop().call_later(0.5, lambda: asyncio.ensure_future(move(client, address)))
    for path, answer in zip(paths, waiting):
        closed = asyncio.ensure_future(client.wait_closed())
        await asyncio.wait([answer, closed], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            tell(f"failed: closed, {quic._close_event}")
            sys.exit(1)
        closed.cancel()
        with open(f"{arguments.out}/{path}", "wb") as out:
            out.write(answer.result())
    if not last:
        await asyncio.sleep(0.1)  # For tickets.
    client.close()
    await asyncio.sleep(0.05)
    transport.close()


async def move(client, address):
    await open_socket(address, client)  # From here on it sends from the new one.
    client.change_connection_id()
    await client.ping()


async def datagrams(client):
    back = 0
    for number in range(DATAGRAMS):
        data = bytes([number]) * (100 + number * 20)
        client._quic.send_datagram_frame(data)
        client.transmit()
        try:
            back += await asyncio.wait_for(client.datagrams.get(), 0.5) == data
        except TimeoutError:
            pass
    tell(f"datagrams back: {back}")
    if back != DATAGRAMS:
        sys.exit(1)


async def client(arguments):
    paths, tickets = arguments.paths, []
    if arguments.case in ("handshakeloss", "handshakecorruption"):
        parts = [[path] for path in paths]
    elif arguments.case in ("resumption", "zerortt"):
        parts = [paths[:1], paths[1:]]
    else:
        parts = [paths]
    for number, part in enumerate(parts):
        await one(arguments, part, number + 1 == len(parts), tickets)


def main():
    if sys.argv[1] == "version":
        return tell(f"aioquic {aioquic.__version__}")
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["client", "server"])
    parser.add_argument("case")
    for option in ("listen", "connect", "www", "out", "cert", "key", "ca", "preferred"):
        parser.add_argument("--" + option)
    parser.add_argument("paths", nargs="*")
    arguments = parser.parse_intermixed_args()
    why = LACKS.get(arguments.case) or arguments.role == "server" and SERVER_LACKS.get(arguments.case)
    if why:
        tell("unsupported: " + why)
        sys.exit(127)
    try:
        asyncio.run({"client": client, "server": server}[arguments.role](arguments))
    except ConnectionError as error:
        tell(f"failed: {error!r}")
        sys.exit(1)


main()
