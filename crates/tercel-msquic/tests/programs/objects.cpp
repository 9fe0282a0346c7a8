// A program in C++ as those are written who wrap the handles in objects: they close themselves, and callbacks become
// methods. Echo, a file that goes to the server and comes back, and certificates that are judged on a thread.
#include "program.h"

#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

const QUIC_API_TABLE *Quic;

void Check(bool fact, const char *what) {
    if (!fact) throw std::runtime_error(what);
}

void Succeed(QUIC_STATUS status, const char *what) {
    if (QUIC_FAILED(status)) throw std::runtime_error(std::string(what) + ": " + std::to_string(status));
}

using Bytes = std::vector<uint8_t>;

/// A handle that is closed with its owner.
template <void (*QUIC_API_TABLE::*Close)(HQUIC)>
class Owned {
public:
    Owned() = default;
    explicit Owned(HQUIC handle) : handle_(handle) {}
    Owned(Owned &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Owned &operator=(Owned &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Owned() {
        if (handle_) (Quic->*Close)(handle_);
    }
    HQUIC get() const { return handle_; }
    HQUIC *put() { return &handle_; }
    HQUIC release() { return std::exchange(handle_, nullptr); }

private:
    HQUIC handle_ = nullptr;
};

using Registration = Owned<&QUIC_API_TABLE::RegistrationClose>;
using ConfigurationHandle = Owned<&QUIC_API_TABLE::ConfigurationClose>;
using ListenerHandle = Owned<&QUIC_API_TABLE::ListenerClose>;
using ConnectionHandle = Owned<&QUIC_API_TABLE::ConnectionClose>;
using StreamHandle = Owned<&QUIC_API_TABLE::StreamClose>;

const QUIC_BUFFER Alpn = {4, reinterpret_cast<uint8_t *>(const_cast<char *>("play"))};

/// Settings and credential of one end.
class Configuration {
public:
    Configuration(const Registration &registration, QUIC_CREDENTIAL_CONFIG credential) {
        QUIC_SETTINGS settings{};
        settings.PeerBidiStreamCount = 10;
        settings.IsSet.PeerBidiStreamCount = TRUE;
        settings.SendBufferingEnabled = FALSE;
        settings.IsSet.SendBufferingEnabled = TRUE;
        settings.IdleTimeoutMs = 30000;
        settings.IsSet.IdleTimeoutMs = TRUE;
        Succeed(Quic->ConfigurationOpen(
                    registration.get(), &Alpn, 1, &settings, sizeof settings, nullptr, handle_.put()),
            "ConfigurationOpen");
        Succeed(Quic->ConfigurationLoadCredential(handle_.get(), &credential), "ConfigurationLoadCredential");
    }

    static Configuration server(const Registration &registration, const char *chain, const char *key) {
        QUIC_CERTIFICATE_FILE file{key, chain};
        QUIC_CREDENTIAL_CONFIG credential{};
        credential.Type = QUIC_CREDENTIAL_TYPE_CERTIFICATE_FILE;
        credential.CertificateFile = &file;
        return Configuration(registration, credential);
    }

    /// A client that is asked about each certificate.
    static Configuration client(const Registration &registration, const char *authority) {
        QUIC_CREDENTIAL_CONFIG credential{};
        credential.Type = QUIC_CREDENTIAL_TYPE_NONE;
        credential.Flags = QUIC_CREDENTIAL_FLAG_CLIENT | QUIC_CREDENTIAL_FLAG_INDICATE_CERTIFICATE_RECEIVED |
            QUIC_CREDENTIAL_FLAG_DEFER_CERTIFICATE_VALIDATION | QUIC_CREDENTIAL_FLAG_USE_PORTABLE_CERTIFICATES |
            QUIC_CREDENTIAL_FLAG_SET_CA_CERTIFICATE_FILE;
        credential.CaCertificateFile = authority;
        return Configuration(registration, credential);
    }

    HQUIC get() const { return handle_.get(); }

private:
    ConfigurationHandle handle_;
};

/// A send, with what it sends: deleted by its completion.
struct Sending {
    explicit Sending(Bytes bytes) : data(std::move(bytes)) {
        buffer.Length = static_cast<uint32_t>(data.size());
        buffer.Buffer = data.data();
    }
    Bytes data;
    QUIC_BUFFER buffer{};
};

/// A stream whose events are methods.
class Stream {
public:
    virtual ~Stream() = default;

    void open(HQUIC connection) {
        Succeed(Quic->StreamOpen(connection, QUIC_STREAM_OPEN_FLAG_NONE, callback, this, handle_.put()), "StreamOpen");
    }

    void accept(HQUIC stream) {
        handle_ = StreamHandle(stream);
        Quic->SetCallbackHandler(stream, reinterpret_cast<void *>(callback), this);
    }

    bool send(Bytes bytes, QUIC_SEND_FLAGS flags) {
        auto sending = std::make_unique<Sending>(std::move(bytes));
        QUIC_STATUS status = Quic->StreamSend(handle_.get(), &sending->buffer, 1, flags, sending.get());
        if (QUIC_FAILED(status)) return false;
        sending.release();
        return true;
    }

    void shutdown(QUIC_STREAM_SHUTDOWN_FLAGS flags, uint64_t code) {
        Quic->StreamShutdown(handle_.get(), flags, code);
    }

protected:
    virtual void received(const uint8_t *bytes, size_t length) = 0;
    virtual void received_all() {}
    virtual void sent() {}
    /// The last of it; the object may go.
    virtual void ended(bool) {}

private:
    static QUIC_STATUS callback(HQUIC, void *context, QUIC_STREAM_EVENT *event) noexcept {
        auto *self = static_cast<Stream *>(context);
        switch (event->Type) {
        case QUIC_STREAM_EVENT_RECEIVE:
            for (uint32_t at = 0; at < event->RECEIVE.BufferCount; ++at)
                self->received(event->RECEIVE.Buffers[at].Buffer, event->RECEIVE.Buffers[at].Length);
            break;
        case QUIC_STREAM_EVENT_SEND_COMPLETE:
            delete static_cast<Sending *>(event->SEND_COMPLETE.ClientContext);
            self->sent();
            break;
        case QUIC_STREAM_EVENT_PEER_SEND_SHUTDOWN: self->received_all(); break;
        case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE: self->ended(!event->SHUTDOWN_COMPLETE.ConnectionShutdown); break;
        default: break;
        }
        return QUIC_STATUS_SUCCESS;
    }

    StreamHandle handle_;
};

/// The server's: the first line says what it is about. `echo`: the rest comes back. `store`: it goes to a file.
/// `fetch`: the file comes back, piece by piece.
class Served : public Stream {
public:
    explicit Served(const std::filesystem::path &directory) : path_(directory / "file") {}

protected:
    void received(const uint8_t *bytes, size_t length) override {
        const uint8_t *end = bytes + length;
        while (bytes != end && (about_.empty() || about_.back() != '\n')) about_.push_back(static_cast<char>(*bytes++));
        if (bytes == end) return;
        if (about_ == "echo\n") {
            send(Bytes(bytes, end), QUIC_SEND_FLAG_NONE);
        } else if (about_ == "store\n") {
            if (!out_.is_open()) out_.open(path_, std::ios::binary);
            out_.write(reinterpret_cast<const char *>(bytes), end - bytes);
        }
    }

    void received_all() override {
        if (about_ == "fetch\n") {
            in_.open(path_, std::ios::binary);
            return more();
        }
        out_.close();
        send({}, QUIC_SEND_FLAG_FIN);
    }

    void sent() override {
        if (in_.is_open()) more();
    }

    void ended(bool) override { delete this; }

private:
    /// The next piece of the file.
    void more() {
        Bytes piece(100000);
        in_.read(reinterpret_cast<char *>(piece.data()), static_cast<std::streamsize>(piece.size()));
        piece.resize(static_cast<size_t>(in_.gcount()));
        bool last = !in_;
        if (last) in_.close();
        send(std::move(piece), last ? QUIC_SEND_FLAG_FIN : QUIC_SEND_FLAG_NONE);
    }

    std::filesystem::path path_;
    std::string about_;
    std::ofstream out_;
    std::ifstream in_;
};

/// A server's connection: it owns itself until it has ended.
class Accepted {
public:
    Accepted(HQUIC connection, std::filesystem::path directory)
        : handle_(connection), directory_(std::move(directory)) {
        Quic->SetCallbackHandler(connection, reinterpret_cast<void *>(callback), this);
    }

    /// It was not taken, and the library keeps it.
    void refuse() { handle_.release(); }

private:
    static QUIC_STATUS callback(HQUIC, void *context, QUIC_CONNECTION_EVENT *event) noexcept {
        auto *self = static_cast<Accepted *>(context);
        switch (event->Type) {
        case QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED:
            (new Served(self->directory_))->accept(event->PEER_STREAM_STARTED.Stream);
            break;
        case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE: delete self; break;
        default: break;
        }
        return QUIC_STATUS_SUCCESS;
    }

    ConnectionHandle handle_;
    std::filesystem::path directory_;
};

class Server {
public:
    Server(const Registration &registration, const char *chain, const char *key, std::filesystem::path directory)
        : configuration_(Configuration::server(registration, chain, key)), directory_(std::move(directory)) {
        Succeed(Quic->ListenerOpen(registration.get(), callback, this, listener_.put()), "ListenerOpen");
        QUIC_ADDR address{};
        address.Ipv4.sin_family = AF_INET;
        address.Ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        Succeed(Quic->ListenerStart(listener_.get(), &Alpn, 1, &address), "ListenerStart");
    }

    uint16_t port() const {
        QUIC_ADDR address{};
        uint32_t length = sizeof address;
        Succeed(Quic->GetParam(listener_.get(), QUIC_PARAM_LISTENER_LOCAL_ADDRESS, &length, &address), "the address");
        return ntohs(address.Ipv4.sin_port);
    }

private:
    static QUIC_STATUS callback(HQUIC, void *context, QUIC_LISTENER_EVENT *event) noexcept {
        auto *self = static_cast<Server *>(context);
        if (event->Type != QUIC_LISTENER_EVENT_NEW_CONNECTION) return QUIC_STATUS_SUCCESS;
        auto *connection = new Accepted(event->NEW_CONNECTION.Connection, self->directory_);
        QUIC_STATUS status =
            Quic->ConnectionSetConfiguration(event->NEW_CONNECTION.Connection, self->configuration_.get());
        if (QUIC_FAILED(status)) {
            connection->refuse();
            delete connection;
        }
        return status;
    }

    Configuration configuration_;
    std::filesystem::path directory_;
    // The first to go: its callback uses what is above.
    ListenerHandle listener_;
};

/// What somebody waits for, and how long at most.
template <typename T>
class Awaited {
public:
    void give(T value) {
        if (!given_.exchange(true)) promise_.set_value(std::move(value));
    }
    T wait(const char *what) {
        Check(future_.wait_for(std::chrono::seconds(60)) == std::future_status::ready, what);
        return future_.get();
    }

private:
    std::atomic<bool> given_{false};
    std::promise<T> promise_;
    std::future<T> future_ = promise_.get_future();
};

/// A client's stream: collects what comes back.
class Asking : public Stream {
public:
    Bytes answer() {
        Check(whole_.wait("an answer"), "the connection ended before the stream");
        return std::move(collected_);
    }

protected:
    void received(const uint8_t *bytes, size_t length) override {
        collected_.insert(collected_.end(), bytes, bytes + length);
    }
    void ended(bool by_itself) override { whole_.give(by_itself); }

private:
    Bytes collected_;
    Awaited<bool> whole_;
};

/// A client's connection. `judge` runs on a thread of its own, and gets the certificate.
class Client {
public:
    Client(const Registration &registration, const Configuration &configuration, uint16_t port,
        std::function<bool(const Bytes &)> judge)
        : judge_(std::move(judge)) {
        Succeed(Quic->ConnectionOpen(registration.get(), callback, this, handle_.put()), "ConnectionOpen");
        Succeed(Quic->ConnectionStart(handle_.get(), configuration.get(), QUIC_ADDRESS_FAMILY_INET, "localhost", port),
            "ConnectionStart");
    }

    ~Client() {
        if (judging_.joinable()) judging_.join();
    }

    bool connected() { return connected_.wait("whether there is a connection"); }

    QUIC_STATUS why_not() {
        ended_.wait("the end of the connection");
        return status_;
    }

    void close() {
        Quic->ConnectionShutdown(handle_.get(), QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
        ended_.wait("the end of the connection");
    }

    Bytes ask(const std::string &about, const Bytes &data) {
        Asking stream;
        stream.open(handle_.get());
        Check(stream.send(Bytes(about.begin(), about.end()), QUIC_SEND_FLAG_START), "the request is sent");
        Check(stream.send(data, QUIC_SEND_FLAG_FIN), "the data is sent");
        return stream.answer();
    }

private:
    static QUIC_STATUS callback(HQUIC connection, void *context, QUIC_CONNECTION_EVENT *event) noexcept {
        auto *self = static_cast<Client *>(context);
        switch (event->Type) {
        case QUIC_CONNECTION_EVENT_PEER_CERTIFICATE_RECEIVED: {
            const auto *leaf = static_cast<const QUIC_BUFFER *>(event->PEER_CERTIFICATE_RECEIVED.Certificate);
            Bytes der(leaf->Buffer, leaf->Buffer + leaf->Length);
            bool trusted = QUIC_SUCCEEDED(event->PEER_CERTIFICATE_RECEIVED.DeferredStatus);
            self->judging_ = std::thread([=, der = std::move(der)] {
                BOOLEAN good = trusted && self->judge_(der);
                QUIC_TLS_ALERT_CODES alert =
                    good ? QUIC_TLS_ALERT_CODE_SUCCESS : QUIC_TLS_ALERT_CODE_BAD_CERTIFICATE;
                Quic->ConnectionCertificateValidationComplete(connection, good, alert);
            });
            return QUIC_STATUS_PENDING;
        }
        case QUIC_CONNECTION_EVENT_CONNECTED: self->connected_.give(true); break;
        case QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_TRANSPORT:
            self->status_ = event->SHUTDOWN_INITIATED_BY_TRANSPORT.Status;
            break;
        case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE:
            self->connected_.give(false);
            self->ended_.give(true);
            break;
        default: break;
        }
        return QUIC_STATUS_SUCCESS;
    }

    std::function<bool(const Bytes &)> judge_;
    std::thread judging_;
    Awaited<bool> connected_, ended_;
    std::atomic<QUIC_STATUS> status_{QUIC_STATUS_SUCCESS};
    ConnectionHandle handle_;
};

Bytes pattern(size_t length) {
    Bytes bytes(length);
    for (size_t at = 0; at < length; ++at) bytes[at] = static_cast<uint8_t>(at * 17 + at / 251);
    return bytes;
}

void visit(const Registration &registration, const char *chain, uint16_t port) {
    Configuration configuration = Configuration::client(registration, chain);
    Bytes seen;
    {
        Client client(registration, configuration, port, [&](const Bytes &der) {
            seen = der;
            return true;
        });
        Check(client.connected(), "the certificate was accepted");
        Check(seen.size() > 100 && seen[0] == 0x30, "a certificate was shown");
        Bytes text = pattern(300000), file = pattern(2500000);
        Check(client.ask("echo\n", text) == text, "the echo is what was said");
        Check(client.ask("store\n", file).empty(), "the file was stored");
        Check(client.ask("fetch\n", {}) == file, "the file came back");
        std::vector<std::thread> threads;
        std::atomic<int> right{0};
        for (size_t at = 0; at < 4; ++at)
            threads.emplace_back([&, at] {
                Bytes own = pattern(1000 * at);
                right += client.ask("echo\n", own) == own;
            });
        for (auto &thread : threads) thread.join();
        Check(right == 4, "streams of several threads");
        client.close();
    }
    {
        Client client(registration, configuration, port, [&](const Bytes &der) { return der != seen; });
        Check(!client.connected(), "the certificate was rejected");
        Check(QUIC_FAILED(client.why_not()), "the transport says why");
    }
    {
        // One that leaves before it has judged: closing waits for nobody but the callback.
        Awaited<bool> asked, leave;
        {
            Client client(registration, configuration, port, [&](const Bytes &) {
                asked.give(true);
                return leave.wait("leave to go");
            });
            asked.wait("a question");
            client.close();
            Check(!client.connected(), "there was no verdict");
            leave.give(true);
        }
    }
}

/// A directory for as long as it is needed.
class Directory {
public:
    Directory() {
        std::string name = (std::filesystem::temp_directory_path() / "objects-XXXXXX").string();
        Check(mkdtemp(name.data()), "a directory");
        path_ = name;
    }
    ~Directory() { std::filesystem::remove_all(path_); }
    const std::filesystem::path &path() const { return path_; }

private:
    std::filesystem::path path_;
};

} // namespace

int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port) {
    Quic = quic;
    try {
        Directory directory;
        Registration registration;
        QUIC_REGISTRATION_CONFIG name{"objects", QUIC_EXECUTION_PROFILE_LOW_LATENCY};
        Succeed(Quic->RegistrationOpen(&name, registration.put()), "RegistrationOpen");
        std::unique_ptr<Server> server;
        if (port <= 0) server = std::make_unique<Server>(registration, chain, key, directory.path());
        if (port) {
            visit(registration, chain, port > 0 ? static_cast<uint16_t>(port) : server->port());
        } else {
            std::printf("port %d\n", server->port());
            std::fflush(stdout);
            while (std::getchar() != EOF) {}
        }
        Quic->RegistrationShutdown(registration.get(), QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, 0);
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        // The callbacks of what is still open would come back to a program that has left.
        std::_Exit(1);
    }
}
