//! HTTP/1.1 heads, in both roles, and the rules that hold for every request.
//!
//! A head is found by [`HeadScanner`] while its bytes arrive, then parsed once by
//! [`parse_request`] or [`parse_response`]; everything parsed is borrowed from the head. Bodies
//! are the caller's: a request says how its own is framed, and [`ChunkedBody`] reads the one
//! framing that is not just a length. Other transfer codings are refused (501).

mod chunked;
mod forwarded;
mod head;
mod origin;
mod percent;
mod refusal;
mod request;
mod response;

pub use chunked::{BodyLimits, ChunkedBody};
pub use forwarded::forwarded_for;
pub use head::{HEADERS_MAX, HeadLimits, HeadScanner, Headers};
pub use origin::origin_allowed;
pub use percent::{percent_decode, query_value};
pub use refusal::{Refusal, encode_refusal};
pub use request::{Body, Method, Request, encode_request, parse_request};
pub use response::{
    BadResponse, Response, encode_continue, encode_response, encode_response_head, parse_response,
    reason_phrase,
};

pub(crate) use head::{has_token, is_token_byte, list, write_header};
pub(crate) use request::encode_request_line;
