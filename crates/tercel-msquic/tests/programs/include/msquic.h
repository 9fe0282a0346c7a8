/*
 * What a program sees of MsQuic's interface, version 2, on Linux: written from its public documentation, as far as the
 * programs here use it. They compile as well with the header that MsQuic itself comes with (`interop/abi/programs`).
 */
#ifndef PROGRAMS_MSQUIC_H
#define PROGRAMS_MSQUIC_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#ifdef __cplusplus
extern "C" {
/* Flags stay flags in C++. */
#define QUIC_FLAGS(type) \
    extern "C++" { \
        static inline type operator|(type left, type right) { return (type)((unsigned)left | (unsigned)right); } \
        static inline type operator&(type left, type right) { return (type)((unsigned)left & (unsigned)right); } \
    }
#else
#define QUIC_FLAGS(type)
#endif

typedef struct QUIC_HANDLE *HQUIC;
typedef unsigned int QUIC_STATUS;
typedef unsigned char BOOLEAN;
typedef uint64_t QUIC_UINT62;
typedef sa_family_t QUIC_ADDRESS_FAMILY;

#define FALSE 0
#define TRUE 1

#define QUIC_FAILED(status) ((int)(status) > 0)
#define QUIC_SUCCEEDED(status) ((int)(status) <= 0)
#define QUIC_STATUS_SUCCESS ((QUIC_STATUS)0)
#define QUIC_STATUS_PENDING ((QUIC_STATUS)-2)
#define QUIC_STATUS_CONTINUE ((QUIC_STATUS)-1)
#define QUIC_STATUS_INVALID_STATE ((QUIC_STATUS)1)
#define QUIC_STATUS_INVALID_PARAMETER ((QUIC_STATUS)22)
#define QUIC_STATUS_BUFFER_TOO_SMALL ((QUIC_STATUS)75)
#define QUIC_STATUS_TLS_ALERT(alert) ((QUIC_STATUS)((0xff & (alert)) + 200000256))
#define QUIC_STATUS_BAD_CERTIFICATE QUIC_STATUS_TLS_ALERT(42)

#define QUIC_ADDRESS_FAMILY_UNSPEC AF_UNSPEC
#define QUIC_ADDRESS_FAMILY_INET AF_INET
#define QUIC_ADDRESS_FAMILY_INET6 AF_INET6

typedef union QUIC_ADDR {
    struct sockaddr Ip;
    struct sockaddr_in Ipv4;
    struct sockaddr_in6 Ipv6;
} QUIC_ADDR;

typedef struct QUIC_BUFFER {
    uint32_t Length;
    uint8_t *Buffer;
} QUIC_BUFFER;

/* Registrations. */

typedef enum QUIC_EXECUTION_PROFILE {
    QUIC_EXECUTION_PROFILE_LOW_LATENCY,
    QUIC_EXECUTION_PROFILE_TYPE_MAX_THROUGHPUT,
    QUIC_EXECUTION_PROFILE_TYPE_SCAVENGER,
    QUIC_EXECUTION_PROFILE_TYPE_REAL_TIME
} QUIC_EXECUTION_PROFILE;

typedef struct QUIC_REGISTRATION_CONFIG {
    const char *AppName;
    QUIC_EXECUTION_PROFILE ExecutionProfile;
} QUIC_REGISTRATION_CONFIG;

/* Credentials. */

typedef enum QUIC_CREDENTIAL_TYPE {
    QUIC_CREDENTIAL_TYPE_NONE,
    QUIC_CREDENTIAL_TYPE_CERTIFICATE_HASH,
    QUIC_CREDENTIAL_TYPE_CERTIFICATE_HASH_STORE,
    QUIC_CREDENTIAL_TYPE_CERTIFICATE_CONTEXT,
    QUIC_CREDENTIAL_TYPE_CERTIFICATE_FILE,
    QUIC_CREDENTIAL_TYPE_CERTIFICATE_FILE_PROTECTED,
    QUIC_CREDENTIAL_TYPE_CERTIFICATE_PKCS12
} QUIC_CREDENTIAL_TYPE;

typedef enum QUIC_CREDENTIAL_FLAGS {
    QUIC_CREDENTIAL_FLAG_NONE = 0,
    QUIC_CREDENTIAL_FLAG_CLIENT = 0x1,
    QUIC_CREDENTIAL_FLAG_NO_CERTIFICATE_VALIDATION = 0x4,
    QUIC_CREDENTIAL_FLAG_INDICATE_CERTIFICATE_RECEIVED = 0x10,
    QUIC_CREDENTIAL_FLAG_DEFER_CERTIFICATE_VALIDATION = 0x20,
    QUIC_CREDENTIAL_FLAG_REQUIRE_CLIENT_AUTHENTICATION = 0x40,
    QUIC_CREDENTIAL_FLAG_USE_PORTABLE_CERTIFICATES = 0x4000,
    QUIC_CREDENTIAL_FLAG_SET_CA_CERTIFICATE_FILE = 0x100000
} QUIC_CREDENTIAL_FLAGS;
QUIC_FLAGS(QUIC_CREDENTIAL_FLAGS)

typedef enum QUIC_ALLOWED_CIPHER_SUITE_FLAGS {
    QUIC_ALLOWED_CIPHER_SUITE_NONE = 0
} QUIC_ALLOWED_CIPHER_SUITE_FLAGS;

typedef struct QUIC_CERTIFICATE_FILE {
    const char *PrivateKeyFile;
    const char *CertificateFile;
} QUIC_CERTIFICATE_FILE;

typedef void QUIC_CERTIFICATE;
typedef void QUIC_CERTIFICATE_CHAIN;

typedef void(QUIC_CREDENTIAL_LOAD_COMPLETE)(HQUIC Configuration, void *Context, QUIC_STATUS Status);

typedef struct QUIC_CREDENTIAL_CONFIG {
    QUIC_CREDENTIAL_TYPE Type;
    QUIC_CREDENTIAL_FLAGS Flags;
    union {
        QUIC_CERTIFICATE *CertificateContext;
        QUIC_CERTIFICATE_FILE *CertificateFile;
    };
    const char *Principal;
    void *Reserved;
    QUIC_CREDENTIAL_LOAD_COMPLETE *AsyncHandler;
    QUIC_ALLOWED_CIPHER_SUITE_FLAGS AllowedCipherSuites;
    const char *CaCertificateFile;
} QUIC_CREDENTIAL_CONFIG;

typedef enum QUIC_TLS_ALERT_CODES {
    QUIC_TLS_ALERT_CODE_SUCCESS = 0xffff,
    QUIC_TLS_ALERT_CODE_BAD_CERTIFICATE = 42,
    QUIC_TLS_ALERT_CODE_CERTIFICATE_REVOKED = 44,
    QUIC_TLS_ALERT_CODE_MAX = 255
} QUIC_TLS_ALERT_CODES;

/* Settings. */

typedef enum QUIC_SERVER_RESUMPTION_LEVEL {
    QUIC_SERVER_NO_RESUME,
    QUIC_SERVER_RESUME_ONLY,
    QUIC_SERVER_RESUME_AND_ZERORTT
} QUIC_SERVER_RESUMPTION_LEVEL;

typedef struct QUIC_SETTINGS {
    union {
        uint64_t IsSetFlags;
        struct {
            uint64_t MaxBytesPerKey : 1;
            uint64_t HandshakeIdleTimeoutMs : 1;
            uint64_t IdleTimeoutMs : 1;
            uint64_t MtuDiscoverySearchCompleteTimeoutUs : 1;
            uint64_t TlsClientMaxSendBuffer : 1;
            uint64_t TlsServerMaxSendBuffer : 1;
            uint64_t StreamRecvWindowDefault : 1;
            uint64_t StreamRecvBufferDefault : 1;
            uint64_t ConnFlowControlWindow : 1;
            uint64_t MaxWorkerQueueDelayUs : 1;
            uint64_t MaxStatelessOperations : 1;
            uint64_t InitialWindowPackets : 1;
            uint64_t SendIdleTimeoutMs : 1;
            uint64_t InitialRttMs : 1;
            uint64_t MaxAckDelayMs : 1;
            uint64_t DisconnectTimeoutMs : 1;
            uint64_t KeepAliveIntervalMs : 1;
            uint64_t CongestionControlAlgorithm : 1;
            uint64_t PeerBidiStreamCount : 1;
            uint64_t PeerUnidiStreamCount : 1;
            uint64_t MaxBindingStatelessOperations : 1;
            uint64_t StatelessOperationExpirationMs : 1;
            uint64_t MinimumMtu : 1;
            uint64_t MaximumMtu : 1;
            uint64_t SendBufferingEnabled : 1;
            uint64_t PacingEnabled : 1;
            uint64_t MigrationEnabled : 1;
            uint64_t DatagramReceiveEnabled : 1;
            uint64_t ServerResumptionLevel : 1;
            uint64_t MaxOperationsPerDrain : 1;
            uint64_t MtuDiscoveryMissingProbeCount : 1;
            uint64_t DestCidUpdateIdleTimeoutMs : 1;
            uint64_t GreaseQuicBitEnabled : 1;
            uint64_t EcnEnabled : 1;
            uint64_t HyStartEnabled : 1;
            uint64_t StreamRecvWindowBidiLocalDefault : 1;
            uint64_t StreamRecvWindowBidiRemoteDefault : 1;
            uint64_t StreamRecvWindowUnidiDefault : 1;
            uint64_t EncryptionOffloadAllowed : 1;
            uint64_t ReliableResetEnabled : 1;
            uint64_t OneWayDelayEnabled : 1;
            uint64_t NetStatsEventEnabled : 1;
            uint64_t StreamMultiReceiveEnabled : 1;
            uint64_t XdpEnabled : 1;
            uint64_t QTIPEnabled : 1;
            uint64_t RioEnabled : 1;
            uint64_t RESERVED : 18;
        } IsSet;
    };
    uint64_t MaxBytesPerKey;
    uint64_t HandshakeIdleTimeoutMs;
    uint64_t IdleTimeoutMs;
    uint64_t MtuDiscoverySearchCompleteTimeoutUs;
    uint32_t TlsClientMaxSendBuffer;
    uint32_t TlsServerMaxSendBuffer;
    uint32_t StreamRecvWindowDefault;
    uint32_t StreamRecvBufferDefault;
    uint32_t ConnFlowControlWindow;
    uint32_t MaxWorkerQueueDelayUs;
    uint32_t MaxStatelessOperations;
    uint32_t InitialWindowPackets;
    uint32_t SendIdleTimeoutMs;
    uint32_t InitialRttMs;
    uint32_t MaxAckDelayMs;
    uint32_t DisconnectTimeoutMs;
    uint32_t KeepAliveIntervalMs;
    uint16_t CongestionControlAlgorithm;
    uint16_t PeerBidiStreamCount;
    uint16_t PeerUnidiStreamCount;
    uint16_t MaxBindingStatelessOperations;
    uint16_t StatelessOperationExpirationMs;
    uint16_t MinimumMtu;
    uint16_t MaximumMtu;
    uint8_t SendBufferingEnabled : 1;
    uint8_t PacingEnabled : 1;
    uint8_t MigrationEnabled : 1;
    uint8_t DatagramReceiveEnabled : 1;
    uint8_t ServerResumptionLevel : 2;
    uint8_t GreaseQuicBitEnabled : 1;
    uint8_t EcnEnabled : 1;
    uint8_t MaxOperationsPerDrain;
    uint8_t MtuDiscoveryMissingProbeCount;
    uint32_t DestCidUpdateIdleTimeoutMs;
    union {
        uint64_t Flags;
        struct {
            uint64_t HyStartEnabled : 1;
            uint64_t EncryptionOffloadAllowed : 1;
            uint64_t ReliableResetEnabled : 1;
            uint64_t OneWayDelayEnabled : 1;
            uint64_t NetStatsEventEnabled : 1;
            uint64_t StreamMultiReceiveEnabled : 1;
            uint64_t XdpEnabled : 1;
            uint64_t QTIPEnabled : 1;
            uint64_t RioEnabled : 1;
            uint64_t ReservedFlags : 55;
        };
    };
    uint32_t StreamRecvWindowBidiLocalDefault;
    uint32_t StreamRecvWindowBidiRemoteDefault;
    uint32_t StreamRecvWindowUnidiDefault;
} QUIC_SETTINGS;

/* Listeners. */

typedef enum QUIC_LISTENER_EVENT_TYPE {
    QUIC_LISTENER_EVENT_NEW_CONNECTION = 0,
    QUIC_LISTENER_EVENT_STOP_COMPLETE = 1,
    QUIC_LISTENER_EVENT_DOS_MODE_CHANGED = 2
} QUIC_LISTENER_EVENT_TYPE;

typedef struct QUIC_NEW_CONNECTION_INFO {
    uint32_t QuicVersion;
    const QUIC_ADDR *LocalAddress;
    const QUIC_ADDR *RemoteAddress;
    uint32_t CryptoBufferLength;
    uint16_t ClientAlpnListLength;
    uint16_t ServerNameLength;
    uint8_t NegotiatedAlpnLength;
    const uint8_t *CryptoBuffer;
    const uint8_t *ClientAlpnList;
    const uint8_t *NegotiatedAlpn;
    const char *ServerName;
} QUIC_NEW_CONNECTION_INFO;

typedef struct QUIC_LISTENER_EVENT {
    QUIC_LISTENER_EVENT_TYPE Type;
    union {
        struct {
            const QUIC_NEW_CONNECTION_INFO *Info;
            HQUIC Connection;
        } NEW_CONNECTION;
        struct {
            BOOLEAN AppCloseInProgress : 1;
            BOOLEAN RESERVED : 7;
        } STOP_COMPLETE;
    };
} QUIC_LISTENER_EVENT;

typedef QUIC_STATUS(QUIC_LISTENER_CALLBACK)(HQUIC Listener, void *Context, QUIC_LISTENER_EVENT *Event);
typedef QUIC_LISTENER_CALLBACK *QUIC_LISTENER_CALLBACK_HANDLER;

/* Connections. */

typedef enum QUIC_CONNECTION_SHUTDOWN_FLAGS {
    QUIC_CONNECTION_SHUTDOWN_FLAG_NONE = 0,
    QUIC_CONNECTION_SHUTDOWN_FLAG_SILENT = 1
} QUIC_CONNECTION_SHUTDOWN_FLAGS;

typedef enum QUIC_SEND_RESUMPTION_FLAGS {
    QUIC_SEND_RESUMPTION_FLAG_NONE = 0,
    QUIC_SEND_RESUMPTION_FLAG_FINAL = 1
} QUIC_SEND_RESUMPTION_FLAGS;

typedef enum QUIC_STREAM_OPEN_FLAGS {
    QUIC_STREAM_OPEN_FLAG_NONE = 0,
    QUIC_STREAM_OPEN_FLAG_UNIDIRECTIONAL = 1,
    QUIC_STREAM_OPEN_FLAG_0_RTT = 2
} QUIC_STREAM_OPEN_FLAGS;

typedef enum QUIC_RECEIVE_FLAGS {
    QUIC_RECEIVE_FLAG_NONE = 0,
    QUIC_RECEIVE_FLAG_0_RTT = 1,
    QUIC_RECEIVE_FLAG_FIN = 2
} QUIC_RECEIVE_FLAGS;

typedef enum QUIC_DATAGRAM_SEND_STATE {
    QUIC_DATAGRAM_SEND_UNKNOWN,
    QUIC_DATAGRAM_SEND_SENT,
    QUIC_DATAGRAM_SEND_LOST_SUSPECT,
    QUIC_DATAGRAM_SEND_LOST_DISCARDED,
    QUIC_DATAGRAM_SEND_ACKNOWLEDGED,
    QUIC_DATAGRAM_SEND_ACKNOWLEDGED_SPURIOUS,
    QUIC_DATAGRAM_SEND_CANCELED
} QUIC_DATAGRAM_SEND_STATE;
#define QUIC_DATAGRAM_SEND_STATE_IS_FINAL(state) ((state) >= QUIC_DATAGRAM_SEND_LOST_DISCARDED)

typedef enum QUIC_CONNECTION_EVENT_TYPE {
    QUIC_CONNECTION_EVENT_CONNECTED = 0,
    QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_TRANSPORT = 1,
    QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_PEER = 2,
    QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE = 3,
    QUIC_CONNECTION_EVENT_LOCAL_ADDRESS_CHANGED = 4,
    QUIC_CONNECTION_EVENT_PEER_ADDRESS_CHANGED = 5,
    QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED = 6,
    QUIC_CONNECTION_EVENT_STREAMS_AVAILABLE = 7,
    QUIC_CONNECTION_EVENT_PEER_NEEDS_STREAMS = 8,
    QUIC_CONNECTION_EVENT_IDEAL_PROCESSOR_CHANGED = 9,
    QUIC_CONNECTION_EVENT_DATAGRAM_STATE_CHANGED = 10,
    QUIC_CONNECTION_EVENT_DATAGRAM_RECEIVED = 11,
    QUIC_CONNECTION_EVENT_DATAGRAM_SEND_STATE_CHANGED = 12,
    QUIC_CONNECTION_EVENT_RESUMED = 13,
    QUIC_CONNECTION_EVENT_RESUMPTION_TICKET_RECEIVED = 14,
    QUIC_CONNECTION_EVENT_PEER_CERTIFICATE_RECEIVED = 15,
    QUIC_CONNECTION_EVENT_RELIABLE_RESET_NEGOTIATED = 16,
    QUIC_CONNECTION_EVENT_ONE_WAY_DELAY_NEGOTIATED = 17,
    QUIC_CONNECTION_EVENT_NETWORK_STATISTICS = 18
} QUIC_CONNECTION_EVENT_TYPE;

typedef struct QUIC_CONNECTION_EVENT {
    QUIC_CONNECTION_EVENT_TYPE Type;
    union {
        struct {
            BOOLEAN SessionResumed;
            uint8_t NegotiatedAlpnLength;
            const uint8_t *NegotiatedAlpn;
        } CONNECTED;
        struct {
            QUIC_STATUS Status;
            QUIC_UINT62 ErrorCode;
        } SHUTDOWN_INITIATED_BY_TRANSPORT;
        struct {
            QUIC_UINT62 ErrorCode;
        } SHUTDOWN_INITIATED_BY_PEER;
        struct {
            BOOLEAN HandshakeCompleted : 1;
            BOOLEAN PeerAcknowledgedShutdown : 1;
            BOOLEAN AppCloseInProgress : 1;
        } SHUTDOWN_COMPLETE;
        struct {
            HQUIC Stream;
            QUIC_STREAM_OPEN_FLAGS Flags;
        } PEER_STREAM_STARTED;
        struct {
            BOOLEAN SendEnabled;
            uint16_t MaxSendLength;
        } DATAGRAM_STATE_CHANGED;
        struct {
            const QUIC_BUFFER *Buffer;
            QUIC_RECEIVE_FLAGS Flags;
        } DATAGRAM_RECEIVED;
        struct {
            void *ClientContext;
            QUIC_DATAGRAM_SEND_STATE State;
        } DATAGRAM_SEND_STATE_CHANGED;
        struct {
            uint16_t ResumptionStateLength;
            const uint8_t *ResumptionState;
        } RESUMED;
        struct {
            uint32_t ResumptionTicketLength;
            const uint8_t *ResumptionTicket;
        } RESUMPTION_TICKET_RECEIVED;
        struct {
            QUIC_CERTIFICATE *Certificate;
            uint32_t DeferredErrorFlags;
            QUIC_STATUS DeferredStatus;
            QUIC_CERTIFICATE_CHAIN *Chain;
        } PEER_CERTIFICATE_RECEIVED;
        struct {
            uint32_t BytesInFlight;
            uint64_t PostedBytes;
            uint64_t IdealBytes;
            uint64_t SmoothedRTT;
            uint32_t CongestionWindow;
            uint64_t Bandwidth;
        } NETWORK_STATISTICS;
    };
} QUIC_CONNECTION_EVENT;

typedef QUIC_STATUS(QUIC_CONNECTION_CALLBACK)(HQUIC Connection, void *Context, QUIC_CONNECTION_EVENT *Event);
typedef QUIC_CONNECTION_CALLBACK *QUIC_CONNECTION_CALLBACK_HANDLER;

/* Streams. */

typedef enum QUIC_STREAM_START_FLAGS {
    QUIC_STREAM_START_FLAG_NONE = 0,
    QUIC_STREAM_START_FLAG_IMMEDIATE = 1,
    QUIC_STREAM_START_FLAG_FAIL_BLOCKED = 2,
    QUIC_STREAM_START_FLAG_SHUTDOWN_ON_FAIL = 4
} QUIC_STREAM_START_FLAGS;

typedef enum QUIC_STREAM_SHUTDOWN_FLAGS {
    QUIC_STREAM_SHUTDOWN_FLAG_NONE = 0,
    QUIC_STREAM_SHUTDOWN_FLAG_GRACEFUL = 1,
    QUIC_STREAM_SHUTDOWN_FLAG_ABORT_SEND = 2,
    QUIC_STREAM_SHUTDOWN_FLAG_ABORT_RECEIVE = 4,
    QUIC_STREAM_SHUTDOWN_FLAG_ABORT = 6,
    QUIC_STREAM_SHUTDOWN_FLAG_IMMEDIATE = 8
} QUIC_STREAM_SHUTDOWN_FLAGS;

typedef enum QUIC_SEND_FLAGS {
    QUIC_SEND_FLAG_NONE = 0,
    QUIC_SEND_FLAG_ALLOW_0_RTT = 1,
    QUIC_SEND_FLAG_START = 2,
    QUIC_SEND_FLAG_FIN = 4
} QUIC_SEND_FLAGS;
QUIC_FLAGS(QUIC_SEND_FLAGS)

typedef enum QUIC_STREAM_EVENT_TYPE {
    QUIC_STREAM_EVENT_START_COMPLETE = 0,
    QUIC_STREAM_EVENT_RECEIVE = 1,
    QUIC_STREAM_EVENT_SEND_COMPLETE = 2,
    QUIC_STREAM_EVENT_PEER_SEND_SHUTDOWN = 3,
    QUIC_STREAM_EVENT_PEER_SEND_ABORTED = 4,
    QUIC_STREAM_EVENT_PEER_RECEIVE_ABORTED = 5,
    QUIC_STREAM_EVENT_SEND_SHUTDOWN_COMPLETE = 6,
    QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE = 7,
    QUIC_STREAM_EVENT_IDEAL_SEND_BUFFER_SIZE = 8,
    QUIC_STREAM_EVENT_PEER_ACCEPTED = 9,
    QUIC_STREAM_EVENT_CANCEL_ON_LOSS = 10
} QUIC_STREAM_EVENT_TYPE;

typedef struct QUIC_STREAM_EVENT {
    QUIC_STREAM_EVENT_TYPE Type;
    union {
        struct {
            QUIC_STATUS Status;
            QUIC_UINT62 ID;
            BOOLEAN PeerAccepted : 1;
            BOOLEAN RESERVED : 7;
        } START_COMPLETE;
        struct {
            uint64_t AbsoluteOffset;
            uint64_t TotalBufferLength;
            const QUIC_BUFFER *Buffers;
            uint32_t BufferCount;
            QUIC_RECEIVE_FLAGS Flags;
        } RECEIVE;
        struct {
            BOOLEAN Canceled;
            void *ClientContext;
        } SEND_COMPLETE;
        struct {
            QUIC_UINT62 ErrorCode;
        } PEER_SEND_ABORTED;
        struct {
            QUIC_UINT62 ErrorCode;
        } PEER_RECEIVE_ABORTED;
        struct {
            BOOLEAN Graceful;
        } SEND_SHUTDOWN_COMPLETE;
        struct {
            BOOLEAN ConnectionShutdown;
            BOOLEAN AppCloseInProgress : 1;
            BOOLEAN ConnectionShutdownByApp : 1;
            BOOLEAN ConnectionClosedRemotely : 1;
            BOOLEAN RESERVED : 5;
            QUIC_UINT62 ConnectionErrorCode;
            QUIC_STATUS ConnectionCloseStatus;
        } SHUTDOWN_COMPLETE;
        struct {
            uint64_t ByteCount;
        } IDEAL_SEND_BUFFER_SIZE;
    };
} QUIC_STREAM_EVENT;

typedef QUIC_STATUS(QUIC_STREAM_CALLBACK)(HQUIC Stream, void *Context, QUIC_STREAM_EVENT *Event);
typedef QUIC_STREAM_CALLBACK *QUIC_STREAM_CALLBACK_HANDLER;

/* Workers that the application drives. */

typedef enum QUIC_GLOBAL_EXECUTION_CONFIG_FLAGS {
    QUIC_GLOBAL_EXECUTION_CONFIG_FLAG_NONE = 0
} QUIC_GLOBAL_EXECUTION_CONFIG_FLAGS;

typedef int QUIC_EVENTQ;
typedef struct epoll_event QUIC_CQE;

typedef struct QUIC_SQE {
    int fd;
    void (*Completion)(QUIC_CQE *Cqe);
} QUIC_SQE;

typedef struct QUIC_EXECUTION_CONFIG {
    uint32_t IdealProcessor;
    QUIC_EVENTQ *EventQ;
} QUIC_EXECUTION_CONFIG;

typedef struct QUIC_EXECUTION QUIC_EXECUTION;

/* Parameters. */

typedef struct QUIC_STATISTICS_V2 {
    uint64_t CorrelationId;
    uint32_t VersionNegotiation : 1;
    uint32_t StatelessRetry : 1;
    uint32_t ResumptionAttempted : 1;
    uint32_t ResumptionSucceeded : 1;
    uint32_t GreaseBitNegotiated : 1;
    uint32_t EcnCapable : 1;
    uint32_t EncryptionOffloaded : 1;
    uint32_t RESERVED : 25;
    uint32_t Rtt;
    uint32_t MinRtt;
    uint32_t MaxRtt;
    uint64_t TimingStart;
    uint64_t TimingInitialFlightEnd;
    uint64_t TimingHandshakeFlightEnd;
    uint32_t HandshakeClientFlight1Bytes;
    uint32_t HandshakeServerFlight1Bytes;
    uint32_t HandshakeClientFlight2Bytes;
    uint16_t SendPathMtu;
    uint64_t SendTotalPackets;
    uint64_t SendRetransmittablePackets;
    uint64_t SendSuspectedLostPackets;
    uint64_t SendSpuriousLostPackets;
    uint64_t SendTotalBytes;
    uint64_t SendTotalStreamBytes;
    uint32_t SendCongestionCount;
    uint32_t SendPersistentCongestionCount;
    uint64_t RecvTotalPackets;
    uint64_t RecvReorderedPackets;
    uint64_t RecvDroppedPackets;
    uint64_t RecvDuplicatePackets;
    uint64_t RecvTotalBytes;
    uint64_t RecvTotalStreamBytes;
    uint64_t RecvDecryptionFailures;
    uint64_t RecvValidAckFrames;
    uint32_t KeyUpdateCount;
    uint32_t SendCongestionWindow;
    uint32_t DestCidUpdateCount;
    uint32_t SendEcnCongestionCount;
    uint8_t HandshakeHopLimitTTL;
    uint32_t RttVariance;
} QUIC_STATISTICS_V2;

#define QUIC_PARAM_LISTENER_LOCAL_ADDRESS 0x04000000
#define QUIC_PARAM_CONN_REMOTE_ADDRESS 0x05000002
#define QUIC_PARAM_CONN_RESUMPTION_TICKET 0x05000010
#define QUIC_PARAM_CONN_STATISTICS_V2 0x05000016
#define QUIC_PARAM_TLS_NEGOTIATED_ALPN 0x06000001
#define QUIC_PARAM_STREAM_ID 0x08000000

/* The functions. */

typedef struct QUIC_CONNECTION_POOL_CONFIG QUIC_CONNECTION_POOL_CONFIG;

typedef struct QUIC_API_TABLE {
    void (*SetContext)(HQUIC Handle, void *Context);
    void *(*GetContext)(HQUIC Handle);
    void (*SetCallbackHandler)(HQUIC Handle, void *Handler, void *Context);
    QUIC_STATUS (*SetParam)(HQUIC Handle, uint32_t Param, uint32_t BufferLength, const void *Buffer);
    QUIC_STATUS (*GetParam)(HQUIC Handle, uint32_t Param, uint32_t *BufferLength, void *Buffer);
    QUIC_STATUS (*RegistrationOpen)(const QUIC_REGISTRATION_CONFIG *Config, HQUIC *Registration);
    void (*RegistrationClose)(HQUIC Registration);
    void (*RegistrationShutdown)(HQUIC Registration, QUIC_CONNECTION_SHUTDOWN_FLAGS Flags, QUIC_UINT62 ErrorCode);
    QUIC_STATUS (*ConfigurationOpen)(HQUIC Registration, const QUIC_BUFFER *AlpnBuffers, uint32_t AlpnBufferCount,
        const QUIC_SETTINGS *Settings, uint32_t SettingsSize, void *Context, HQUIC *Configuration);
    void (*ConfigurationClose)(HQUIC Configuration);
    QUIC_STATUS (*ConfigurationLoadCredential)(HQUIC Configuration, const QUIC_CREDENTIAL_CONFIG *CredConfig);
    QUIC_STATUS (*ListenerOpen)(HQUIC Registration, QUIC_LISTENER_CALLBACK_HANDLER Handler, void *Context,
        HQUIC *Listener);
    void (*ListenerClose)(HQUIC Listener);
    QUIC_STATUS (*ListenerStart)(HQUIC Listener, const QUIC_BUFFER *AlpnBuffers, uint32_t AlpnBufferCount,
        const QUIC_ADDR *LocalAddress);
    void (*ListenerStop)(HQUIC Listener);
    QUIC_STATUS (*ConnectionOpen)(HQUIC Registration, QUIC_CONNECTION_CALLBACK_HANDLER Handler, void *Context,
        HQUIC *Connection);
    void (*ConnectionClose)(HQUIC Connection);
    void (*ConnectionShutdown)(HQUIC Connection, QUIC_CONNECTION_SHUTDOWN_FLAGS Flags, QUIC_UINT62 ErrorCode);
    QUIC_STATUS (*ConnectionStart)(HQUIC Connection, HQUIC Configuration, QUIC_ADDRESS_FAMILY Family,
        const char *ServerName, uint16_t ServerPort);
    QUIC_STATUS (*ConnectionSetConfiguration)(HQUIC Connection, HQUIC Configuration);
    QUIC_STATUS (*ConnectionSendResumptionTicket)(HQUIC Connection, QUIC_SEND_RESUMPTION_FLAGS Flags,
        uint16_t DataLength, const uint8_t *ResumptionData);
    QUIC_STATUS (*StreamOpen)(HQUIC Connection, QUIC_STREAM_OPEN_FLAGS Flags, QUIC_STREAM_CALLBACK_HANDLER Handler,
        void *Context, HQUIC *Stream);
    void (*StreamClose)(HQUIC Stream);
    QUIC_STATUS (*StreamStart)(HQUIC Stream, QUIC_STREAM_START_FLAGS Flags);
    QUIC_STATUS (*StreamShutdown)(HQUIC Stream, QUIC_STREAM_SHUTDOWN_FLAGS Flags, QUIC_UINT62 ErrorCode);
    QUIC_STATUS (*StreamSend)(HQUIC Stream, const QUIC_BUFFER *Buffers, uint32_t BufferCount, QUIC_SEND_FLAGS Flags,
        void *ClientSendContext);
    void (*StreamReceiveComplete)(HQUIC Stream, uint64_t BufferLength);
    QUIC_STATUS (*StreamReceiveSetEnabled)(HQUIC Stream, BOOLEAN IsEnabled);
    QUIC_STATUS (*DatagramSend)(HQUIC Connection, const QUIC_BUFFER *Buffers, uint32_t BufferCount,
        QUIC_SEND_FLAGS Flags, void *ClientSendContext);
    QUIC_STATUS (*ConnectionResumptionTicketValidationComplete)(HQUIC Connection, BOOLEAN Result);
    QUIC_STATUS (*ConnectionCertificateValidationComplete)(HQUIC Connection, BOOLEAN Result,
        QUIC_TLS_ALERT_CODES TlsAlert);
    QUIC_STATUS (*ConnectionOpenInPartition)(HQUIC Registration, uint16_t PartitionIndex,
        QUIC_CONNECTION_CALLBACK_HANDLER Handler, void *Context, HQUIC *Connection);
    QUIC_STATUS (*StreamProvideReceiveBuffers)(HQUIC Stream, uint32_t BufferCount, const QUIC_BUFFER *Buffers);
    QUIC_STATUS (*ConnectionPoolCreate)(QUIC_CONNECTION_POOL_CONFIG *Config, HQUIC *ConnectionPool);
    QUIC_STATUS (*ExecutionCreate)(QUIC_GLOBAL_EXECUTION_CONFIG_FLAGS Flags, uint32_t PollingIdleTimeoutUs,
        uint32_t Count, QUIC_EXECUTION_CONFIG *Configs, QUIC_EXECUTION **Executions);
    void (*ExecutionDelete)(uint32_t Count, QUIC_EXECUTION **Executions);
    uint32_t (*ExecutionPoll)(QUIC_EXECUTION *Execution);
} QUIC_API_TABLE;

#define QUIC_API_VERSION_2 2

QUIC_STATUS MsQuicOpenVersion(uint32_t Version, const void **QuicApi);
void MsQuicClose(const void *QuicApi);

#ifdef __cplusplus
}
#endif

#endif
