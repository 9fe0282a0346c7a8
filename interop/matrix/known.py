"""What fails by a peer's fault: (peer, the peer's role, case) and how that was established."""

from trace import CLIENT, PATH_CHALLENGE, SERVER


def fault(peer, role, case, run):
    """Why it is the peer's fault that a cell fails, as far as is known."""
    shows, why = SHOWN.get((peer, role, case), (None, None))
    return why if shows and shows(run) else KNOWN.get((peer, role, case))


def challenges_lost(run):
    """There is a path, and not the first, of which none of the server's challenges arrived."""
    def paths(side):
        return {packet.path for packet in run.trace.packets(side) if packet.sender == SERVER and packet.has(PATH_CHALLENGE)}

    first = min((packet.path for packet in run.trace.packets(SERVER)), default=0)
    return bool(paths(SERVER) - paths(CLIENT) - {first})


# What happens by chance, so that the trace must show it.
SHOWN = {
    ("msquic", "server", case): (
        challenges_lost,
        "MsQuic 2.5.1 does not repeat a PATH_CHALLENGE that was lost: it looks up the path by a number (PathId of "
        "QUIC_SENT_PACKET_METADATA in loss_detection.c) that nothing sets when a packet is sent; without an answer it may send "
        "three times what comes from the client, who only receives, and stops. Whether it is lost is up to the bottleneck's queue, which it fills")
    for case in ("migration", "rebind-port", "rebind-addr")
}

KNOWN = {
    ("msquic", "client", "migration"): (
        "MsQuic 2.5.1 ends its own process when its local address is set (QUIC_PARAM_CONN_LOCAL_ADDRESS): a debugger "
        "shows quic_bugcheck called by SocketSend, before anything has left the new socket"),
    ("msquic", "server", "reliablereset"): (
        "MsQuic 2.5.1 says that the stream's final size is what it has sent so far (MaxSentLength in QuicStreamSendWrite), even if "
        "that is less than the reliable size; draft-ietf-quic-reliable-stream-reset section 4 has this be a FRAME_ENCODING_ERROR"),
    ("msquic", "server", "rebind-addr"): (
        "MsQuic 2.5.1 has room for four paths (QUIC_MAX_PATH_COUNT) and forgets none of another address (QuicConnGetPathForPacket): "
        "what comes from a fifth is dropped; the trace shows one packet from there, and nothing to it. Seen when the machine was so "
        "slow that the address changed four times before the file was there"),
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
    ("quinn", "server", "amplificationlimit"): (
        "quinn-proto 0.11 asks before each datagram of a batch whether one byte more than those before may be sent, not a whole one "
        "(anti_amplification_blocked in poll_transmit): when it has sent an acknowledgement of 49 bytes alone, which depends on when "
        "the second datagram of the ClientHello comes, six of 1,200 follow, where 7,200 are the limit, as the trace shows"),
    ("quiche", "server", "amplificationlimit"): (
        "quiche 0.30 pads a datagram with an Initial packet to 1,200 bytes after it has counted what it may still send (pad_len in "
        "send_on_path): when it acknowledges the first datagram of a ClientHello alone, 57 bytes of that datagram are counted, and "
        "1,143 are sent beyond the limit of 7,200, as the trace shows"),
    **{("quiche", "server", case): (
        "quiche 0.30 looks for losses path by path (detect_lost_packets goes no further than what was acknowledged of that path): "
        "what was under way on the path that the NAT has closed is never lost to it, however many later packets are acknowledged, "
        "and of that it sends on each timeout the two oldest packets only, which had arrived otherwise; the trace shows 44 KB of the "
        "stream that it sends but once, and DATA_BLOCKED until the end; with Connection::send in place of send_on_path the same")
        for case in ("rebind-port", "rebind-addr")},
    ("quinn", "server", "handshakeloss"): (
        "quinn 0.11 does not begin its backoff anew when it drops keys (only on_ack_received sets pto_count), as RFC 9002 section 6.2.2 "
        "has it: after a handshake with many losses, and while each acknowledgement is lost, its next probe comes later than the "
        "client's idle timeout; the trace shows the last Initial packet after 16 s, and the answer sent once. Seen once"),
    ("s2n-quic", "client", "handshakeloss"): (
        "s2n-quic 1.91 probes with PING where RFC 9002 section 6.2.4 has a probe carry data: a request that was lost is sent again only "
        "once a PING is acknowledged; the trace shows four pairs of PING within its idle timeout, of which two arrived, and the "
        "acknowledgements of these lost. Seen once"),
    ("noq", "server", "handshakeloss"): (
        "noq 1.4 has Initial data that was lost wait for the congestion window (path_congestion_check), which Handshake packets fill "
        "that nobody can read before that data, and probes where something is in flight, which is in the Handshake space "
        "(pto_time_and_space): the trace shows the last Initial packet before the last of its ServerHello has arrived, nothing but "
        "Handshake packets from there on, and the client's Initial packets no longer acknowledged. Seen when a ServerHello of two "
        "packets was lost five times"),
    ("quiche", "server", "handshakeloss"): (
        "quiche 0.30 drops the rest of a datagram whose first packet it has no keys for (Connection::recv after recv_single), where "
        "RFC 9000 section 12.2 has it process the remaining packets: of a client that still lacks HANDSHAKE_DONE it hears nothing, "
        "for what that sends begins with a Handshake packet; the trace shows 1-RTT packets, of which it never acknowledges another. "
        "Seen when all that could end this was lost"),
    **{("tquic", "server", case): (
        "tquic 1.6 challenges the new path and sends nothing else there: that a server follows its client is still to be done "
        "(a TODO in Connection::recv_packet); the trace shows PATH_RESPONSE from the new path, and no other frame on it")
        for case in ("rebind-port", "rebind-addr")},
    ("tquic", "server", "migration"): (
        "tquic 1.6 does not follow its client, and asks the path that the client has left for its connection ID on every packet "
        "(Connection::scid in recv_packet): when the client retires that ID, it closes with INTERNAL_ERROR, as the trace shows"),
    **{("tquic", role, "keyupdatestorm"): (
        "tquic 1.6 takes a packet of another key phase for one of an update if its packet number is above the first of the current "
        "phase, and compares both as they are on the wire, cut off (hdr.pkt_num in TlsSession::select_key): in the trace the first "
        "packet of a phase is 88, and of the updated ones those above 344 are the first that it acknowledges")
        for role in ("client", "server")},
    ("tquic", "server", "versionnegotiation"): (
        "tquic 1.6 reads the type of a packet whose version it does not know as one of version 1 (PacketHeader::from_bytes), takes an "
        "Initial packet of version 2 for 0-RTT, and keeps it for later"),
}
