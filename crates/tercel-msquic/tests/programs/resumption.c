/*
 * A client comes back with a ticket and sends early data. It says beforehand what the server shall make of the ticket:
 * the server puts that into it, finds it there again, and does so.
 */
#include "stage.h"

/* What the server does about a ticket: takes it, or not; at once, or later on a thread of its own. */
typedef enum { TAKE = 'T', REFUSE = 'R', TAKE_LATER = 't', REFUSE_LATER = 'r' } DOING;

static int IsTaken(char doing) {
    return doing == TAKE || doing == TAKE_LATER;
}

/* The server's judges, each for one connection. */
enum { JUDGES = 16 };
static struct {
    HQUIC Connection;
    BOOLEAN Takes;
    pthread_t Thread;
} Judges[JUDGES];
static int JudgeCount;

static void *JudgeTicket(void *context) {
    int at = (int)(intptr_t)context;
    Quic->ConnectionResumptionTicketValidationComplete(Judges[at].Connection, Judges[at].Takes);
    return NULL;
}

static QUIC_STATUS JudgeLater(HQUIC connection, BOOLEAN takes) {
    pthread_mutex_lock(&Lock);
    int at = JudgeCount++;
    pthread_mutex_unlock(&Lock);
    MUST(at < JUDGES);
    Judges[at].Connection = connection;
    Judges[at].Takes = takes;
    MUST(!pthread_create(&Judges[at].Thread, NULL, JudgeTicket, (void *)(intptr_t)at));
    return QUIC_STATUS_PENDING;
}

/* What of a stream is answered: whether its first byte came early, and whether the ticket of its connection was seen. */
static QUIC_STATUS ServerStream(HQUIC stream, void *connection, QUIC_STREAM_EVENT *event) {
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE:
        if (event->RECEIVE.TotalBufferLength) {
            char text[3] = {event->RECEIVE.Flags & QUIC_RECEIVE_FLAG_0_RTT ? 'e' : 'l', 0, 0};
            char *doing = Quic->GetContext((HQUIC)connection);
            text[1] = doing && *doing ? *doing : '-';
            /* A ticket that has this in it. */
            uint8_t wanted = event->RECEIVE.Buffers[0].Buffer[0];
            if (!(event->RECEIVE.Flags & QUIC_RECEIVE_FLAG_0_RTT))
                Quic->ConnectionSendResumptionTicket((HQUIC)connection, QUIC_SEND_RESUMPTION_FLAG_NONE, 1, &wanted);
            Send(stream, CopyText(text), QUIC_SEND_FLAG_FIN);
        }
        break;
    case QUIC_STREAM_EVENT_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE: Quic->StreamClose(stream); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ServerConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_RESUMED: {
        MUST(event->RESUMED.ResumptionStateLength == 1 && !context);
        char *doing = malloc(1);
        MUST(doing);
        *doing = (char)*event->RESUMED.ResumptionState;
        Quic->SetContext(connection, doing);
        switch ((DOING)*doing) {
        case TAKE: return QUIC_STATUS_SUCCESS;
        case REFUSE: return QUIC_STATUS_INVALID_STATE;
        case TAKE_LATER: return JudgeLater(connection, TRUE);
        case REFUSE_LATER: return JudgeLater(connection, FALSE);
        }
        MUST(!"a ticket of ours");
        break;
    }
    case QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED:
        Quic->SetCallbackHandler(event->PEER_STREAM_STARTED.Stream, (void *)ServerStream, connection);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE:
        free(context);
        Quic->ConnectionClose(connection);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

typedef struct {
    int Connected, Resumed, GotTicket, Answered, Ended;
    uint8_t Ticket[8192];
    uint32_t TicketLength;
    char Answer[8];
    uint32_t AnswerLength;
} CLIENT;

static QUIC_STATUS ClientStream(HQUIC stream, void *context, QUIC_STREAM_EVENT *event) {
    CLIENT *client = context;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE:
        for (uint32_t at = 0; at < event->RECEIVE.BufferCount; ++at) {
            const QUIC_BUFFER *part = &event->RECEIVE.Buffers[at];
            MUST(client->AnswerLength + part->Length < sizeof client->Answer);
            memcpy(client->Answer + client->AnswerLength, part->Buffer, part->Length);
            client->AnswerLength += part->Length;
        }
        break;
    case QUIC_STREAM_EVENT_SEND_COMPLETE: free(event->SEND_COMPLETE.ClientContext); break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE:
        Tell(&client->Answered);
        Quic->StreamClose(stream);
        break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS ClientConnection(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) {
    CLIENT *client = context;
    (void)connection;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_CONNECTED:
        client->Resumed = event->CONNECTED.SessionResumed;
        Tell(&client->Connected);
        break;
    case QUIC_CONNECTION_EVENT_RESUMPTION_TICKET_RECEIVED:
        client->TicketLength = event->RESUMPTION_TICKET_RECEIVED.ResumptionTicketLength;
        MUST(client->TicketLength <= sizeof client->Ticket);
        memcpy(client->Ticket, event->RESUMPTION_TICKET_RECEIVED.ResumptionTicket, client->TicketLength);
        Tell(&client->GotTicket);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: Tell(&client->Ended); break;
    default: break;
    }
    return QUIC_STATUS_SUCCESS;
}

static void Ask(HQUIC connection, CLIENT *client, char doing, QUIC_SEND_FLAGS flags) {
    HQUIC stream;
    QUIC_BUFFER text = {1, (uint8_t *)&doing};
    MUST(QUIC_SUCCEEDED(Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, ClientStream, client, &stream)));
    client->AnswerLength = 0;
    Send(stream, Copy(&text, 1, 1), (QUIC_SEND_FLAGS)(flags | QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN));
}

static int Leave(HQUIC connection, CLIENT *client) {
    Quic->ConnectionShutdown(connection, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
    CHECK(Wait(&client->Ended, 1));
    Quic->ConnectionClose(connection);
    return 0;
}

/* A first visit, which gets a ticket, and one that brings it. */
static int Twice(char doing) {
    CLIENT *first = calloc(1, sizeof *first), *second = calloc(1, sizeof *second);
    CHECK(first && second);
    HQUIC connection = Connect(Stage.Client, ClientConnection, first);
    CHECK(Wait(&first->Connected, 1) && !first->Resumed);
    Ask(connection, first, doing, QUIC_SEND_FLAG_NONE);
    CHECK(Wait(&first->Answered, 1) && !strcmp(first->Answer, "l-"));
    CHECK(Wait(&first->GotTicket, 1));
    int wrong = Leave(connection, first);
    if (wrong) return wrong;

    connection = OpenConnection(ClientConnection, second);
    CHECK(QUIC_SUCCEEDED(
        Quic->SetParam(connection, QUIC_PARAM_CONN_RESUMPTION_TICKET, first->TicketLength, first->Ticket)));
    Ask(connection, second, doing, QUIC_SEND_FLAG_ALLOW_0_RTT);
    CHECK(QUIC_SUCCEEDED(
        Quic->ConnectionStart(connection, Stage.Client, QUIC_ADDRESS_FAMILY_INET, "localhost", Stage.Port)));
    /* Data of a ticket that is refused is sent again. */
    CHECK(Wait(&second->Connected, 1) && Wait(&second->Answered, 1));
    CHECK(!second->Resumed == !IsTaken(doing));
    CHECK(second->Answer[0] == (IsTaken(doing) ? 'e' : 'l') && second->Answer[1] == doing);
    QUIC_STATISTICS_V2 statistics;
    uint32_t length = sizeof statistics;
    CHECK(QUIC_SUCCEEDED(Quic->GetParam(connection, QUIC_PARAM_CONN_STATISTICS_V2, &length, &statistics)));
    CHECK(!statistics.ResumptionSucceeded == !IsTaken(doing));
    wrong = Leave(connection, second);
    free(first);
    free(second);
    return wrong;
}

static int Visit(void) {
    const char all[] = {TAKE, REFUSE, TAKE_LATER, REFUSE_LATER};
    for (size_t at = 0; at < sizeof all; ++at) {
        int wrong = Twice(all[at]);
        if (wrong) return fprintf(stderr, "ticket to be treated so: %c\n", all[at]), wrong;
    }
    return 0;
}

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    static const PLAY play = {ServerConnection, Visit, QUIC_CREDENTIAL_FLAG_NONE, FALSE};
    int wrong = Play(&play, quic, chain, key, port);
    for (int at = 0; at < JudgeCount; ++at) pthread_join(Judges[at].Thread, NULL);
    return wrong;
}
