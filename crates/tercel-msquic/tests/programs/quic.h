/*
 * What a C program sees of MsQuic's interface, version 2: written from its public documentation, and only what the
 * programs here use.
 */
#ifndef PROGRAMS_QUIC_H
#define PROGRAMS_QUIC_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

typedef struct quic_handle *HQUIC;
typedef unsigned int QUIC_STATUS;
typedef uint8_t BOOLEAN;

#define QUIC_STATUS_SUCCESS ((QUIC_STATUS)0)
#define QUIC_STATUS_PENDING ((QUIC_STATUS)-2)
#define QUIC_FAILED(status) ((int)(status) > 0)

typedef struct { uint32_t Length; uint8_t *Buffer; } QUIC_BUFFER;
typedef union { struct sockaddr Ip; struct sockaddr_in Ipv4; struct sockaddr_in6 Ipv6; } QUIC_ADDR;
typedef struct { const char *AppName; int ExecutionProfile; } QUIC_REGISTRATION_CONFIG;
typedef struct { const char *PrivateKeyFile, *CertificateFile; } QUIC_CERTIFICATE_FILE;
typedef struct {
    int Type;
    int Flags;
    const void *Certificate;
    const char *Principal;
    void *Reserved;
    void *AsyncHandler;
    int AllowedCipherSuites;
    const char *CaCertificateFile;
} QUIC_CREDENTIAL_CONFIG;

enum { CREDENTIAL_NONE = 0, CREDENTIAL_FILE = 4 };
enum {
    CREDENTIAL_CLIENT = 1,
    CREDENTIAL_INDICATE = 0x10,
    CREDENTIAL_DEFER = 0x20,
    CREDENTIAL_PORTABLE = 0x4000,
    CREDENTIAL_CA_FILE = 0x100000
};

/* Bits of IsSet and the fields that they stand for, as far as they are set here. */
typedef struct {
    uint64_t IsSet;
    uint8_t before_counts[86];
    uint16_t PeerBidiStreamCount;
    uint16_t PeerUnidiStreamCount;
    uint8_t between[8];
    uint8_t Bits;
    uint8_t rest[37];
} QUIC_SETTINGS;

#define SETTINGS_PEER_BIDI ((uint64_t)1 << 18)
#define SETTINGS_PEER_UNIDI ((uint64_t)1 << 19)
#define SETTINGS_SEND_BUFFERING ((uint64_t)1 << 24)
#define SETTINGS_DATAGRAMS ((uint64_t)1 << 27)
#define SETTINGS_RESUMPTION ((uint64_t)1 << 28)
#define BIT_DATAGRAMS (1 << 3)
#define BITS_RESUME_EARLY (2 << 4)

typedef struct {
    int Type;
    union {
        struct { const void *Info; HQUIC Connection; } NEW_CONNECTION;
    };
} QUIC_LISTENER_EVENT;

enum { LISTENER_NEW_CONNECTION = 0, LISTENER_STOP_COMPLETE = 1 };

typedef struct {
    int Type;
    union {
        struct { BOOLEAN SessionResumed; uint8_t NegotiatedAlpnLength; const uint8_t *NegotiatedAlpn; } CONNECTED;
        struct { QUIC_STATUS Status; uint64_t ErrorCode; } SHUTDOWN_INITIATED_BY_TRANSPORT;
        struct { uint64_t ErrorCode; } SHUTDOWN_INITIATED_BY_PEER;
        struct { BOOLEAN Bits; } SHUTDOWN_COMPLETE;
        struct { HQUIC Stream; int Flags; } PEER_STREAM_STARTED;
        struct { const QUIC_BUFFER *Buffer; int Flags; } DATAGRAM_RECEIVED;
        struct { void *ClientContext; int State; } DATAGRAM_SEND_STATE_CHANGED;
        struct { uint16_t ResumptionStateLength; const uint8_t *ResumptionState; } RESUMED;
        struct { uint32_t ResumptionTicketLength; const uint8_t *ResumptionTicket; } RESUMPTION_TICKET_RECEIVED;
        struct { void *Certificate; uint32_t Flags; QUIC_STATUS DeferredStatus; void *Chain; } PEER_CERTIFICATE_RECEIVED;
        uint8_t largest[48];
        uint64_t aligned;
    };
} QUIC_CONNECTION_EVENT;

enum {
    CONNECTION_CONNECTED = 0,
    CONNECTION_SHUTDOWN_BY_TRANSPORT = 1,
    CONNECTION_SHUTDOWN_BY_PEER = 2,
    CONNECTION_SHUTDOWN_COMPLETE = 3,
    CONNECTION_PEER_STREAM_STARTED = 6,
    CONNECTION_DATAGRAM_RECEIVED = 11,
    CONNECTION_DATAGRAM_STATE = 12,
    CONNECTION_RESUMED = 13,
    CONNECTION_TICKET = 14,
    CONNECTION_CERTIFICATE = 15
};

typedef struct {
    int Type;
    union {
        struct { QUIC_STATUS Status; uint64_t ID; BOOLEAN PeerAccepted; } START_COMPLETE;
        struct {
            uint64_t AbsoluteOffset;
            uint64_t TotalBufferLength;
            const QUIC_BUFFER *Buffers;
            uint32_t BufferCount;
            int Flags;
        } RECEIVE;
        struct { BOOLEAN Canceled; void *ClientContext; } SEND_COMPLETE;
        struct { uint64_t ErrorCode; } PEER_SEND_ABORTED;
    };
} QUIC_STREAM_EVENT;

enum {
    STREAM_START_COMPLETE = 0,
    STREAM_RECEIVE = 1,
    STREAM_SEND_COMPLETE = 2,
    STREAM_PEER_SEND_SHUTDOWN = 3,
    STREAM_PEER_SEND_ABORTED = 4,
    STREAM_SHUTDOWN_COMPLETE = 7
};

enum { SEND_ALLOW_0_RTT = 1, SEND_START = 2, SEND_FIN = 4 };
enum { RECEIVE_FIN = 2 };
enum { SHUTDOWN_GRACEFUL = 1, SHUTDOWN_ABORT = 6 };

typedef QUIC_STATUS (*QUIC_LISTENER_CALLBACK)(HQUIC, void *, QUIC_LISTENER_EVENT *);
typedef QUIC_STATUS (*QUIC_CONNECTION_CALLBACK)(HQUIC, void *, QUIC_CONNECTION_EVENT *);
typedef QUIC_STATUS (*QUIC_STREAM_CALLBACK)(HQUIC, void *, QUIC_STREAM_EVENT *);

typedef struct {
    void (*SetContext)(HQUIC, void *);
    void *(*GetContext)(HQUIC);
    void (*SetCallbackHandler)(HQUIC, void *, void *);
    QUIC_STATUS (*SetParam)(HQUIC, uint32_t, uint32_t, const void *);
    QUIC_STATUS (*GetParam)(HQUIC, uint32_t, uint32_t *, void *);
    QUIC_STATUS (*RegistrationOpen)(const QUIC_REGISTRATION_CONFIG *, HQUIC *);
    void (*RegistrationClose)(HQUIC);
    void (*RegistrationShutdown)(HQUIC, int, uint64_t);
    QUIC_STATUS (*ConfigurationOpen)(HQUIC, const QUIC_BUFFER *, uint32_t, const QUIC_SETTINGS *, uint32_t, void *, HQUIC *);
    void (*ConfigurationClose)(HQUIC);
    QUIC_STATUS (*ConfigurationLoadCredential)(HQUIC, const QUIC_CREDENTIAL_CONFIG *);
    QUIC_STATUS (*ListenerOpen)(HQUIC, QUIC_LISTENER_CALLBACK, void *, HQUIC *);
    void (*ListenerClose)(HQUIC);
    QUIC_STATUS (*ListenerStart)(HQUIC, const QUIC_BUFFER *, uint32_t, const QUIC_ADDR *);
    void (*ListenerStop)(HQUIC);
    QUIC_STATUS (*ConnectionOpen)(HQUIC, QUIC_CONNECTION_CALLBACK, void *, HQUIC *);
    void (*ConnectionClose)(HQUIC);
    void (*ConnectionShutdown)(HQUIC, int, uint64_t);
    QUIC_STATUS (*ConnectionStart)(HQUIC, HQUIC, uint16_t, const char *, uint16_t);
    QUIC_STATUS (*ConnectionSetConfiguration)(HQUIC, HQUIC);
    QUIC_STATUS (*ConnectionSendResumptionTicket)(HQUIC, int, uint16_t, const uint8_t *);
    QUIC_STATUS (*StreamOpen)(HQUIC, int, QUIC_STREAM_CALLBACK, void *, HQUIC *);
    void (*StreamClose)(HQUIC);
    QUIC_STATUS (*StreamStart)(HQUIC, int);
    QUIC_STATUS (*StreamShutdown)(HQUIC, int, uint64_t);
    QUIC_STATUS (*StreamSend)(HQUIC, const QUIC_BUFFER *, uint32_t, int, void *);
    void (*StreamReceiveComplete)(HQUIC, uint64_t);
    QUIC_STATUS (*StreamReceiveSetEnabled)(HQUIC, BOOLEAN);
    QUIC_STATUS (*DatagramSend)(HQUIC, const QUIC_BUFFER *, uint32_t, int, void *);
    QUIC_STATUS (*ConnectionResumptionTicketValidationComplete)(HQUIC, BOOLEAN);
    QUIC_STATUS (*ConnectionCertificateValidationComplete)(HQUIC, BOOLEAN, int);
} QUIC_API_TABLE;

#define PARAM_LISTENER_LOCAL_ADDRESS 0x04000000
#define PARAM_CONN_RESUMPTION_TICKET 0x05000010

#ifdef __cplusplus
extern "C" {
#endif
QUIC_STATUS MsQuicOpenVersion(uint32_t version, const void **table);
void MsQuicClose(const void *table);
/* What each program here is: 0 if all went well, else the line that found that it did not. */
int run(const QUIC_API_TABLE *quic, const char *chain, const char *key);
#ifdef __cplusplus
}
#endif

#endif
