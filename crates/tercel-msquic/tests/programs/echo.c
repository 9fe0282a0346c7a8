/*
 * An echo server and its clients: several connections at once, each with several streams, and sends of more than one
 * buffer; a stream that is reset; and what can be asked of a connection meanwhile.
 */
#include "stage.h"

enum { CONNECTIONS = 3, STREAMS = 4 };
static const uint32_t Lengths[STREAMS] = {0, 1, 5000, 1 << 20};

typedef struct {
    HQUIC Stream;
    QUIC_BUFFER Parts[2];
    uint8_t *Sent;
    uint32_t Length, Back;
    int Started, Completed, Ended;
} ECHO;

typedef struct {
    int Connected, Ended, Received, Aborted;
    QUIC_UINT62 Code;
    ECHO Echoes[STREAMS];
} CLIENT;

static QUIC_STATUS ClientStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    ECHO *echo = context;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_START_COMPLETE:
        MUST(QUIC_SUCCEEDED(event->START_COMPLETE.Status) && event->START_COMPLETE.ID % 4 == 0);
        Tell(&echo->Started);
        break;
    case QUIC_STREAM_EVENT_RECEIVE:
        MUST(event->RECEIVE.AbsoluteOffset == echo->Back);
        for (uint32_t at = 0; at < event->RECEIVE.BufferCount; ++at) {
            const QUIC_BUFFER *part = &event->RECEIVE.Buffers[at];
            MUST(echo->Back + part->Length <= echo->Length);
            MUST(!memcmp(echo->Sent + echo->Back, part->Buffer, part->Length));
            echo->Back += part->Length;
        }
        break;
    case QUIC_STREAM_EVENT_SEND_COMPLETE:
        MUST(event->SEND_COMPLETE.ClientContext == echo && !event->SEND_COMPLETE.Canceled);
        Tell(&echo->Completed);
        break;
    case QUIC_STREAM_EVENT_SEND_SHUTDOWN_COMPLETE: MUST(event->SEND_SHUTDOWN_COMPLETE.Graceful); break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE:
        MUST(!event->SHUTDOWN_COMPLETE.ConnectionShutdown);
        /* A handle may be closed within its last event. */
        Quic->StreamClose(stream);
        Tell(&echo->Ended);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ResetStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    CLIENT *client = context;
    (void)stream;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE: Tell(&client->Received); break;
    case QUIC_STREAM_EVENT_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case QUIC_STREAM_EVENT_PEER_SEND_ABORTED: client->Code = event->PEER_SEND_ABORTED.ErrorCode; break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE: Tell(&client->Aborted); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    CLIENT *client = context;
    (void)connection;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_CONNECTED:
        MUST(event->CONNECTED.NegotiatedAlpnLength == Alpn.Length);
        MUST(!memcmp(event->CONNECTED.NegotiatedAlpn, Alpn.Buffer, Alpn.Length));
        Tell(&client->Connected);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE:
        MUST(event->SHUTDOWN_COMPLETE.HandshakeCompleted && !event->SHUTDOWN_COMPLETE.AppCloseInProgress);
        Tell(&client->Ended);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static void Begin(ECHO *echo, HQUIC connection, uint32_t length) {
    echo->Length = length;
    echo->Sent = Patterns(length);
    echo->Parts[0].Buffer = echo->Sent;
    echo->Parts[0].Length = length / 3;
    echo->Parts[1].Buffer = echo->Sent + length / 3;
    echo->Parts[1].Length = length - length / 3;
    MUST(QUIC_SUCCEEDED(Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, echo, &echo->Stream)));
    MUST(QUIC_SUCCEEDED(Quic->StreamStart(echo->Stream, QUIC_STREAM_START_FLAG_NONE)));
    MUST(QUIC_SUCCEEDED(Quic->StreamSend(echo->Stream, echo->Parts, 2, QUIC_SEND_FLAG_FIN, echo)));
}

/* What is known of a connection that has echoed so many bytes. */
static int Ask(HQUIC connection, uint64_t echoed) {
    QUIC_STATISTICS_V2 statistics;
    uint32_t length = sizeof statistics;
    CHECK(QUIC_SUCCEEDED(Quic->GetParam(connection, QUIC_PARAM_CONN_STATISTICS_V2, &length, &statistics)));
    CHECK(length == sizeof statistics && !statistics.ResumptionSucceeded);
    CHECK(statistics.SendTotalBytes >= echoed && statistics.RecvTotalBytes >= echoed);
    CHECK(statistics.Rtt && statistics.MinRtt <= statistics.MaxRtt);
    QUIC_ADDR address;
    length = sizeof address;
    CHECK(QUIC_SUCCEEDED(Quic->GetParam(connection, QUIC_PARAM_CONN_REMOTE_ADDRESS, &length, &address)));
    CHECK(ntohs(address.Ipv4.sin_port) == Stage.Port);
    uint8_t name[8];
    length = 1;
    CHECK(Quic->GetParam(connection, QUIC_PARAM_TLS_NEGOTIATED_ALPN, &length, name) == QUIC_STATUS_BUFFER_TOO_SMALL);
    CHECK(length == Alpn.Length);
    CHECK(QUIC_SUCCEEDED(Quic->GetParam(connection, QUIC_PARAM_TLS_NEGOTIATED_ALPN, &length, name)));
    CHECK(!memcmp(name, Alpn.Buffer, Alpn.Length));
    return 0;
}

static int Visit(void) {
    CLIENT *clients = calloc(CONNECTIONS, sizeof *clients);
    CHECK(clients);
    HQUIC connections[CONNECTIONS];
    for (int of = 0; of < CONNECTIONS; ++of) {
        connections[of] = Connect(Stage.Client, ClientConnection, &clients[of]);
        /* Streams may be opened before there is a connection. */
        for (int at = 0; at < STREAMS; ++at) Begin(&clients[of].Echoes[at], connections[of], Lengths[at]);
    }
    for (int of = 0; of < CONNECTIONS; ++of) {
        uint64_t echoed = 0;
        CHECK(Wait(&clients[of].Connected, 1));
        for (int at = 0; at < STREAMS; ++at) {
            ECHO *echo = &clients[of].Echoes[at];
            CHECK(Wait(&echo->Ended, 1));
            CHECK(Told(&echo->Started) == 1 && Told(&echo->Completed) == 1 && echo->Back == echo->Length);
            echoed += echo->Length;
            free(echo->Sent);
        }
        int wrong = Ask(connections[of], echoed);
        if (wrong) return wrong;

        HQUIC stream;
        CHECK(QUIC_SUCCEEDED(
            Quic->StreamOpen(connections[of], QUIC_STREAM_OPEN_FLAG_NONE, ResetStream, &clients[of], &stream)));
        Send(stream, CopyText("not finished"), QUIC_SEND_FLAG_START);
        CHECK(Wait(&clients[of].Received, 1));
        CHECK(QUIC_SUCCEEDED(Quic->StreamShutdown(stream, QUIC_STREAM_SHUTDOWN_FLAG_ABORT_SEND, 77)));
        CHECK(Wait(&clients[of].Aborted, 1) && clients[of].Code == 78);
        Quic->StreamClose(stream);
    }
    for (int of = 0; of < CONNECTIONS; ++of) {
        Quic->ConnectionShutdown(connections[of], QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
        CHECK(Wait(&clients[of].Ended, 1));
        Quic->ConnectionClose(connections[of]);
    }
    free(clients);
    return 0;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    static const PLAY play = {EchoConnection, Visit, QUIC_CREDENTIAL_FLAG_NONE, FALSE};
    return Play(&play, quic, chain, key, port);
}
