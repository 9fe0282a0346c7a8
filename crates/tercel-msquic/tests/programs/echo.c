/*
 * An echo server and its client in one program: a file's worth of bytes goes there and back, a certificate is judged
 * on another thread, a ticket brings the session back with early data, and a datagram goes along.
 */
#include "quic.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const QUIC_API_TABLE *Quic;
static HQUIC ServerConfiguration;

/* What the main thread waits for. */
static pthread_mutex_t Lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t Changed = PTHREAD_COND_INITIALIZER;
static int Connected, Resumed, Ended, StreamEnded, Datagrams, Judged;
static uint8_t *Back;
static size_t BackLength;
static uint8_t Ticket[4096];
static uint32_t TicketLength;

#define LENGTH (1 << 20)
#define CHECK(fact) do { if (!(fact)) return __LINE__; } while (0)

static void Tell(int *what) {
    pthread_mutex_lock(&Lock);
    ++*what;
    pthread_cond_broadcast(&Changed);
    pthread_mutex_unlock(&Lock);
}

/* Waits until it was told so often; 0 if it never is. */
static int Wait(int *what, int count) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    int late = 0;
    pthread_mutex_lock(&Lock);
    while (*what < count && !late) late = pthread_cond_timedwait(&Changed, &Lock, &until);
    int there = *what >= count;
    pthread_mutex_unlock(&Lock);
    return there;
}

/* A buffer with its bytes behind it, freed when the send is complete. */
static QUIC_BUFFER *Copy(const QUIC_BUFFER *buffers, uint32_t count, uint64_t length) {
    QUIC_BUFFER *copy = malloc(sizeof *copy + length);
    if (!copy) abort();
    copy->Length = (uint32_t)length;
    copy->Buffer = (uint8_t *)(copy + 1);
    uint8_t *to = copy->Buffer;
    for (uint32_t at = 0; at < count; ++at) {
        memcpy(to, buffers[at].Buffer, buffers[at].Length);
        to += buffers[at].Length;
    }
    return copy;
}

static void Send(HQUIC stream, QUIC_BUFFER *buffer, int flags) {
    if (QUIC_FAILED(Quic->StreamSend(stream, buffer, 1, flags, buffer))) free(buffer);
}

static QUIC_STATUS ServerStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case STREAM_RECEIVE: {
        int fin = (event->RECEIVE.Flags & RECEIVE_FIN) ? SEND_FIN : 0;
        if (event->RECEIVE.TotalBufferLength || fin)
            Send(stream, Copy(event->RECEIVE.Buffers, event->RECEIVE.BufferCount, event->RECEIVE.TotalBufferLength), fin);
        break;
    }
    case STREAM_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case STREAM_SHUTDOWN_COMPLETE: Quic->StreamClose(stream); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ServerConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case CONNECTION_CONNECTED:
        Quic->ConnectionSendResumptionTicket(connection, 0, 5, (const uint8_t *)"state");
        break;
    case CONNECTION_RESUMED:
        if (event->RESUMED.ResumptionStateLength == 5 && !memcmp(event->RESUMED.ResumptionState, "state", 5)) Tell(&Resumed);
        break;
    case CONNECTION_PEER_STREAM_STARTED:
        Quic->SetCallbackHandler(event->PEER_STREAM_STARTED.Stream, (void *)ServerStream, NULL);
        break;
    case CONNECTION_DATAGRAM_RECEIVED: Tell(&Datagrams); break;
    case CONNECTION_SHUTDOWN_COMPLETE: Quic->ConnectionClose(connection); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS Listener(HQUIC listener, void *context, QUIC_LISTENER_EVENT *event) {
    (void)listener;
    (void)context;
    if (event->Type != LISTENER_NEW_CONNECTION) return QUIC_STATUS_SUCCESS;
    Quic->SetCallbackHandler(event->NEW_CONNECTION.Connection, (void *)ServerConnection, NULL);
    return Quic->ConnectionSetConfiguration(event->NEW_CONNECTION.Connection, ServerConfiguration);
}

static QUIC_STATUS ClientStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    (void)stream;
    (void)context;
    switch (event->Type) {
    case STREAM_RECEIVE:
        for (uint32_t at = 0; at < event->RECEIVE.BufferCount; ++at) {
            const QUIC_BUFFER *part = &event->RECEIVE.Buffers[at];
            if (BackLength + part->Length > LENGTH) abort();
            memcpy(Back + BackLength, part->Buffer, part->Length);
            BackLength += part->Length;
        }
        break;
    case STREAM_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case STREAM_SHUTDOWN_COMPLETE: Tell(&StreamEnded); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

/* Judges on a thread of its own. */
static void *Judge(void *connection) {
    if (Quic->ConnectionCertificateValidationComplete(connection, 1, 0) == QUIC_STATUS_PENDING) Tell(&Judged);
    return NULL;
}

static pthread_t Judges[4];
static int JudgeCount;

/* Of the last exchange, to be closed by whoever waits for it. */
static HQUIC LastStream;

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case CONNECTION_CONNECTED: Tell(&Connected); break;
    case CONNECTION_CERTIFICATE: {
        const QUIC_BUFFER *leaf = event->PEER_CERTIFICATE_RECEIVED.Certificate;
        if (!leaf || !leaf->Length || event->PEER_CERTIFICATE_RECEIVED.DeferredStatus) return 22;
        if (JudgeCount == 4 || pthread_create(&Judges[JudgeCount++], NULL, Judge, connection)) abort();
        return QUIC_STATUS_PENDING;
    }
    case CONNECTION_TICKET:
        pthread_mutex_lock(&Lock);
        TicketLength = event->RESUMPTION_TICKET_RECEIVED.ResumptionTicketLength;
        if (TicketLength > sizeof Ticket) abort();
        memcpy(Ticket, event->RESUMPTION_TICKET_RECEIVED.ResumptionTicket, TicketLength);
        pthread_cond_broadcast(&Changed);
        pthread_mutex_unlock(&Lock);
        break;
    case CONNECTION_DATAGRAM_STATE:
        /* The data may go when it was sent. */
        if (event->DATAGRAM_SEND_STATE_CHANGED.State == 1) {
            free(event->DATAGRAM_SEND_STATE_CHANGED.ClientContext);
            event->DATAGRAM_SEND_STATE_CHANGED.ClientContext = NULL;
        } else if (event->DATAGRAM_SEND_STATE_CHANGED.State == 6) {
            free(event->DATAGRAM_SEND_STATE_CHANGED.ClientContext);
        }
        break;
    case CONNECTION_SHUTDOWN_COMPLETE: Tell(&Ended); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static int Exchange(HQUIC connection, int flags) {
    HQUIC stream;
    BackLength = 0;
    StreamEnded = 0;
    CHECK(!QUIC_FAILED(Quic->StreamOpen(connection, 0, ClientStream, NULL, &stream)));
    uint8_t *bytes = malloc(LENGTH);
    CHECK(bytes);
    for (size_t at = 0; at < LENGTH; ++at) bytes[at] = (uint8_t)(at * 31 + at / 256);
    QUIC_BUFFER parts[2] = {{LENGTH / 2, bytes}, {LENGTH / 2, bytes + LENGTH / 2}};
    Send(stream, Copy(parts, 1, LENGTH / 2), SEND_START | flags);
    Send(stream, Copy(parts + 1, 1, LENGTH / 2), SEND_FIN | flags);
    LastStream = stream;
    if (flags & SEND_ALLOW_0_RTT) return free(bytes), 0;
    CHECK(Wait(&StreamEnded, 1));
    CHECK(BackLength == LENGTH && !memcmp(bytes, Back, LENGTH));
    free(bytes);
    Quic->StreamClose(stream);
    return 0;
}

static int Visits(HQUIC registration, HQUIC client, uint16_t port) {
    HQUIC first, second;
    CHECK(!QUIC_FAILED(Quic->ConnectionOpen(registration, ClientConnection, NULL, &first)));
    CHECK(!QUIC_FAILED(Quic->ConnectionStart(first, client, AF_INET, "localhost", port)));
    CHECK(Wait(&Connected, 1) && Wait(&Judged, 1));
    int wrong = Exchange(first, 0);
    if (wrong) return wrong;
    QUIC_BUFFER datagram = {8, (uint8_t *)"datagram"};
    QUIC_BUFFER *copy = Copy(&datagram, 1, 8);
    CHECK(!QUIC_FAILED(Quic->DatagramSend(first, copy, 1, 0, copy)));
    CHECK(Wait(&Datagrams, 1));
    CHECK(Wait((int *)&TicketLength, 1));
    Quic->ConnectionShutdown(first, 0, 0);
    CHECK(Wait(&Ended, 1));
    Quic->ConnectionClose(first);

    CHECK(!QUIC_FAILED(Quic->ConnectionOpen(registration, ClientConnection, NULL, &second)));
    CHECK(!QUIC_FAILED(Quic->SetParam(second, PARAM_CONN_RESUMPTION_TICKET, TicketLength, Ticket)));
    CHECK(!QUIC_FAILED(Quic->ConnectionStart(second, client, AF_INET, "localhost", port)));
    wrong = Exchange(second, SEND_ALLOW_0_RTT);
    if (wrong) return wrong;
    CHECK(Wait(&Connected, 2) && Wait(&Resumed, 1) && Wait(&StreamEnded, 1));
    CHECK(BackLength == LENGTH);
    /* The connection may be closed before its stream. */
    Quic->ConnectionClose(second);
    CHECK(Wait(&Ended, 2));
    Quic->StreamClose(LastStream);
    return 0;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key) {
    Quic = quic;
    Back = malloc(LENGTH);
    CHECK(Back);
    HQUIC registration, client, listener;
    QUIC_REGISTRATION_CONFIG name = {"echo", 0};
    CHECK(!QUIC_FAILED(Quic->RegistrationOpen(&name, &registration)));
    QUIC_SETTINGS settings;
    memset(&settings, 0, sizeof settings);
    settings.IsSet = SETTINGS_PEER_BIDI | SETTINGS_SEND_BUFFERING | SETTINGS_DATAGRAMS | SETTINGS_RESUMPTION;
    settings.PeerBidiStreamCount = 10;
    settings.Bits = BIT_DATAGRAMS | BITS_RESUME_EARLY;
    QUIC_BUFFER alpn = {4, (uint8_t *)"echo"};
    CHECK(!QUIC_FAILED(Quic->ConfigurationOpen(registration, &alpn, 1, &settings, sizeof settings, NULL, &ServerConfiguration)));
    CHECK(!QUIC_FAILED(Quic->ConfigurationOpen(registration, &alpn, 1, &settings, sizeof settings, NULL, &client)));
    QUIC_CERTIFICATE_FILE file = {key, chain};
    QUIC_CREDENTIAL_CONFIG credential;
    memset(&credential, 0, sizeof credential);
    credential.Type = CREDENTIAL_FILE;
    credential.Certificate = &file;
    CHECK(!QUIC_FAILED(Quic->ConfigurationLoadCredential(ServerConfiguration, &credential)));
    memset(&credential, 0, sizeof credential);
    credential.Flags = CREDENTIAL_CLIENT | CREDENTIAL_INDICATE | CREDENTIAL_DEFER | CREDENTIAL_PORTABLE | CREDENTIAL_CA_FILE;
    credential.CaCertificateFile = chain;
    CHECK(!QUIC_FAILED(Quic->ConfigurationLoadCredential(client, &credential)));
    CHECK(!QUIC_FAILED(Quic->ListenerOpen(registration, Listener, NULL, &listener)));
    QUIC_ADDR address;
    memset(&address, 0, sizeof address);
    address.Ipv4.sin_family = AF_INET;
    address.Ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(!QUIC_FAILED(Quic->ListenerStart(listener, &alpn, 1, &address)));
    uint32_t length = sizeof address;
    CHECK(!QUIC_FAILED(Quic->GetParam(listener, PARAM_LISTENER_LOCAL_ADDRESS, &length, &address)));

    int wrong = Visits(registration, client, ntohs(address.Ipv4.sin_port));
    if (wrong) return wrong;

    for (int at = 0; at < JudgeCount; ++at) pthread_join(Judges[at], NULL);
    Quic->ListenerClose(listener);
    Quic->RegistrationShutdown(registration, 0, 0);
    Quic->ConfigurationClose(ServerConfiguration);
    Quic->ConfigurationClose(client);
    Quic->RegistrationClose(registration);
    free(Back);
    return 0;
}
