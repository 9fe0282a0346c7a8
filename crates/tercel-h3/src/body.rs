//! The body of a request, whichever version of HTTP it came by.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use http_body::{Body, Frame, SizeHint};

use crate::stream::RecvStream;

/// What a body or a service may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request. What is not read of it holds the client back; dropped, the client is asked to
/// stop.
pub struct RequestBody(Kind);

enum Kind {
    H3 { stream: Box<h3::server::RequestStream<RecvStream, Bytes>>, at: At },
    Tcp(hyper::body::Incoming),
}

/// How far a body has been read.
enum At {
    Data { left: Option<u64> },
    Trailers,
    End,
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestBody")
    }
}

impl RequestBody {
    /// `len` is what the request says of its length.
    pub(crate) fn h3(stream: h3::server::RequestStream<RecvStream, Bytes>, len: Option<u64>) -> Self {
        Self(Kind::H3 { stream: Box::new(stream), at: At::Data { left: len } })
    }

    pub(crate) const fn tcp(body: hyper::body::Incoming) -> Self {
        Self(Kind::Tcp(body))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Kind::H3 { stream, at: At::Data { .. } | At::Trailers } = &mut self.0 {
            // Whoever answers without it needs no more of it (RFC 9114 section 4.1).
            stream.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let (stream, at) = match &mut self.0 {
            Kind::Tcp(body) => return Pin::new(body).poll_frame(context).map_err(Into::into),
            Kind::H3 { stream, at } => (stream, at),
        };
        loop {
            match at {
                At::Data { left } => match ready!(stream.poll_recv_data(context))? {
                    Some(mut data) => {
                        let data = data.copy_to_bytes(data.remaining());
                        if let Some(left) = left {
                            // RFC 9114 section 4.1.2: the lengths must agree.
                            let Some(less) = left.checked_sub(data.len() as u64) else {
                                stream.stop_sending(Code::H3_MESSAGE_ERROR);
                                *at = At::End;
                                return Poll::Ready(Some(Err("the body is longer than its content-length".into())));
                            };
                            *left = less;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    None if left.is_some_and(|left| left > 0) => {
                        *at = At::End;
                        return Poll::Ready(Some(Err("the body is shorter than its content-length".into())));
                    }
                    None => *at = At::Trailers,
                },
                At::Trailers => {
                    let trailers = ready!(stream.poll_recv_trailers(context))?;
                    *at = At::End;
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                At::End => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Tcp(body) => body.is_end_stream(),
            Kind::H3 { at, .. } => matches!(at, At::End),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Tcp(body) => body.size_hint(),
            Kind::H3 { at: At::Data { left: Some(left) }, .. } => SizeHint::with_exact(*left),
            Kind::H3 { .. } => SizeHint::default(),
        }
    }
}
