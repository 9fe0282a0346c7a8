/*
 * Files go to a server and come back: `put NAME\n` and the bytes, which it stores and says how many they were; `get
 * NAME\n`, which it answers with the bytes. Sends are read where they lie, and as much is under way as the library asks
 * for.
 */
#include "stage.h"

#include <unistd.h>

enum { PIECE = 64 * 1024, FILE_LENGTH = 3 * 1024 * 1024 + 17 };

/* A piece of a file under way. */
typedef struct {
    QUIC_BUFFER Buffer;
    uint8_t Bytes[PIECE];
} PIECES;

/* One end of a transfer. */
typedef struct {
    FILE *From, *To;
    uint64_t UnderWay, Ideal, Stored;
    int Ended, FinSent, RequestLength;
    char Request[64], Answer[64];
    int AnswerLength;
} TRANSFER;

static char Directory[64];

static void PathOf(char *path, const char *name) {
    MUST(!strchr(name, '/'));
    MUST(snprintf(path, 128, "%s/%s", Directory, name) < 128);
}

static TRANSFER *NewTransfer(void) {
    TRANSFER *transfer = calloc(1, sizeof *transfer);
    MUST(transfer);
    transfer->Ideal = 2 * PIECE;
    return transfer;
}

/* Sends what is left of the file, as far as so much may be under way. */
static void Pump(HQUIC stream, TRANSFER *transfer) {
    while (transfer->From && transfer->UnderWay < transfer->Ideal) {
        PIECES *piece = malloc(sizeof *piece);
        MUST(piece);
        piece->Buffer.Buffer = piece->Bytes;
        piece->Buffer.Length = (uint32_t)fread(piece->Bytes, 1, PIECE, transfer->From);
        QUIC_SEND_FLAGS flags = QUIC_SEND_FLAG_NONE;
        if (piece->Buffer.Length < PIECE) {
            flags = QUIC_SEND_FLAG_FIN;
            fclose(transfer->From);
            transfer->From = NULL;
        }
        if (QUIC_FAILED(Quic->StreamSend(stream, &piece->Buffer, 1, flags, piece))) {
            free(piece);
            return;
        }
        transfer->UnderWay += piece->Buffer.Length;
    }
}

/* What both ends do about sends; whether that was it. */
static int Sending(HQUIC stream, TRANSFER *transfer, QUIC_STREAM_EVENT *event) {
    switch (event->Type) {
    case QUIC_STREAM_EVENT_SEND_COMPLETE: {
        PIECES *piece = event->SEND_COMPLETE.ClientContext;
        transfer->UnderWay -= piece->Buffer.Length;
        free(piece);
        if (!event->SEND_COMPLETE.Canceled) Pump(stream, transfer);
        return 1;
    }
    case QUIC_STREAM_EVENT_IDEAL_SEND_BUFFER_SIZE:
        transfer->Ideal = event->IDEAL_SEND_BUFFER_SIZE.ByteCount;
        Pump(stream, transfer);
        return 1;
    default: return 0;
    }
}

/* A text, as a piece of its own. */
static void SendText(HQUIC stream, TRANSFER *transfer, const char *text, QUIC_SEND_FLAGS flags) {
    PIECES *piece = malloc(sizeof *piece);
    MUST(piece);
    piece->Buffer.Buffer = piece->Bytes;
    piece->Buffer.Length = (uint32_t)strlen(text);
    memcpy(piece->Bytes, text, piece->Buffer.Length);
    transfer->UnderWay += piece->Buffer.Length;
    if (QUIC_FAILED(Quic->StreamSend(stream, &piece->Buffer, 1, flags, piece))) free(piece);
}

/* The server reads the line of a request, and stores what follows. */
static void Take(TRANSFER *transfer, const uint8_t *bytes, uint32_t length) {
    while (length && !transfer->To && !memchr(transfer->Request, '\n', (size_t)transfer->RequestLength)) {
        MUST(transfer->RequestLength < (int)sizeof transfer->Request - 1);
        transfer->Request[transfer->RequestLength++] = (char)*bytes++;
        --length;
    }
    char *end = memchr(transfer->Request, '\n', (size_t)transfer->RequestLength);
    if (end && !transfer->To && !strncmp(transfer->Request, "put ", 4)) {
        char path[128];
        *end = 0;
        PathOf(path, transfer->Request + 4);
        *end = '\n';
        transfer->To = fopen(path, "wb");
        MUST(transfer->To);
    }
    if (length) {
        MUST(transfer->To && fwrite(bytes, 1, length, transfer->To) == length);
        transfer->Stored += length;
    }
}

static void Answer(HQUIC stream, TRANSFER *transfer) {
    if (transfer->To) {
        fclose(transfer->To);
        transfer->To = NULL;
        char text[64];
        snprintf(text, sizeof text, "stored %llu", (unsigned long long)transfer->Stored);
        SendText(stream, transfer, text, QUIC_SEND_FLAG_FIN);
        return;
    }
    char path[128];
    transfer->Request[transfer->RequestLength - 1] = 0;
    MUST(!strncmp(transfer->Request, "get ", 4));
    PathOf(path, transfer->Request + 4);
    transfer->From = fopen(path, "rb");
    if (transfer->From) Pump(stream, transfer);
    else Quic->StreamShutdown(stream, QUIC_STREAM_SHUTDOWN_FLAG_ABORT_SEND, 404);
}

static QUIC_STATUS ServerStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    TRANSFER *transfer = context;
    if (Sending(stream, transfer, event)) return QUIC_STATUS_SUCCESS;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE:
        for (uint32_t at = 0; at < event->RECEIVE.BufferCount; ++at)
            Take(transfer, event->RECEIVE.Buffers[at].Buffer, event->RECEIVE.Buffers[at].Length);
        break;
    case QUIC_STREAM_EVENT_PEER_SEND_SHUTDOWN: Answer(stream, transfer); break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE:
        if (transfer->From) fclose(transfer->From);
        if (transfer->To) fclose(transfer->To);
        free(transfer);
        Quic->StreamClose(stream);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ServerConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)context;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED:
        Quic->SetCallbackHandler(event->PEER_STREAM_STARTED.Stream, (void *)ServerStream, NewTransfer());
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: Quic->ConnectionClose(connection); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_UINT62 Refused;

static QUIC_STATUS ClientStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    TRANSFER *transfer = context;
    if (Sending(stream, transfer, event)) return QUIC_STATUS_SUCCESS;
    switch (event->Type) {
    /* From here on only callbacks send. */
    case QUIC_STREAM_EVENT_START_COMPLETE: Pump(stream, transfer); break;
    case QUIC_STREAM_EVENT_RECEIVE:
        for (uint32_t at = 0; at < event->RECEIVE.BufferCount; ++at) {
            const QUIC_BUFFER *part = &event->RECEIVE.Buffers[at];
            if (transfer->To) {
                MUST(fwrite(part->Buffer, 1, part->Length, transfer->To) == part->Length);
            } else {
                MUST(transfer->AnswerLength + (int)part->Length < (int)sizeof transfer->Answer);
                memcpy(transfer->Answer + transfer->AnswerLength, part->Buffer, part->Length);
                transfer->AnswerLength += (int)part->Length;
            }
        }
        break;
    case QUIC_STREAM_EVENT_PEER_SEND_ABORTED: Refused = event->PEER_SEND_ABORTED.ErrorCode; break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE: Tell(&transfer->Ended); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static int Connected, Ended;

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)connection;
    (void)context;
    if (event->Type == QUIC_CONNECTION_EVENT_CONNECTED) Tell(&Connected);
    if (event->Type == QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE) Tell(&Ended);
    return QUIC_STATUS_SUCCESS;
}

static int Finish(HQUIC stream, TRANSFER *transfer) {
    CHECK(Wait(&transfer->Ended, 1));
    Quic->StreamClose(stream);
    if (transfer->To) fclose(transfer->To);
    free(transfer);
    return 0;
}

static int Transfers(HQUIC connection) {
    char original[128], copy[128], name[32], text[64], wanted[64];
    snprintf(name, sizeof name, "stored-%d", (int)getpid());
    PathOf(original, "original");
    PathOf(copy, "copy");
    uint8_t *bytes = Patterns(FILE_LENGTH);
    FILE *file = fopen(original, "wb");
    CHECK(file && fwrite(bytes, 1, FILE_LENGTH, file) == FILE_LENGTH && !fclose(file));

    TRANSFER *put = NewTransfer();
    HQUIC stream;
    CHECK(QUIC_SUCCEEDED(Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, put, &stream)));
    snprintf(text, sizeof text, "put %s\n", name);
    put->From = fopen(original, "rb");
    CHECK(put->From);
    SendText(stream, put, text, QUIC_SEND_FLAG_START);
    CHECK(Wait(&put->Ended, 1));
    snprintf(wanted, sizeof wanted, "stored %d", FILE_LENGTH);
    CHECK(!strcmp(put->Answer, wanted));
    int wrong = Finish(stream, put);
    if (wrong) return wrong;

    TRANSFER *get = NewTransfer();
    get->To = fopen(copy, "wb");
    CHECK(get->To);
    CHECK(QUIC_SUCCEEDED(Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, get, &stream)));
    snprintf(text, sizeof text, "get %s\n", name);
    SendText(stream, get, text, QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN);
    if ((wrong = Finish(stream, get))) return wrong;
    file = fopen(copy, "rb");
    CHECK(file);
    uint8_t *back = malloc(FILE_LENGTH + 1);
    CHECK(back && fread(back, 1, FILE_LENGTH + 1, file) == FILE_LENGTH && !memcmp(back, bytes, FILE_LENGTH));
    fclose(file);
    free(back);
    free(bytes);

    TRANSFER *none = NewTransfer();
    CHECK(QUIC_SUCCEEDED(Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, none, &stream)));
    SendText(stream, none, "get nothing\n", QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN);
    if ((wrong = Finish(stream, none))) return wrong;
    CHECK(Refused == 404);
    unlink(original);
    unlink(copy);
    return 0;
}

static int Visit(void) {
    HQUIC connection = Connect(Stage.Client, ClientConnection, NULL);
    CHECK(Wait(&Connected, 1));
    int wrong = Transfers(connection);
    if (wrong) return wrong;
    Quic->ConnectionShutdown(connection, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
    CHECK(Wait(&Ended, 1));
    Quic->ConnectionClose(connection);
    return 0;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    static const PLAY play = {ServerConnection, Visit, QUIC_CREDENTIAL_FLAG_NONE, TRUE};
    const char *temporary = getenv("TMPDIR");
    snprintf(Directory, sizeof Directory, "%s/files-XXXXXX", temporary ? temporary : "/tmp");
    CHECK(mkdtemp(Directory));
    int wrong = Play(&play, quic, chain, key, port);
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", Directory);
    CHECK(!system(command));
    return wrong;
}
