//! What the `metrics` facade is told of requests: `tercel_http_requests_total` by protocol and class of
//! status, `tercel_http_requests_pending`, and `tercel_http_response_seconds`, the time until the service
//! has answered, without that of the body.

use std::time::Instant;

use http::{Request, StatusCode, Version};
use metrics::{Label, Unit};

/// A request that the service is asked.
pub(super) struct Measured {
    protocol: &'static str,
    began: Instant,
}

const REQUESTS: &str = "tercel_http_requests_total";
const PENDING: &str = "tercel_http_requests_pending";
const RESPONSE: &str = "tercel_http_response_seconds";

/// Says what the figures are.
pub(super) fn describe() {
    metrics::describe_counter!(REQUESTS, "Requests that were answered, by protocol and class of status.");
    metrics::describe_gauge!(PENDING, "Requests whose answer is not known yet.");
    metrics::describe_histogram!(RESPONSE, Unit::Seconds, "The time until the service has answered, without bodies.");
}

impl Measured {
    #[expect(clippy::disallowed_methods, reason = "a request's time is for people, not for the protocol")]
    pub(super) fn begin<B>(request: &Request<B>) -> Self {
        metrics::gauge!(PENDING).increment(1);
        let protocol = match request.version() {
            Version::HTTP_3 => "HTTP/3",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        };
        Self { protocol, began: Instant::now() }
    }

    pub(super) fn end(self, status: StatusCode) {
        let class = match status.as_u16() {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        let labels = vec![Label::new("protocol", self.protocol), Label::new("status", class)];
        metrics::counter!(REQUESTS, labels).increment(1);
        metrics::histogram!(RESPONSE, "protocol" => self.protocol).record(self.began.elapsed());
    }
}

impl Drop for Measured {
    /// Answered, or given up by the client.
    fn drop(&mut self) {
        metrics::gauge!(PENDING).decrement(1);
    }
}
