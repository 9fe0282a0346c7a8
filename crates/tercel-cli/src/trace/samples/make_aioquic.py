"""Makes aioquic.qlog: `pip install aioquic && python make_aioquic.py > aioquic.qlog`.

A client and a server in one process hand each other their datagrams; every seventh of the server's is
lost.
"""

import datetime
import json
import sys

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.logger import QuicLogger
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
born = datetime.datetime(2026, 1, 1)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(born).not_valid_after(born + datetime.timedelta(days=3650))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    .sign(key, hashes.SHA256())
)
log = QuicLogger()
client = QuicConnection(configuration=QuicConfiguration(
    is_client=True, alpn_protocols=["hq-interop"], verify_mode=0, quic_logger=log, server_name="localhost"))
server = QuicConnection(
    configuration=QuicConfiguration(is_client=False, alpn_protocols=["hq-interop"], certificate=certificate, private_key=key),
    original_destination_connection_id=client.original_destination_connection_id)
now, count = 1000.0, 0
client.connect(("192.0.2.1", 443), now=now)
for round in range(60):
    if round == 4:
        client.send_stream_data(0, b"GET /\r\n", end_stream=True)
    if round == 7:
        server.send_stream_data(0, bytes(60000), end_stream=True)
    if round == 40:
        client.close(error_code=0, reason_phrase="done")
    for sender, receiver, lossy in [(client, server, False), (server, client, True)]:
        datagrams = sender.datagrams_to_send(now=now)
        now += 0.01
        for data, _ in datagrams:
            count += lossy
            if not (lossy and count > 8 and count % 7 == 0):
                receiver.receive_datagram(data, ("192.0.2.1", 443), now=now)
        for end in (client, server):
            while end.next_event():
                pass
            timer = end.get_timer()
            if timer is not None and timer <= now:
                end.handle_timer(now=now)
json.dump(log.to_dict(), sys.stdout, separators=(",", ":"))
