/*
 * A client that judges the server's certificate: at once, or later on a thread of its own; the connection may have ended
 * by then. It never hears of a connection before it has said yes.
 */
#include "stage.h"

typedef enum { ACCEPT, REJECT, ACCEPT_LATER, REJECT_LATER, TOO_LATE, UNTRUSTED } CASE;

typedef struct {
    CASE Case;
    HQUIC Connection;
    pthread_t Judge;
    int Asked, Said, Connected, Ended, ByTransport, Echoed;
    QUIC_UINT62 Code;
    QUIC_STATUS Deferred, Answer;
} CLIENT;

static int Accepts(const CLIENT *client) {
    return client->Case == ACCEPT || client->Case == ACCEPT_LATER || client->Case == UNTRUSTED;
}

/* Judges on a thread of its own. */
static void *Judge(void *context) {
    CLIENT *client = context;
    if (client->Case == TOO_LATE) {
        /* The application has gone home meanwhile. */
        Quic->ConnectionShutdown(client->Connection, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 9);
        MUST(Wait(&client->Ended, 1));
    }
    Tell(&client->Said);
    QUIC_TLS_ALERT_CODES alert =
        Accepts(client) ? QUIC_TLS_ALERT_CODE_SUCCESS : QUIC_TLS_ALERT_CODE_CERTIFICATE_REVOKED;
    client->Answer = Quic->ConnectionCertificateValidationComplete(
        client->Connection, Accepts(client) || client->Case == TOO_LATE, alert);
    return NULL;
}

/* One that is DER of a sequence. */
static int LooksLikeDer(const QUIC_BUFFER *buffer) {
    return buffer && buffer->Length > 100 && buffer->Buffer[0] == 0x30;
}

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    CLIENT *client = context;
    (void)connection;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_PEER_CERTIFICATE_RECEIVED:
        MUST(LooksLikeDer(event->PEER_CERTIFICATE_RECEIVED.Certificate));
        MUST(LooksLikeDer(event->PEER_CERTIFICATE_RECEIVED.Chain));
        client->Deferred = event->PEER_CERTIFICATE_RECEIVED.DeferredStatus;
        if (client->Case > REJECT) {
            MUST(!pthread_create(&client->Judge, NULL, Judge, client));
            Tell(&client->Asked);
            return QUIC_STATUS_PENDING;
        }
        Tell(&client->Said);
        Tell(&client->Asked);
        return client->Case == ACCEPT ? QUIC_STATUS_SUCCESS : QUIC_STATUS_BAD_CERTIFICATE;
    case QUIC_CONNECTION_EVENT_CONNECTED:
        MUST(Told(&client->Said) == 1 && Accepts(client));
        Tell(&client->Connected);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_TRANSPORT:
        client->Code = event->SHUTDOWN_INITIATED_BY_TRANSPORT.ErrorCode;
        Tell(&client->ByTransport);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: Tell(&client->Ended); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ClientStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    CLIENT *client = context;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE:
        /* What was sent before the verdict was not heard before it. */
        MUST(Told(&client->Said) == 1);
        break;
    case QUIC_STREAM_EVENT_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE:
        if (!event->SHUTDOWN_COMPLETE.ConnectionShutdown) Tell(&client->Echoed);
        Quic->StreamClose(stream);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static int Try(CASE of, HQUIC configuration) {
    CLIENT *client = calloc(1, sizeof *client);
    CHECK(client);
    client->Case = of;
    client->Connection = OpenConnection(ClientConnection, client);
    HQUIC stream;
    CHECK(QUIC_SUCCEEDED(
        Quic->StreamOpen(client->Connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, client, &stream)));
    Send(stream, CopyText("for a server that is trusted"), QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN);
    CHECK(QUIC_SUCCEEDED(Quic->ConnectionStart(
        client->Connection, configuration, QUIC_ADDRESS_FAMILY_INET, "localhost", Stage.Port)));
    CHECK(Wait(&client->Asked, 1));
    if (of > REJECT) CHECK(!pthread_join(client->Judge, NULL));
    CHECK(of == UNTRUSTED ? QUIC_FAILED(client->Deferred) : client->Deferred == QUIC_STATUS_SUCCESS);
    if (Accepts(client)) {
        CHECK(Wait(&client->Connected, 1) && Wait(&client->Echoed, 1));
        Quic->ConnectionShutdown(client->Connection, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
    }
    CHECK(Wait(&client->Ended, 1));
    CHECK(Told(&client->Asked) == 1 && Told(&client->Connected) == Accepts(client));
    CHECK(Told(&client->ByTransport) == (of == REJECT || of == REJECT_LATER));
    /* The alert that the application named, and that for whichever failure it answered. */
    if (of == REJECT_LATER) CHECK(client->Code == 0x100 + QUIC_TLS_ALERT_CODE_CERTIFICATE_REVOKED);
    if (of == REJECT) CHECK(client->Code >= 0x100 && client->Code < 0x200);
    if (of == ACCEPT_LATER || of == REJECT_LATER) CHECK(client->Answer == QUIC_STATUS_PENDING);
    Quic->ConnectionClose(client->Connection);
    free(client);
    return 0;
}

static int Visit(void) {
    QUIC_SETTINGS settings = StageSettings();
    HQUIC strange = OpenClient(Stage.Play->Judging, FALSE, &settings);
    int wrong = 0;
    for (CASE of = ACCEPT; of <= UNTRUSTED && !wrong; ++of) {
        wrong = Try(of, of == UNTRUSTED ? strange : Stage.Client);
        if (wrong) fprintf(stderr, "case %d\n", of);
    }
    Quic->ConfigurationClose(strange);
    return wrong;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    static const PLAY play = {
        EchoConnection, Visit,
        (QUIC_CREDENTIAL_FLAGS)(QUIC_CREDENTIAL_FLAG_INDICATE_CERTIFICATE_RECEIVED
            | QUIC_CREDENTIAL_FLAG_DEFER_CERTIFICATE_VALIDATION | QUIC_CREDENTIAL_FLAG_USE_PORTABLE_CERTIFICATES),
        FALSE};
    return Play(&play, quic, chain, key, port);
}
