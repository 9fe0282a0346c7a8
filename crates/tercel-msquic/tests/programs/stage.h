/*
 * What the programs in C share: how they wait for what callbacks tell, and a stage with a server at one end and a client
 * at the other, in one process or in two.
 */
#ifndef STAGE_H
#define STAGE_H

#include "program.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Says what is wrong, and where; gives the line. */
static inline int Wrong(const char *file, int line, const char *fact) {
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, fact);
    return line;
}

#define CHECK(fact) do { if (!(fact)) return Wrong(__FILE__, __LINE__, #fact); } while (0)
/* The same where nobody would hear the answer. */
#define MUST(fact) do { if (!(fact)) { Wrong(__FILE__, __LINE__, #fact); abort(); } } while (0)

/* One lock for all that callbacks and the main thread share. */
static pthread_mutex_t Lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t Changed = PTHREAD_COND_INITIALIZER;

static inline void Tell(int *what) {
    pthread_mutex_lock(&Lock);
    ++*what;
    pthread_cond_broadcast(&Changed);
    pthread_mutex_unlock(&Lock);
}

static inline int Told(const int *what) {
    pthread_mutex_lock(&Lock);
    int told = *what;
    pthread_mutex_unlock(&Lock);
    return told;
}

/* Waits until it was told so often; 0 if it never is. */
static inline int Wait(const int *what, int count) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    int late = 0;
    pthread_mutex_lock(&Lock);
    while (*what < count && !late) late = pthread_cond_timedwait(&Changed, &Lock, &until);
    int there = *what >= count;
    pthread_mutex_unlock(&Lock);
    return there;
}

/* A byte of the pattern that the programs send. */
static inline uint8_t Pattern(uint64_t at) {
    return (uint8_t)(at * 31 + at / 256 * 7 + at / 65536);
}

static inline uint8_t *Patterns(uint64_t length) {
    uint8_t *bytes = malloc(length ? length : 1);
    MUST(bytes);
    for (uint64_t at = 0; at < length; ++at) bytes[at] = Pattern(at);
    return bytes;
}

/* A buffer with its bytes behind it: the context of its own send, freed when that is complete. */
static inline QUIC_BUFFER *Copy(const QUIC_BUFFER *buffers, uint32_t count, uint64_t length) {
    QUIC_BUFFER *copy = malloc(sizeof *copy + length);
    MUST(copy);
    copy->Length = (uint32_t)length;
    copy->Buffer = (uint8_t *)(copy + 1);
    uint8_t *to = copy->Buffer;
    for (uint32_t at = 0; at < count; ++at) {
        memcpy(to, buffers[at].Buffer, buffers[at].Length);
        to += buffers[at].Length;
    }
    MUST(to == copy->Buffer + length);
    return copy;
}

static inline QUIC_BUFFER *CopyText(const char *text) {
    QUIC_BUFFER buffer = {(uint32_t)strlen(text), (uint8_t *)text};
    return Copy(&buffer, 1, buffer.Length);
}

static const QUIC_API_TABLE *Quic;

/* Sends a copy, which is lost if there is nobody to send it to any more. */
static inline void Send(HQUIC stream, QUIC_BUFFER *copy, QUIC_SEND_FLAGS flags) {
    if (QUIC_FAILED(Quic->StreamSend(stream, copy, 1, flags, copy))) free(copy);
}

/* Of a server: sends back what comes, and a reset for a reset. */
static inline QUIC_STATUS EchoStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE: {
        QUIC_SEND_FLAGS fin = event->RECEIVE.Flags & QUIC_RECEIVE_FLAG_FIN ? QUIC_SEND_FLAG_FIN : QUIC_SEND_FLAG_NONE;
        uint64_t length = event->RECEIVE.TotalBufferLength;
        if (length || fin) Send(stream, Copy(event->RECEIVE.Buffers, event->RECEIVE.BufferCount, length), fin);
        break;
    }
    case QUIC_STREAM_EVENT_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case QUIC_STREAM_EVENT_PEER_SEND_ABORTED:
        Quic->StreamShutdown(stream, QUIC_STREAM_SHUTDOWN_FLAG_ABORT_SEND, event->PEER_SEND_ABORTED.ErrorCode + 1);
        break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE: Quic->StreamClose(stream); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

/* A server whose streams echo. */
static inline QUIC_STATUS EchoConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED:
        Quic->SetCallbackHandler(event->PEER_STREAM_STARTED.Stream, (void *)EchoStream, NULL);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: Quic->ConnectionClose(connection); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

/* What a program brings. */
typedef struct PLAY {
    /* Hears the server's connections. */
    QUIC_CONNECTION_CALLBACK_HANDLER Server;
    /* The client's part, with the server on the stage. */
    int (*Visit)(void);
    /* What the client asks of its credential, beside trusting the certificate of the server. */
    QUIC_CREDENTIAL_FLAGS Judging;
    /* Sends are read where they lie. */
    BOOLEAN SendsInPlace;
} PLAY;

static struct {
    const PLAY *Play;
    const char *Chain, *Key;
    HQUIC Registration, Server, Client, Listener;
    uint16_t Port;
} Stage;

static const QUIC_BUFFER Alpn = {4, (uint8_t *)"play"};

static inline QUIC_STATUS StageListener(HQUIC listener, void *context, QUIC_LISTENER_EVENT *event) {
    (void)listener;
    (void)context;
    if (event->Type != QUIC_LISTENER_EVENT_NEW_CONNECTION) return QUIC_STATUS_SUCCESS;
    MUST(event->NEW_CONNECTION.Info->NegotiatedAlpnLength == Alpn.Length);
    Quic->SetCallbackHandler(event->NEW_CONNECTION.Connection, (void *)Stage.Play->Server, NULL);
    return Quic->ConnectionSetConfiguration(event->NEW_CONNECTION.Connection, Stage.Server);
}

static inline QUIC_SETTINGS StageSettings(void) {
    QUIC_SETTINGS settings;
    memset(&settings, 0, sizeof settings);
    settings.PeerBidiStreamCount = settings.PeerUnidiStreamCount = 20;
    settings.IsSet.PeerBidiStreamCount = settings.IsSet.PeerUnidiStreamCount = TRUE;
    settings.DatagramReceiveEnabled = TRUE;
    settings.IsSet.DatagramReceiveEnabled = TRUE;
    settings.ServerResumptionLevel = QUIC_SERVER_RESUME_AND_ZERORTT;
    settings.IsSet.ServerResumptionLevel = TRUE;
    settings.SendBufferingEnabled = !Stage.Play->SendsInPlace;
    settings.IsSet.SendBufferingEnabled = TRUE;
    settings.IdleTimeoutMs = 30000;
    settings.IsSet.IdleTimeoutMs = TRUE;
    return settings;
}

/* A client's configuration; without `trust` it trusts those whom the system trusts. */
static inline HQUIC OpenClient(QUIC_CREDENTIAL_FLAGS judging, BOOLEAN trust, const QUIC_SETTINGS *settings) {
    HQUIC client;
    MUST(QUIC_SUCCEEDED(
        Quic->ConfigurationOpen(Stage.Registration, &Alpn, 1, settings, sizeof *settings, NULL, &client)));
    QUIC_CREDENTIAL_CONFIG credential;
    memset(&credential, 0, sizeof credential);
    credential.Type = QUIC_CREDENTIAL_TYPE_NONE;
    credential.Flags = (QUIC_CREDENTIAL_FLAGS)(QUIC_CREDENTIAL_FLAG_CLIENT | judging);
    if (trust) {
        credential.Flags = (QUIC_CREDENTIAL_FLAGS)(credential.Flags | QUIC_CREDENTIAL_FLAG_SET_CA_CERTIFICATE_FILE);
        credential.CaCertificateFile = Stage.Chain;
    }
    MUST(QUIC_SUCCEEDED(Quic->ConfigurationLoadCredential(client, &credential)));
    return client;
}

static inline int OpenServer(void) {
    QUIC_SETTINGS settings = StageSettings();
    CHECK(QUIC_SUCCEEDED(
        Quic->ConfigurationOpen(Stage.Registration, &Alpn, 1, &settings, sizeof settings, NULL, &Stage.Server)));
    QUIC_CERTIFICATE_FILE file = {Stage.Key, Stage.Chain};
    QUIC_CREDENTIAL_CONFIG credential;
    memset(&credential, 0, sizeof credential);
    credential.Type = QUIC_CREDENTIAL_TYPE_CERTIFICATE_FILE;
    credential.CertificateFile = &file;
    CHECK(QUIC_SUCCEEDED(Quic->ConfigurationLoadCredential(Stage.Server, &credential)));
    CHECK(QUIC_SUCCEEDED(Quic->ListenerOpen(Stage.Registration, StageListener, NULL, &Stage.Listener)));
    QUIC_ADDR address;
    memset(&address, 0, sizeof address);
    address.Ipv4.sin_family = AF_INET;
    address.Ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(QUIC_SUCCEEDED(Quic->ListenerStart(Stage.Listener, &Alpn, 1, &address)));
    uint32_t length = sizeof address;
    CHECK(QUIC_SUCCEEDED(Quic->GetParam(Stage.Listener, QUIC_PARAM_LISTENER_LOCAL_ADDRESS, &length, &address)));
    CHECK(length == sizeof address);
    Stage.Port = ntohs(address.Ipv4.sin_port);
    return 0;
}

static inline HQUIC OpenConnection(QUIC_CONNECTION_CALLBACK_HANDLER handler, void *context) {
    HQUIC connection;
    MUST(QUIC_SUCCEEDED(Quic->ConnectionOpen(Stage.Registration, handler, context, &connection)));
    return connection;
}

/* A client's connection to the server on the stage. */
static inline HQUIC Connect(HQUIC configuration, QUIC_CONNECTION_CALLBACK_HANDLER handler, void *context) {
    HQUIC connection = OpenConnection(handler, context);
    MUST(QUIC_SUCCEEDED(
        Quic->ConnectionStart(connection, configuration, QUIC_ADDRESS_FAMILY_INET, "localhost", Stage.Port)));
    return connection;
}

static inline int Play(const PLAY *play, const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    Quic = quic;
    Stage.Play = play;
    Stage.Chain = chain;
    Stage.Key = key;
    QUIC_REGISTRATION_CONFIG name = {"play", QUIC_EXECUTION_PROFILE_LOW_LATENCY};
    CHECK(QUIC_SUCCEEDED(Quic->RegistrationOpen(&name, &Stage.Registration)));
    int wrong = 0;
    if (port > 0) Stage.Port = (uint16_t)port;
    else wrong = OpenServer();
    if (!wrong && port) {
        QUIC_SETTINGS settings = StageSettings();
        Stage.Client = OpenClient(play->Judging, TRUE, &settings);
        wrong = play->Visit();
        Quic->ConfigurationClose(Stage.Client);
    } else if (!wrong) {
        printf("port %d\n", Stage.Port);
        fflush(stdout);
        while (getchar() != EOF) {}
    }
    /* The callbacks of what is still open would come back to a program that has left. */
    if (wrong) return wrong;
    if (port <= 0) Quic->ListenerClose(Stage.Listener);
    Quic->RegistrationShutdown(Stage.Registration, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
    if (port <= 0) Quic->ConfigurationClose(Stage.Server);
    Quic->RegistrationClose(Stage.Registration);
    return 0;
}

#endif
