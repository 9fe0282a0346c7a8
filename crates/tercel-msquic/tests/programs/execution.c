/*
 * An application that drives the library's workers from a loop of its own, which waits at an epoll instance for its own
 * events, too.
 */
#include "stage.h"

#include <sys/eventfd.h>
#include <unistd.h>

/* The loop: an execution context, and an event that ends it. */
static struct {
    QUIC_EVENTQ Queue;
    QUIC_EXECUTION *Execution;
    QUIC_SQE End;
    int Ended;
    pthread_t Thread;
    uint64_t Polls, Completions;
} Loop;

static void EndLoop(QUIC_CQE *cqe) {
    (void)cqe;
    Loop.Ended = 1;
}

static void *Drive(void *context) {
    (void)context;
    while (!Loop.Ended) {
        uint32_t wait = Quic->ExecutionPoll(Loop.Execution);
        ++Loop.Polls;
        QUIC_CQE events[8];
        int count = epoll_wait(Loop.Queue, events, 8, wait > 10000 ? 10000 : (int)wait);
        for (int at = 0; at < count; ++at) {
            /* Those of the library and our own are told apart by nothing. */
            QUIC_SQE *sqe = events[at].data.ptr;
            sqe->Completion(&events[at]);
            ++Loop.Completions;
        }
    }
    return NULL;
}

enum { LENGTH = 200000 };
static int Connected, Echoed, Ended;
static uint64_t Back;

static QUIC_STATUS ClientStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    (void)stream;
    (void)context;
    MUST(pthread_equal(pthread_self(), Loop.Thread));
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE:
        for (uint32_t of = 0; of < event->RECEIVE.BufferCount; ++of)
            for (uint32_t at = 0; at < event->RECEIVE.Buffers[of].Length; ++at)
                MUST(event->RECEIVE.Buffers[of].Buffer[at] == Pattern(Back++));
        break;
    case QUIC_STREAM_EVENT_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE: Tell(&Echoed); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    (void)connection;
    (void)context;
    /* Callbacks come from the loop, and from nowhere else. */
    MUST(pthread_equal(pthread_self(), Loop.Thread));
    if (event->Type == QUIC_CONNECTION_EVENT_CONNECTED) Tell(&Connected);
    if (event->Type == QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE) Tell(&Ended);
    return QUIC_STATUS_SUCCESS;
}

static int Visit(void) {
    HQUIC stream, connection = Connect(Stage.Client, ClientConnection, NULL);
    CHECK(Wait(&Connected, 1));
    CHECK(QUIC_SUCCEEDED(Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, NULL, &stream)));
    uint8_t *bytes = Patterns(LENGTH);
    QUIC_BUFFER buffer = {LENGTH, bytes};
    Send(stream, Copy(&buffer, 1, LENGTH), QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN);
    free(bytes);
    CHECK(Wait(&Echoed, 1) && Back == LENGTH);
    /* What waits for the loop can be called beside it. */
    Quic->StreamClose(stream);
    Quic->ConnectionShutdown(connection, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
    CHECK(Wait(&Ended, 1));
    Quic->ConnectionClose(connection);
    return 0;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    static const PLAY play = {EchoConnection, Visit, QUIC_CREDENTIAL_FLAG_NONE, FALSE};
    Quic = quic;
    Loop.Queue = epoll_create1(EPOLL_CLOEXEC);
    Loop.End.fd = eventfd(0, EFD_CLOEXEC);
    Loop.End.Completion = EndLoop;
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &Loop.End}};
    CHECK(Loop.Queue >= 0 && Loop.End.fd >= 0);
    CHECK(!epoll_ctl(Loop.Queue, EPOLL_CTL_ADD, Loop.End.fd, &event));
    QUIC_EXECUTION_CONFIG config = {0, &Loop.Queue};
    CHECK(QUIC_SUCCEEDED(
        Quic->ExecutionCreate(QUIC_GLOBAL_EXECUTION_CONFIG_FLAG_NONE, 0, 1, &config, &Loop.Execution)));
    CHECK(!pthread_create(&Loop.Thread, NULL, Drive, NULL));
    int wrong = Play(&play, quic, chain, key, port);
    if (wrong) return wrong;
    uint64_t one = 1;
    CHECK(write(Loop.End.fd, &one, sizeof one) == sizeof one);
    CHECK(!pthread_join(Loop.Thread, NULL));
    CHECK(Loop.Polls > 1 && Loop.Completions > 1);
    close(Loop.End.fd);
    /* The context ends with the library, and the queue after it: MsQuic's ExecutionDelete waits for just that. */
    return 0;
}
