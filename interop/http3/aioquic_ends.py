"""aioquic as a client or a server of HTTP/3, by the contract that README.md tells.

It greases more than aioquic by itself: a reserved setting, a reserved stream, and reserved frames on the control
stream and on every request (RFC 9114 sections 6.2.3, 7.2.4.1 and 7.2.8)."""

import asyncio
import hashlib
import os
import signal
import sys
import time

import aioquic
from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN, FrameType, H3Connection, ProtocolError, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, StreamReset
from aioquic.quic.logger import QuicFileLogger

RESERVED = 0x21 + 0x1F * 1000


def tell(*words):
    print(*words, flush=True)


class Http3(H3Connection):
    """With grease, and an ear for GOAWAY."""

    def __init__(self, quic, on_goaway):
        self.on_goaway, self.heads = on_goaway, set()
        super().__init__(quic)

    def _init_connection(self):
        super()._init_connection()
        self._quic.send_stream_data(self._local_control_stream_id, encode_frame(RESERVED, b"grease"))
        stream = self._create_uni_stream(RESERVED)
        self._quic.send_stream_data(stream, b"grease", end_stream=True)

    def grease(self, stream):
        self._quic.send_stream_data(stream, encode_frame(RESERVED, b"grease"))

    def send_goaway(self, stream):
        self._quic.send_stream_data(
            self._local_control_stream_id, encode_frame(FrameType.GOAWAY, encode_uint_var(stream))
        )

    def _get_local_settings(self):
        return super()._get_local_settings() | {RESERVED: 7}

    def _check_content_length(self, stream):
        # aioquic 1.7.2 does not know that the answer to HEAD has none of what its content-length tells
        # (RFC 9114 section 4.1.2), and closes.
        if stream.stream_id not in self.heads:
            super()._check_content_length(stream)

    def _check_control_frame_type(self, frame_type):
        # aioquic passes over GOAWAY after this.
        super()._check_control_frame_type(frame_type)
        if frame_type == FrameType.GOAWAY:
            self.on_goaway()


class Message:
    """A request or a response as far as it has come."""

    def __init__(self):
        self.headers, self.trailers, self.hash, self.len = None, {}, hashlib.sha256(), 0
        self.body = []

    def take(self, event, keep):
        if isinstance(event, DataReceived):
            self.hash.update(event.data)
            self.len += len(event.data)
            if keep:
                self.body.append(event.data)
        elif self.headers is None:
            self.headers = {name.decode(): value.decode() for name, value in event.headers}
        else:
            self.trailers = {name.decode(): value.decode() for name, value in event.headers}

    def trailer(self):
        return self.trailers.get("x-trailer", "-")


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = None
        self.exchanges = {}
        self.goaway = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = Http3(self._quic, self.goaway.set)
        if isinstance(event, ConnectionTerminated):
            self.goaway.set()
            for _, done in self.exchanges.values():
                if not done.done():
                    done.set_exception(ConnectionError(f"closed with {event.error_code:#x} {event.reason_phrase}"))
        if isinstance(event, StreamReset) and event.stream_id in self.exchanges:
            done = self.exchanges[event.stream_id][1]
            if not done.done():
                done.set_exception(ConnectionError(f"reset with {event.error_code:#x}"))
        if self.http is None:
            return
        for event in self.http.handle_event(event):
            if isinstance(event, (HeadersReceived, DataReceived)) and event.stream_id in self.exchanges:
                message, done = self.exchanges[event.stream_id]
                message.take(event, keep=False)
                if event.stream_ended and not done.done():
                    done.set_result(None)

    async def exchange(self, port, method, path, span, file, trailer):
        stream = self._quic.get_next_available_stream_id()
        half, file = file.startswith("half:"), file.removeprefix("half:")
        body = b"" if file == "-" else open(file, "rb").read()
        headers = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", f"localhost:{port}".encode()),
            (b":path", path.encode()),
            (b"user-agent", b"aioquic"),
        ]
        if span != "-":
            headers.append((b"range", f"bytes={span}".encode()))
        if file != "-":
            headers.append((b"content-length", str(len(body)).encode()))
        message, done = self.exchanges[stream] = Message(), asyncio.get_running_loop().create_future()
        if method == "HEAD":
            self.http.heads.add(stream)
        self.http.grease(stream)
        self.http.send_headers(stream, headers, end_stream=file == "-")
        try:
            if half:
                self.http.send_data(stream, body[: len(body) // 2], end_stream=False)
                self.transmit()
                tell("half")
                await self.goaway.wait()
                body = body[len(body) // 2 :]
            if file != "-":
                try:
                    self.http.send_data(stream, body, end_stream=trailer == "-")
                    if trailer != "-":
                        self.http.send_headers(stream, [(b"x-trailer", trailer.encode())], end_stream=True)
                except (AssertionError, KeyError, RuntimeError, ProtocolError):
                    pass  # the server wants no more of it
            self.transmit()
            await done
            return message.headers[":status"], message.len, message.hash.hexdigest(), message.trailer()
        except ConnectionError as error:
            return "error", str(error)
        finally:
            del self.exchanges[stream]


def configuration(is_client):
    made = QuicConfiguration(is_client=is_client, alpn_protocols=H3_ALPN)
    if directory := os.environ.get("QLOGDIR"):
        made.quic_logger = QuicFileLogger(directory)
    return made


async def client(port, ca, plan, parallel):
    made = configuration(True)
    made.load_verify_locations(cafile=ca)
    made.server_name = "localhost"
    lines = [line.split() for line in open(plan)]
    results = [None] * len(lines)
    async with connect("127.0.0.1", int(port), configuration=made, create_protocol=Client) as connection:
        started = time.monotonic()
        waiting = iter(enumerate(lines))

        async def work():
            for at, line in waiting:
                results[at] = await connection.exchange(port, *line)

        await asyncio.gather(*(work() for _ in range(int(parallel))))
        seconds = time.monotonic() - started
        offered = connection.http.received_settings or {}
        note = f"table={offered.get(1, 0)} encoder-stream={connection.http._encoder_bytes_sent}"
    print("\n".join(" ".join(map(str, result)) for result in results))
    tell("done", f"{seconds:.3f}", note)


class Served(QuicConnectionProtocol):
    directory = "."

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = None
        self.requests = {}

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            tell("connection")
            self.http = Http3(self._quic, lambda: None)
        if self.http is None:
            return
        for event in self.http.handle_event(event):
            if isinstance(event, (HeadersReceived, DataReceived)):
                message = self.requests.setdefault(event.stream_id, Message())
                message.take(event, keep=True)
                if event.stream_ended:
                    self.answer(event.stream_id, self.requests.pop(event.stream_id))
                    self.transmit()

    def answer(self, stream, message):
        method, path = message.headers[":method"], message.headers[":path"]
        tell("request", method, path, message.len, message.hash.hexdigest(), message.trailer())
        if method in ("PUT", "POST"):
            body = b"" if method == "PUT" else b"".join(message.body)
            return self.send(stream, "201" if method == "PUT" else "200", body, {}, trailers=message.trailers)
        goaway = path.startswith("/goaway/")
        trailer = path.startswith("/trailers/")
        file = os.path.join(self.directory, path.removeprefix("/goaway").removeprefix("/trailers").lstrip("/"))
        if not os.path.isfile(file):
            return self.send(stream, "404", b"not found\n", {})
        body, status, more = open(file, "rb").read(), "200", {}
        if span := message.headers.get("range"):
            first, last = map(int, span.removeprefix("bytes=").split("-"))
            more["content-range"] = f"bytes {first}-{last}/{len(body)}"
            body, status = body[first : last + 1], "206"
        if goaway:
            self.http.send_goaway(stream + 4)
        trailers = {"x-trailer": hashlib.sha256(body).hexdigest()} if trailer else {}
        self.send(stream, status, body, more, method == "HEAD", trailers)

    def send(self, stream, status, body, more, is_head=False, trailers=None):
        self.http.grease(stream)
        headers = {":status": status, "server": "aioquic", "content-length": str(len(body))} | more
        as_bytes = lambda fields: [(name.encode(), value.encode()) for name, value in fields.items()]
        self.http.send_headers(stream, as_bytes(headers), end_stream=is_head)
        if not is_head:
            self.http.send_data(stream, body, end_stream=not trailers)
            if trailers:
                self.http.send_headers(stream, as_bytes(trailers), end_stream=True)


async def server(directory, certificate, key):
    made = configuration(False)
    made.load_cert_chain(certificate, key)
    Served.directory = directory
    running = await serve("127.0.0.1", 0, configuration=made, create_protocol=Served)
    tell("listening", running._transport.get_extra_info("sockname")[1])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    if logger := made.quic_logger:
        # aioquic writes the log of a connection after it has drained.
        for trace in list(logger._traces):
            logger.end_trace(trace)


async def version():
    tell(aioquic.__version__)


asyncio.run({"client": client, "server": server, "version": version}[sys.argv[1]](*sys.argv[2:]))
