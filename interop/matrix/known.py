"""What fails by a peer's fault: (peer, the peer's role, case) and how that was established."""

KNOWN = {
    ("msquic", "client", "migration"): (
        "MsQuic 2.5.1 ends its own process when its local address is set (QUIC_PARAM_CONN_LOCAL_ADDRESS): a debugger "
        "shows quic_bugcheck called by SocketSend, before anything has left the new socket"),
    ("msquic", "server", "reliablereset"): (
        "MsQuic 2.5.1 says that the stream's final size is what it has sent so far (MaxSentLength in QuicStreamSendWrite), even if "
        "that is less than the reliable size; draft-ietf-quic-reliable-stream-reset section 4 has this be a FRAME_ENCODING_ERROR"),
    ("s2n-quic", "server", "versionnegotiation"): (
        "s2n-quic 1.91 reads the type of a packet whose version it does not know as one of version 1 "
        "(Negotiator::on_packet), and takes an Initial packet of version 2 for 0-RTT, which it does not answer"),
    ("s2n-quic", "server", "reset"): (
        "s2n-quic 1.91 answers no packet of less than 43 bytes with a stateless reset (MIN_INDISTINGUISHABLE_PACKET_LEN), where "
        "RFC 9000 section 10.3 has it send one that is a byte shorter: a client that only keeps alive hears nothing; seen when "
        "the machine was so slow that little had been transferred before the restart"),
    ("s2n-quic", "client", "earlyclose"): (
        "s2n-quic 1.91 drops long-header packets whose Source Connection ID is not the one that it uses at the time "
        "(Path::on_datagram_received): if it has moved on to one of NEW_CONNECTION_ID, which came with the server's flight, "
        "it never hears CONNECTION_CLOSE in Initial and Handshake packets; the trace shows RETIRE_CONNECTION_ID before that"),
}
