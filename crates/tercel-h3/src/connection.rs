//! A connection as the h3 crate wants it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming};
use tercel::ApplicationErrorCode;
use tercel::aio::{self, OpenBi, OpenUni};

use crate::error;
use crate::guard::{self, Frames, Role};
use crate::stream::{BidiStream, RecvStream, SendStream};
use crate::webtransport::{Router, Sorter};

/// A connection of Tercel's async face, for `h3::server` and `h3::client`.
///
/// A client, with a server to ask:
///
/// ```
/// use bytes::{Buf, Bytes};
/// use http::Request;
/// use tercel::aio::Endpoint;
/// use tercel::{Configuration, Settings, Trust};
/// use tercel_h3::{ALPN, Connection, RequestBody, Server, service_fn};
///
/// # fn identity() -> tercel::Identity {
/// #     let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
/// #     let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
/// #     tercel::Identity::new(vec![made.cert.der().clone()], key.into()).unwrap()
/// # }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let identity = identity();
/// # let trust = Trust::Pinned(identity.fingerprint());
/// let server = Server::bind("127.0.0.1:0".parse()?, identity)?;
/// let address = server.local_address();
/// tokio::spawn(server.serve(service_fn(async |request: Request<RequestBody>| {
///     Ok::<_, std::convert::Infallible>(http::Response::new(format!("you asked for {}", request.uri().path())))
/// })));
///
/// let configuration = Configuration::client(&[ALPN], Settings::default(), trust)?;
/// let endpoint = Endpoint::client()?;
/// let connection = endpoint.connect(&configuration, address, "localhost")?.await?;
/// let (mut driver, mut requests) = h3::client::new(Connection::new(connection)).await?;
/// tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
///
/// let request = Request::get("https://localhost/tea").body(())?;
/// let mut stream: h3::client::RequestStream<_, Bytes> = requests.send_request(request).await?;
/// // It fails if the server has answered without waiting for the end, which is no error.
/// let _ = stream.finish().await;
/// assert_eq!(stream.recv_response().await?.status(), 200);
/// let mut data = stream.recv_data().await?.unwrap();
/// assert_eq!(&data.copy_to_bytes(data.remaining())[..], b"you asked for /tea");
/// # Ok(())
/// # }
/// ```
pub struct Connection {
    connection: aio::Connection,
    opener: Opener,
    /// Keeps the streams of WebTransport from h3.
    sorter: Option<Sorter>,
    /// The peer's unidirectional streams before h3 has them.
    unidirectional: guard::Streams,
    max_frame: u64,
}

impl Connection {
    /// Wraps a connection; its application protocol should be [`ALPN`](crate::ALPN).
    pub fn new(connection: aio::Connection) -> Self {
        Self {
            opener: Opener::new(connection.clone()),
            connection,
            sorter: None,
            unidirectional: guard::Streams::default(),
            max_frame: guard::MAX_FRAME,
        }
    }

    /// The same, that bears field sections of so many bytes, as RFC 9114 section 4.2.2 counts.
    pub(crate) fn with_max_header(connection: aio::Connection, max: u64) -> Self {
        // With Huffman codes a byte takes 30 bits at most.
        Self { max_frame: max.saturating_mul(4), ..Self::new(connection) }
    }

    /// The same, with sessions of WebTransport beside.
    pub(crate) fn and_sessions(self, router: Arc<Router>) -> Self {
        Self { sorter: Some(Sorter::new(router)), ..self }
    }

    pub(crate) const fn transport(&self) -> &aio::Connection {
        &self.connection
    }
}

/// Opens streams.
pub struct Opener {
    connection: aio::Connection,
    bidirectional: Option<OpenBi>,
    unidirectional: Option<OpenUni>,
}

impl Opener {
    const fn new(connection: aio::Connection) -> Self {
        Self { connection, bidirectional: None, unidirectional: None }
    }
}

/// Opens a stream, and waits for its ID, which h3 may ask for at once.
fn open_bi(connection: aio::Connection) -> OpenBi {
    Box::pin(async move {
        let (send, recv) = connection.open_bi().await?;
        // If it fails the stream itself will tell.
        let _ = send.started().await;
        Ok((send, recv))
    })
}

/// The same for streams that go one way.
fn open_uni(connection: aio::Connection) -> OpenUni {
    Box::pin(async move {
        let send = connection.open_uni().await?;
        let _ = send.started().await;
        Ok(send)
    })
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Self::new(self.connection.clone())
    }
}

/// Any code that does not fit the wire is an internal error of whoever gave it.
pub(crate) fn code(code: u64) -> ApplicationErrorCode {
    ApplicationErrorCode::try_from(code).unwrap_or_else(|_| ApplicationErrorCode::from(H3_INTERNAL_ERROR))
}

const H3_INTERNAL_ERROR: u32 = 0x102;

impl<B: Buf> quic::OpenStreams<B> for Opener {
    type BidiStream = BidiStream<B>;
    type SendStream = SendStream<B>;

    fn poll_open_bidi(&mut self, context: &mut Context<'_>) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        let opening = self.bidirectional.get_or_insert_with(|| open_bi(self.connection.clone()));
        let opened = ready!(opening.as_mut().poll(context));
        self.bidirectional = None;
        let (send, recv) = opened.map_err(|error| error::stream(error.0))?;
        let frames = Frames::of_message(Role::Client, guard::MAX_FRAME, Bytes::new());
        let recv = RecvStream::new(recv, self.connection.clone(), Bytes::new(), frames);
        Poll::Ready(Ok(BidiStream::new(SendStream::new(send), recv)))
    }

    fn poll_open_send(&mut self, context: &mut Context<'_>) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        let opening = self.unidirectional.get_or_insert_with(|| open_uni(self.connection.clone()));
        let opened = ready!(opening.as_mut().poll(context));
        self.unidirectional = None;
        let stream = opened.map_err(|error| error::stream(error.0))?;
        // Those of HTTP/3 last as long as the connection (RFC 9114 section 6.2.1).
        stream.set_lasting();
        Poll::Ready(Ok(SendStream::new(stream)))
    }

    fn close(&mut self, error: Code, reason: &[u8]) {
        self.connection.close(code(error.value()), reason);
    }
}

impl<B: Buf> quic::OpenStreams<B> for Connection {
    type BidiStream = BidiStream<B>;
    type SendStream = SendStream<B>;

    fn poll_open_bidi(&mut self, context: &mut Context<'_>) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        quic::OpenStreams::<B>::poll_open_bidi(&mut self.opener, context)
    }

    fn poll_open_send(&mut self, context: &mut Context<'_>) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        quic::OpenStreams::<B>::poll_open_send(&mut self.opener, context)
    }

    fn close(&mut self, error: Code, reason: &[u8]) {
        quic::OpenStreams::<B>::close(&mut self.opener, error, reason);
    }
}

impl<B: Buf> quic::Connection<B> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        loop {
            let accepted = match &mut self.sorter {
                None => self.connection.poll_accept_uni(context).map_ok(|stream| (stream, Bytes::new())),
                Some(sorter) => sorter.poll_uni(&self.connection, context).map_ok(|stream| (stream.recv, stream.head)),
            };
            match accepted.map_err(|error| error::connection(error.0))? {
                Poll::Ready((stream, head)) => self.unidirectional.add(stream, &head),
                Poll::Pending => break,
            }
        }
        let watched = ready!(self.unidirectional.poll(context));
        Poll::Ready(match watched {
            Ok((stream, begin, frames)) => Ok(RecvStream::new(stream, self.connection.clone(), begin, frames)),
            Err(fault) => Err(error::fault(&self.connection, fault)),
        })
    }

    fn poll_accept_bidi(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let accepted = match &mut self.sorter {
            None => ready!(self.connection.poll_accept_bi(context)).map(|(send, recv)| (send, recv, Bytes::new())),
            Some(sorter) => ready!(sorter.poll_bi(&self.connection, context)),
        };
        let (send, recv, head) = accepted.map_err(|error| error::connection(error.0))?;
        let frames = Frames::of_message(Role::Server, self.max_frame, head);
        let recv = RecvStream::new(recv, self.connection.clone(), Bytes::new(), frames);
        Poll::Ready(Ok(BidiStream::new(SendStream::new(send), recv)))
    }

    fn opener(&self) -> Self::OpenStreams {
        self.opener.clone()
    }
}
