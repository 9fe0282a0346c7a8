"""What each case demands of the traces, once the client has all its files. A check returns a note for the
table, or None; it raises Wrong."""

from trace import (
    ACK_ECN, ACK_FREQUENCY, APPLICATION_CLOSE, CERTIFICATE, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, CLIENT, CLOSE, DONE, FINISHED,
    HANDSHAKE, HELLO, INITIAL, NEGOTIATION, OBSERVED_ADDRESS, ONE_RTT, PATH_CHALLENGE, PATH_RESPONSE, RESET_STREAM_AT, RETRY,
    SERVER, SERVER_HELLO, TIMESTAMP, V1, V2, ZERO_RTT,
)


class Wrong(Exception):
    """The trace is not as it should be."""


def demand(condition, why):
    if not condition:
        raise Wrong(why)


def sent(packets, sender, *kinds):
    return [packet for packet in packets if packet.sender == sender and (not kinds or packet.kind in kinds)]


def hellos(packets):
    """The connections whose ServerHello came."""
    return {packet.connection for packet in packets if SERVER_HELLO in packet.messages}


def count_handshakes(run, count, versions=(V1,)):
    packets = run.trace.handshake()
    seen = len(hellos(packets))
    demand(seen == count, f"{seen} handshakes in place of {count}")
    demand(not sent(packets, SERVER, NEGOTIATION), "a Version Negotiation packet")
    other = {hex(packet.version) for packet in packets if packet.kind != ONE_RTT and packet.version not in versions}
    demand(not other, f"other versions: {other}")
    return packets


def one_handshake(run):
    count_handshakes(run, 1)


def handshake(run):
    packets = count_handshakes(run, 1)
    demand(not sent(packets, SERVER, RETRY), "a Retry")


def long_rtt(run):
    packets = count_handshakes(run, 1)
    first = [p for p in sent(packets, CLIENT, INITIAL)
             if any(int(f, 0) == 0 for frame in p.frames for f in frame.node.every("quic.crypto.offset"))]
    demand(len(first) >= 2, "the ClientHello was sent but once")


def chacha20(run):
    packets = count_handshakes(run, 1)
    for packet in packets:
        if HELLO in packet.messages and packet.sender == CLIENT:
            # OpenSSL adds a signal that is no suite.
            offered = [suite for suite in packet.suites() if suite != 0x00FF]
            demand(offered == [0x1303], f"offered {offered}")
        if SERVER_HELLO in packet.messages:
            demand(packet.suites() == [0x1303], f"chosen {packet.suites()}")


def multiplexing(run):
    packets = count_handshakes(run, 1)
    for packet in sent(packets, SERVER):
        limit = packet.parameter("initial_max_streams_bidi")
        demand(limit is None or limit <= 1000, f"the server permits {limit} streams at once")


def retry(run):
    packets = count_handshakes(run, 1)
    retries = sent(packets, SERVER, RETRY)
    demand(retries, "no Retry")
    with_token = [packet for packet in sent(packets, CLIENT, INITIAL) if packet.token_length]
    demand(with_token, "the client shows no token")
    demand(min(packet.time for packet in with_token) > retries[0].time, "the token was shown before the Retry")


def _two_sessions(run):
    packets = count_handshakes(run, 2)
    first, second = sorted(hellos(packets))
    said = {number: [message for packet in packets if packet.connection == number and packet.sender == SERVER
                     for message in packet.messages] for number in (first, second)}
    demand(CERTIFICATE in said[first], "no certificate at first")
    demand(CERTIFICATE not in said[second], "a certificate the second time")
    return run.trace.packets(CLIENT), second


def resumption(run):
    _two_sessions(run)


def zero_rtt(run):
    packets, _ = _two_sessions(run)
    size = {kind: sum(frame.data_length for packet in sent(packets, CLIENT, kind) for frame in packet.frames
                      if frame.is_stream) for kind in (ZERO_RTT, ONE_RTT)}
    demand(size[ZERO_RTT], "no data in 0-RTT packets")
    limit = sum(len(name) + 7 for name in run.names) / 2
    demand(size[ONE_RTT] <= limit, f"{size[ONE_RTT]} bytes of requests in 1-RTT packets, {size[ZERO_RTT]} in 0-RTT")
    return f"{size[ZERO_RTT]} bytes early, {size[ONE_RTT]} later"


def _phases(run, side=CLIENT):
    packets = run.trace.packets(side)
    result = {}
    for sender in (CLIENT, SERVER):
        # Packets in the wrong order do not count as updates: an update holds for more than one.
        phases = [packet.key_phase for packet in sent(packets, sender, ONE_RTT) if packet.frames]
        result[sender] = phases
    return result


def key_update(run):
    count_handshakes(run, 1)
    for sender, phases in _phases(run).items():
        demand({0, 1} <= set(phases), f"the {sender} has not updated its keys")


def key_update_storm(run):
    count_handshakes(run, 1)
    turns = {sender: sum(1 for one, two in zip(phases, phases[1:]) if one != two) for sender, phases in
             _phases(run).items()}
    for sender, count in turns.items():
        # How many there can be depends on what each end thinks of the round-trip time.
        demand(count >= 2, f"{count} updates by the {sender}")
    return f"{min(turns.values())} updates"


def ecn(run):
    count_handshakes(run, 1)
    packets = run.trace.packets(CLIENT)
    for sender in (CLIENT, SERVER):
        demand(any(packet.ecn in (1, 2) for packet in sent(packets, sender)), f"the {sender} marks nothing")
        demand(any(packet.has(ACK_ECN) for packet in sent(packets, sender)), f"the {sender} tells of no marks")
    # The link marks some of those that it brings to the client; the client tells of them, and nobody takes it amiss.
    marked = sum(packet.ecn == 3 for packet in sent(packets, SERVER))
    demand(marked, "nothing met congestion")
    told = max((int(count, 0) for packet in sent(packets, CLIENT) for frame in packet.frames
                for count in frame.node.every("quic.ack.ecn_ce_count")), default=0)
    demand(told, f"the client tells of no congestion, which {marked} packets have met")
    # Both go on marking: none has found the path to be at fault.
    last = [packet for packet in sent(packets, SERVER, ONE_RTT) if any(frame.is_stream for frame in packet.frames)]
    demand(last and last[-1].ecn in (1, 2, 3), "the server has ceased to mark")
    return f"{told} met congestion"


def amplification(run):
    count_handshakes(run, 1)
    received = sent_before = 0
    seen, worst = set(), 0.0
    for packet in run.trace.packets(SERVER):
        if packet.sender == CLIENT and packet.kind == HANDSHAKE:
            break
        if packet.datagram in seen:
            continue
        seen.add(packet.datagram)
        if packet.sender == CLIENT:
            received += packet.size
        else:
            sent_before += packet.size
            worst = max(worst, sent_before / received)
            demand(sent_before <= 3 * received, f"{sent_before} bytes sent for {received} received")
    demand(worst > 2, f"the limit was not tried: {sent_before} bytes sent for {received} received")
    return f"{worst:.2f} times"


def many_handshakes(run):
    # With packets lost and corrupted, tshark does not find every ServerHello: Tercel's keys do not lie.
    seen = run.completed()
    demand(seen == len(run.names), f"{seen} handshakes in place of {len(run.names)}")


def version_2(run):
    packets = run.trace.handshake()
    demand(len(hellos(packets)) == 1, "more than one handshake")
    first = sent(packets, CLIENT, INITIAL)[0]
    demand(first.version == V1, "the client does not begin with version 1")
    for sender in (CLIENT, SERVER):
        versions = {packet.version for packet in sent(packets, sender, HANDSHAKE)}
        demand(versions == {V2}, f"the {sender}'s Handshake packets are of versions {versions}")
    demand(not sent(packets, SERVER, NEGOTIATION), "a Version Negotiation packet")


def version_2_first(run):
    packets = count_handshakes(run, 1, versions=(V2,))
    demand({packet.version for packet in sent(packets, SERVER, HANDSHAKE)} == {V2}, "no Handshake packet of version 2")


PATHS = "quic.header_form == 1 || quic.frame_type == 0x1a || quic.frame_type == 0x1b"


def rebinding(run):
    count_handshakes(run, 1)
    packets = run.trace.packets(SERVER, PATHS)
    challenged = {packet.path for packet in sent(packets, SERVER) if packet.has(PATH_CHALLENGE)}
    answered = {packet.path for packet in sent(packets, CLIENT) if packet.has(PATH_RESPONSE)}
    first = packets[0].path
    everywhere = run.trace.packets(SERVER, "quic")
    paths = {packet.path for packet in everywhere}
    demand(len(paths) >= 2, "there was but one path")
    demand(challenged - {first}, "no PATH_CHALLENGE on a new path")
    demand(answered & challenged - {first}, "no PATH_RESPONSE from a new path")
    return f"{len(paths)} paths"


def migration(run):
    return rebinding(run)


def preferred_address(run):
    count_handshakes(run, 1)
    packets = run.trace.packets(SERVER)
    there = [packet for packet in packets if packet.front == 1]
    demand(sent(there, CLIENT), "the client never went to the preferred address")
    demand(any(packet.has(PATH_CHALLENGE) for packet in sent(there, CLIENT)), "it did not validate that address")
    data = sum(frame.data_length for packet in sent(there, SERVER) for frame in packet.frames if frame.is_stream)
    demand(data > 0, "no data from the preferred address")
    return f"{min(100, data * 100 // run.bytes)} % of the data from there"


def goodput(run):
    count_handshakes(run, 1)
    return f"{run.bytes * 8 / run.seconds / 10e6:.0%}"


def datagrams(run):
    packets = run.trace.packets(CLIENT)
    for sender in (CLIENT, SERVER):
        count = sum(frame.is_datagram for packet in sent(packets, sender) for frame in packet.frames)
        demand(count >= 50, f"{count} DATAGRAM frames of the {sender}")


def stateless_reset(run):
    packets = run.trace.packets(CLIENT)
    # In their order, not by time: what waited at the bottleneck together may arrive at one moment.
    of_server = sent(packets, SERVER)
    understood = max(place for place, packet in enumerate(of_server) if packet.frames)
    # It looks like a packet that nobody can open.
    resets = [packet for packet in of_server[understood + 1:] if packet.kind == ONE_RTT]
    demand(resets, "the server sent no stateless reset")
    later = [packet for packet in sent(packets, CLIENT) if packet.time > resets[0].time + 0.5]
    demand(not later, "the client went on")
    demand(run.client_seconds < 15, "the client did not notice")


def version_negotiation(run):
    packets = run.trace.handshake()
    negotiation = sent(packets, SERVER, NEGOTIATION)
    demand(negotiation, "no Version Negotiation packet")
    demand(len(hellos(packets)) == 1, "no handshake afterwards")


def client_certificate(run):
    packets = count_handshakes(run, 1)
    asked = any(CERTIFICATE_REQUEST in packet.messages for packet in sent(packets, SERVER))
    demand(asked, "the server asks for no certificate")
    messages = [message for packet in sent(packets, CLIENT) for message in packet.messages]
    demand(CERTIFICATE in messages and CERTIFICATE_VERIFY in messages, "the client shows no certificate")


def verdict(run):
    packets = count_handshakes(run, 1)
    finished = {sender: min(packet.time for packet in sent(packets, sender) if FINISHED in packet.messages)
                for sender in (CLIENT, SERVER)}
    if run.peer_is(SERVER):
        waited = finished[CLIENT] - finished[SERVER]
        demand(waited >= 0.3, f"Finished after {waited:.3f} s")
    else:
        everything = run.trace.packets(CLIENT)
        done = [packet.time for packet in sent(everything, SERVER, ONE_RTT) if packet.has(DONE)]
        waited = min(done) - finished[CLIENT]
        demand(waited >= 0.3, f"HANDSHAKE_DONE after {waited:.3f} s")
        demand("asked after the verdict" in run.server_says, "the server was asked before the verdict")
    return f"{waited * 1000:.0f} ms"


def early_close(run):
    closer = CLIENT if run.peer_is(SERVER) else SERVER
    other = SERVER if closer == CLIENT else CLIENT
    packets = run.trace.packets(closer)
    closes = [packet for packet in sent(packets, closer) if packet.has(CLOSE, APPLICATION_CLOSE)]
    demand(closes, "no CONNECTION_CLOSE")
    long = [packet for packet in closes if packet.kind in (INITIAL, HANDSHAKE)]
    demand(long, "no CONNECTION_CLOSE in an Initial or Handshake packet")
    for packet in long:
        # RFC 9000 section 10.2.3: what the application says is not for these packets.
        codes = [frame.error for frame in packet.frames if frame.type == CLOSE]
        demand(codes == [0x0C], f"CONNECTION_CLOSE with {codes}")
    late = [packet for packet in sent(packets, other) if packet.time > closes[0].time + 0.5]
    demand(not late, "the other end went on")


def thousand_streams(run):
    count_handshakes(run, 1)
    packets = run.trace.packets(CLIENT)
    streams = {frame.stream for packet in sent(packets, CLIENT) for frame in packet.frames if frame.is_stream}
    demand(len(streams) >= 1000, f"{len(streams)} streams")


def ack_frequency(run):
    count_handshakes(run, 1)
    asked = {packet.sender for packet in run.trace.packets(CLIENT) if packet.has(ACK_FREQUENCY)}
    demand(asked, "nobody asks")
    return "asked by the " + " and the ".join(sorted(asked))


def reliable_reset(run):
    packets = run.trace.packets(CLIENT)
    resets = [frame.type for packet in sent(packets, SERVER) for frame in packet.frames if frame.type in RESET_STREAM_AT]
    demand(resets, "no RESET_STREAM_AT")
    return f"type {resets[0]:#x}"


def timestamps(run):
    packets = run.trace.packets(CLIENT)
    for sender in (CLIENT, SERVER):
        demand(any(packet.has(TIMESTAMP) for packet in sent(packets, sender)), f"the {sender} tells no time")


def address_discovery(run):
    packets = run.trace.packets(CLIENT)
    for sender in (CLIENT, SERVER):
        demand(any(packet.has(*OBSERVED_ADDRESS) for packet in sent(packets, sender)),
               f"the {sender} does not tell where it sees the other")


def grease(run):
    """RFC 9287 section 3. Tercel throws dice for each packet, others once for a connection; all take what comes."""
    packets = run.trace.packets(CLIENT)
    count = {sender: sum(not packet.fixed_bit for packet in sent(packets, sender)) for sender in (CLIENT, SERVER)}
    tercel = CLIENT if run.peer_is(SERVER) else SERVER
    demand(count[tercel], "Tercel leaves the bit alone")
    return f"{count[CLIENT]} packets of the client, {count[SERVER]} of the server"


def half_rtt(run):
    packets = run.trace.packets(SERVER)
    early = [packet.time for packet in sent(packets, SERVER, ONE_RTT)
             if any(frame.is_stream for frame in packet.frames)]
    finished = [packet.time for packet in sent(packets, CLIENT, HANDSHAKE) if FINISHED in packet.messages]
    demand(early and finished and min(early) < min(finished), "no data before the client's Finished")
