"""What fails by a peer's fault: (peer, the peer's role, case) and how that was established."""

KNOWN = {
    ("msquic", "client", "migration"): (
        "MsQuic 2.5.1 ends its own process when its local address is set (QUIC_PARAM_CONN_LOCAL_ADDRESS): a debugger "
        "shows quic_bugcheck called by SocketSend, before anything has left the new socket"),
}
