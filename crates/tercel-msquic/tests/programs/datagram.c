/* Datagrams go to a server and come back. Each is told of until its end, and the largest that is told can be sent. */
#include "stage.h"

enum { DATAGRAMS = 100 };

static QUIC_STATUS ServerConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_DATAGRAM_RECEIVED: {
        QUIC_BUFFER *copy = Copy(event->DATAGRAM_RECEIVED.Buffer, 1, event->DATAGRAM_RECEIVED.Buffer->Length);
        if (QUIC_FAILED(Quic->DatagramSend(connection, copy, 1, QUIC_SEND_FLAG_NONE, copy))) free(copy);
        break;
    }
    case QUIC_CONNECTION_EVENT_DATAGRAM_SEND_STATE_CHANGED:
        if (QUIC_DATAGRAM_SEND_STATE_IS_FINAL(event->DATAGRAM_SEND_STATE_CHANGED.State))
            free(event->DATAGRAM_SEND_STATE_CHANGED.ClientContext);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: Quic->ConnectionClose(connection); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

/* A datagram of the client's: its first byte is its number. */
typedef struct {
    QUIC_BUFFER Buffers[2];
    uint8_t Number, *Body;
    uint32_t Length;
    int Sent, Final;
    QUIC_DATAGRAM_SEND_STATE State;
    int CameBack;
} DATAGRAM;

static DATAGRAM Datagrams[DATAGRAMS];
static int Connected, Able, Ended, Finals, CameBack;
static uint16_t Largest;

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)connection;
    (void)context;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_CONNECTED: Tell(&Connected); break;
    case QUIC_CONNECTION_EVENT_DATAGRAM_STATE_CHANGED:
        pthread_mutex_lock(&Lock);
        Largest = event->DATAGRAM_STATE_CHANGED.MaxSendLength;
        pthread_mutex_unlock(&Lock);
        if (event->DATAGRAM_STATE_CHANGED.SendEnabled) Tell(&Able);
        break;
    case QUIC_CONNECTION_EVENT_DATAGRAM_RECEIVED: {
        const QUIC_BUFFER *buffer = event->DATAGRAM_RECEIVED.Buffer;
        MUST(buffer->Length && buffer->Buffer[0] < DATAGRAMS);
        DATAGRAM *datagram = &Datagrams[buffer->Buffer[0]];
        MUST(buffer->Length == datagram->Length + 1 && !memcmp(buffer->Buffer + 1, datagram->Body, datagram->Length));
        MUST(!datagram->CameBack++);
        Tell(&CameBack);
        break;
    }
    case QUIC_CONNECTION_EVENT_DATAGRAM_SEND_STATE_CHANGED: {
        DATAGRAM *datagram = event->DATAGRAM_SEND_STATE_CHANGED.ClientContext;
        MUST(!datagram->Final);
        datagram->State = event->DATAGRAM_SEND_STATE_CHANGED.State;
        if (datagram->State == QUIC_DATAGRAM_SEND_SENT) MUST(!datagram->Sent++);
        if (QUIC_DATAGRAM_SEND_STATE_IS_FINAL(datagram->State)) {
            datagram->Final = 1;
            Tell(&Finals);
        }
        break;
    }
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: Tell(&Ended); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS SendOne(HQUIC connection, int at, uint32_t length) {
    DATAGRAM *datagram = &Datagrams[at];
    datagram->Number = (uint8_t)at;
    datagram->Length = length - 1;
    datagram->Body = Patterns(datagram->Length);
    datagram->Buffers[0].Buffer = &datagram->Number;
    datagram->Buffers[0].Length = 1;
    datagram->Buffers[1].Buffer = datagram->Body;
    datagram->Buffers[1].Length = datagram->Length;
    return Quic->DatagramSend(connection, datagram->Buffers, 2, QUIC_SEND_FLAG_NONE, datagram);
}

static int Visit(void) {
    HQUIC connection = Connect(Stage.Client, ClientConnection, NULL);
    CHECK(Wait(&Connected, 1) && Wait(&Able, 1));
    pthread_mutex_lock(&Lock);
    uint32_t largest = Largest;
    pthread_mutex_unlock(&Lock);
    CHECK(largest >= 1000);
    for (int at = 0; at < DATAGRAMS; ++at) {
        CHECK(QUIC_SUCCEEDED(SendOne(connection, at, at ? 1 + (uint32_t)(at * 11) % 1000 : largest)));
        /* So few under way that no socket's room is too small. */
        CHECK(Wait(&Finals, at - 8));
    }
    CHECK(Wait(&Finals, DATAGRAMS));
    int acknowledged = 0;
    for (int at = 0; at < DATAGRAMS; ++at) {
        CHECK(Datagrams[at].Sent == 1);
        acknowledged += Datagrams[at].State == QUIC_DATAGRAM_SEND_ACKNOWLEDGED;
    }
    /* Whichever arrived is sent back; those may be lost, as all datagrams. */
    CHECK(acknowledged > DATAGRAMS / 2 && Wait(&CameBack, DATAGRAMS / 2));
    static uint8_t huge[65535];
    QUIC_BUFFER buffer = {sizeof huge, huge};
    CHECK(Quic->DatagramSend(connection, &buffer, 1, QUIC_SEND_FLAG_NONE, NULL) == QUIC_STATUS_INVALID_PARAMETER);
    Quic->ConnectionShutdown(connection, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
    CHECK(Wait(&Ended, 1));
    Quic->ConnectionClose(connection);
    for (int at = 0; at < DATAGRAMS; ++at) free(Datagrams[at].Body);
    return 0;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    static const PLAY play = {ServerConnection, Visit, QUIC_CREDENTIAL_FLAG_NONE, TRUE};
    return Play(&play, quic, chain, key, port);
}
