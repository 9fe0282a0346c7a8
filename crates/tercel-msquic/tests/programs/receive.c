/*
 * A client that takes what it receives as it likes: all of it within the callback; a part, and the rest when it has
 * enabled the stream again; later, on a thread of its own; and the same of several receives at a time.
 */
#include "stage.h"

typedef enum { AT_ONCE, IN_PARTS, LATER, MANY } MANNER;

enum { LENGTH = 1 << 20, PIECE = 8 * 1024 };

/* A server sends as many bytes, in pieces. */
typedef struct {
    uint8_t *Bytes;
    QUIC_BUFFER Pieces[LENGTH / PIECE];
} ANSWER;

static QUIC_STATUS ServerStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    ANSWER *answer = context;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_PEER_SEND_SHUTDOWN:
        for (int at = 0; at < LENGTH / PIECE; ++at) {
            answer->Pieces[at].Buffer = answer->Bytes + at * PIECE;
            answer->Pieces[at].Length = PIECE;
            QUIC_SEND_FLAGS flags = at + 1 < LENGTH / PIECE ? QUIC_SEND_FLAG_NONE : QUIC_SEND_FLAG_FIN;
            if (QUIC_FAILED(Quic->StreamSend(stream, &answer->Pieces[at], 1, flags, NULL))) break;
        }
        break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE:
        free(answer->Bytes);
        free(answer);
        Quic->StreamClose(stream);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ServerConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED: {
        ANSWER *answer = calloc(1, sizeof *answer);
        MUST(answer);
        answer->Bytes = Patterns(LENGTH);
        Quic->SetCallbackHandler(event->PEER_STREAM_STARTED.Stream, (void *)ServerStream, answer);
        break;
    }
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: Quic->ConnectionClose(connection); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

/* A receive that waits for the thread that takes it. */
typedef struct WAITING {
    struct WAITING *Next;
    uint64_t Offset, Length;
    uint32_t Count;
    QUIC_BUFFER Buffers[];
} WAITING;

typedef struct {
    MANNER Manner;
    HQUIC Stream;
    pthread_t Taker;
    WAITING *First, **Last;
    /* How many receives wait, and how many did at most. */
    int Waiting, Most;
    uint64_t Taken;
    int Parts, FinSeen, Over, Ended, Connected, ConnectionEnded;
} CLIENT;

/* Looks at the first bytes of what came. */
static void Look(CLIENT *client, const QUIC_BUFFER *buffers, uint32_t count, uint64_t length) {
    for (uint32_t of = 0; of < count && length; ++of) {
        uint64_t here = length < buffers[of].Length ? length : buffers[of].Length;
        for (uint64_t at = 0; at < here; ++at) MUST(buffers[of].Buffer[at] == Pattern(client->Taken + at));
        client->Taken += here;
        length -= here;
    }
    MUST(!length);
}

/* Takes what waits, until the stream is over. */
static void *Take(void *context) {
    CLIENT *client = context;
    pthread_mutex_lock(&Lock);
    for (;;) {
        while (!client->First && !client->Over && !client->Parts) pthread_cond_wait(&Changed, &Lock);
        WAITING *waiting = client->First;
        if (waiting) {
            /* As long as it looks, it still waits. With several at a time it begins when there are some. */
            int begin = client->Manner != MANY || client->Waiting > 1 || client->FinSeen || client->Most > 1;
            if (!begin) {
                pthread_cond_wait(&Changed, &Lock);
                continue;
            }
            client->First = waiting->Next;
            if (!client->First) client->Last = &client->First;
            pthread_mutex_unlock(&Lock);
            MUST(waiting->Offset == client->Taken);
            Look(client, waiting->Buffers, waiting->Count, waiting->Length);
            pthread_mutex_lock(&Lock);
            --client->Waiting;
            pthread_mutex_unlock(&Lock);
            Quic->StreamReceiveComplete(client->Stream, waiting->Length);
            free(waiting);
            pthread_mutex_lock(&Lock);
        } else if (client->Parts) {
            --client->Parts;
            pthread_mutex_unlock(&Lock);
            MUST(QUIC_SUCCEEDED(Quic->StreamReceiveSetEnabled(client->Stream, TRUE)));
            pthread_mutex_lock(&Lock);
        } else {
            break;
        }
    }
    pthread_mutex_unlock(&Lock);
    return NULL;
}

static QUIC_STATUS Receive(CLIENT *client, QUIC_STREAM_EVENT *event) {
    uint64_t length = event->RECEIVE.TotalBufferLength;
    const QUIC_BUFFER *buffers = event->RECEIVE.Buffers;
    uint32_t count = event->RECEIVE.BufferCount;
    switch (client->Manner) {
    case AT_ONCE:
        MUST(event->RECEIVE.AbsoluteOffset == client->Taken);
        Look(client, buffers, count, length);
        return QUIC_STATUS_SUCCESS;
    case IN_PARTS: {
        MUST(event->RECEIVE.AbsoluteOffset == client->Taken);
        uint64_t part = length > 1000 ? length / 3 : length;
        Look(client, buffers, count, part);
        event->RECEIVE.TotalBufferLength = part;
        if (part < length) Tell(&client->Parts);
        return QUIC_STATUS_SUCCESS;
    }
    case LATER:
    case MANY: {
        if (!length) return QUIC_STATUS_SUCCESS;
        WAITING *waiting = malloc(sizeof *waiting + count * sizeof *buffers);
        MUST(waiting);
        waiting->Next = NULL;
        waiting->Offset = event->RECEIVE.AbsoluteOffset;
        waiting->Length = length;
        waiting->Count = count;
        memcpy(waiting->Buffers, buffers, count * sizeof *buffers);
        pthread_mutex_lock(&Lock);
        *client->Last = waiting;
        client->Last = &waiting->Next;
        if (++client->Waiting > client->Most) client->Most = client->Waiting;
        if (event->RECEIVE.Flags & QUIC_RECEIVE_FLAG_FIN) client->FinSeen = 1;
        pthread_cond_broadcast(&Changed);
        pthread_mutex_unlock(&Lock);
        return QUIC_STATUS_PENDING;
    }
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ClientStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    CLIENT *client = context;
    (void)stream;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE: return Receive(client, event);
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE:
        MUST(!event->SHUTDOWN_COMPLETE.ConnectionShutdown);
        Tell(&client->Ended);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    CLIENT *client = context;
    (void)connection;
    if (event->Type == QUIC_CONNECTION_EVENT_CONNECTED) Tell(&client->Connected);
    if (event->Type == QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE) Tell(&client->ConnectionEnded);
    return QUIC_STATUS_SUCCESS;
}

static int Try(MANNER manner, HQUIC configuration) {
    CLIENT *client = calloc(1, sizeof *client);
    CHECK(client);
    client->Manner = manner;
    client->Last = &client->First;
    HQUIC connection = Connect(configuration, ClientConnection, client);
    CHECK(Wait(&client->Connected, 1));
    CHECK(QUIC_SUCCEEDED(
        Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, client, &client->Stream)));
    CHECK(!pthread_create(&client->Taker, NULL, Take, client));
    CHECK(QUIC_SUCCEEDED(
        Quic->StreamSend(client->Stream, NULL, 0, QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN, NULL)));
    CHECK(Wait(&client->Ended, 1));
    Tell(&client->Over);
    CHECK(!pthread_join(client->Taker, NULL));
    CHECK(client->Taken == LENGTH);
    /* What is taken later comes one by one, or not. */
    if (manner == LATER) CHECK(client->Most == 1);
    if (manner == MANY) CHECK(client->Most > 1);
    Quic->StreamClose(client->Stream);
    Quic->ConnectionShutdown(connection, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
    CHECK(Wait(&client->ConnectionEnded, 1));
    Quic->ConnectionClose(connection);
    free(client);
    return 0;
}

static int Visit(void) {
    QUIC_SETTINGS settings = StageSettings();
    settings.StreamMultiReceiveEnabled = TRUE;
    settings.IsSet.StreamMultiReceiveEnabled = TRUE;
    HQUIC many = OpenClient(Stage.Play->Judging, TRUE, &settings);
    int wrong = 0;
    for (MANNER manner = AT_ONCE; manner <= MANY && !wrong; ++manner) {
        wrong = Try(manner, manner == MANY ? many : Stage.Client);
        if (wrong) fprintf(stderr, "manner %d\n", manner);
    }
    Quic->ConfigurationClose(many);
    return wrong;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    static const PLAY play = {ServerConnection, Visit, QUIC_CREDENTIAL_FLAG_NONE, TRUE};
    return Play(&play, quic, chain, key, port);
}
