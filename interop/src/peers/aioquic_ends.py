"""aioquic as a client or a server. What happens is told in lines on standard output.

client CERTIFICATE KEY: connects to each port that comes on standard input, one at a time.
server CERTIFICATE KEY: says its port first."""

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration

QUESTION = b"are you there?"


def tell(*words):
    print(*words, flush=True)


class Ends(QuicConnectionProtocol):
    """Tells of the end when it is heard; the event ConnectionTerminated comes only after draining."""

    ended = False

    def datagram_received(self, data, address):
        super().datagram_received(data, address)
        end = self._quic._close_event
        if end is not None and not self.ended:
            self.ended = True
            tell("end", "application" if end.frame_type is None else "transport", end.error_code)


def configuration(is_client, certificate, key):
    made = QuicConfiguration(is_client=is_client, alpn_protocols=["interop"])
    made.load_cert_chain(certificate, key)
    return made


async def client(certificate, key):
    tickets = []
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        made = configuration(True, certificate, key)
        made.verify_mode = ssl.CERT_NONE
        made.server_name = "localhost"
        made.session_ticket = tickets.pop() if tickets else None
        early = made.session_ticket is not None and made.session_ticket.max_early_data_size is not None
        async with connect(
            "127.0.0.1",
            int(line),
            configuration=made,
            create_protocol=Ends,
            session_ticket_handler=tickets.append,
            wait_connected=False,
        ) as connection:
            try:
                if not early:
                    connection.transmit()
                    await connection.wait_connected()
                reader, writer = await connection.create_stream()
                writer.write(QUESTION)
                writer.write_eof()
                if (answer := await reader.read()) and not connection.ended:
                    tell("answer", answer.hex())
            except ConnectionError:
                pass
            await connection.wait_closed()


async def server(certificate, key):
    async def answer(reader, writer):
        writer.write(await reader.read())
        writer.write_eof()

    tickets = {}
    running = await serve(
        "127.0.0.1",
        0,
        configuration=configuration(False, certificate, key),
        create_protocol=Ends,
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
        session_ticket_handler=lambda ticket: tickets.update({ticket.ticket: ticket}),
        stream_handler=lambda reader, writer: asyncio.ensure_future(answer(reader, writer)),
    )
    tell(running._transport.get_extra_info("sockname")[1])
    await asyncio.Event().wait()


asyncio.run({"client": client, "server": server}[sys.argv[1]](*sys.argv[2:]))
