//! What both sides agree on about permessage-deflate (RFC 7692 section 7.1), both roles.
//!
//! Not here: the grammar of the header (`extension.rs`) and the compressing (`deflate.rs`).
//! Invariant: what comes out of here can be kept: window bits are 9 to 15. A window of 8 bits is
//! not one of them, as no implementation of zlib compresses with it; what was compressed with 8
//! can be inflated with 9.

use std::fmt::Write as _;

use super::Role;
use super::extension::{PERMESSAGE_DEFLATE, Parameters, elements, is_deflate, parameters};
use crate::http::BadResponse;

/// The smallest window that this side can compress with, in bits.
pub const WINDOW_BITS_MIN: u8 = 9;
/// The largest window there is, in bits.
pub const WINDOW_BITS_MAX: u8 = 15;

/// What both sides agreed on: how each of them compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// The server's window, 9 to 15 bits.
    pub server_window_bits: u8,
    /// The client's window, 9 to 15 bits.
    pub client_window_bits: u8,
    /// Each message of the server stands for itself.
    pub server_no_context_takeover: bool,
    /// Each message of the client stands for itself.
    pub client_no_context_takeover: bool,
}

/// How one side compresses, and the other inflates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// 9 to 15.
    pub window_bits: u8,
    /// A message may refer to those before it.
    pub context_takeover: bool,
}

impl Deflate {
    /// How this side compresses what it sends.
    #[must_use]
    pub const fn outgoing(&self, role: Role) -> Direction {
        match role {
            Role::Server => Direction {
                window_bits: self.server_window_bits,
                context_takeover: !self.server_no_context_takeover,
            },
            Role::Client => Direction {
                window_bits: self.client_window_bits,
                context_takeover: !self.client_no_context_takeover,
            },
        }
    }

    /// How this side inflates what it receives.
    #[must_use]
    pub const fn incoming(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.outgoing(Role::Client),
            Role::Client => self.outgoing(Role::Server),
        }
    }
}

/// What a server is ready to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateTerms {
    /// The largest window of either side, 9 to 15 bits; that of a client which does not let its
    /// window be limited is 15.
    pub window_bits_max: u8,
    /// Whether a connection may have contexts of its own. If not, both sides are told to start
    /// each message anew.
    pub context_takeover: bool,
}

/// An offer that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// What is agreed.
    pub deflate: Deflate,
    /// What the answer says of it.
    answer: Parameters,
}

impl Negotiated {
    /// The value of `Sec-WebSocket-Extensions` in the 101.
    #[must_use]
    pub fn answer(&self) -> String {
        encode(&self.answer)
    }
}

/// Accepts the first acceptable offer in the values of `Sec-WebSocket-Extensions`, for the server
/// role. Whatever cannot be accepted is passed over; `None`: no compression.
pub fn negotiate_deflate<'b>(
    values: impl Iterator<Item = &'b [u8]>,
    terms: &DeflateTerms,
) -> Option<Negotiated> {
    values
        .flat_map(elements)
        .filter(|element| is_deflate(element))
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.1
        //# A server MUST decline an extension negotiation offer for this
        //# extension if any of the following conditions are met:
        .filter_map(parameters)
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
        //# Extensions not listed by the client MUST NOT be listed.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-9
        //# A server MUST NOT respond with any extension not requested by the client.
        .find_map(|offer| accept(&offer, terms))
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-9
//# If extension parameters are included in negotiations between the client and the server,
//# those parameters MUST be chosen in accordance with the specification of the extension to
//# which the parameters apply.
fn accept(offer: &Parameters, terms: &DeflateTerms) -> Option<Negotiated> {
    let bits_max = terms.window_bits_max;
    let server_window_bits = offer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX).min(bits_max);
    if server_window_bits < WINDOW_BITS_MIN {
        return None;
    }
    //= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.2
    //# If a received extension negotiation offer doesn't have the
    //# "client_max_window_bits" extension parameter, the corresponding
    //# extension negotiation response to the offer MUST NOT include the
    //# "client_max_window_bits" extension parameter.
    let client_bits =
        offer.client_max_window_bits.map(|bits| bits.unwrap_or(WINDOW_BITS_MAX).min(bits_max));
    let deflate = Deflate {
        server_window_bits,
        client_window_bits: client_bits.unwrap_or(WINDOW_BITS_MAX).max(WINDOW_BITS_MIN),
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.1.1
        //# A server accepts an extension negotiation offer that includes the
        //# "server_no_context_takeover" extension parameter by including the
        //# "server_no_context_takeover" extension parameter in the corresponding
        //# extension negotiation response to send back to the client.
        server_no_context_takeover: offer.server_no_context_takeover || !terms.context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover || !terms.context_takeover,
    };
    let says_server_bits =
        offer.server_max_window_bits.is_some() || server_window_bits < WINDOW_BITS_MAX;
    let answer = Parameters {
        server_no_context_takeover: deflate.server_no_context_takeover,
        client_no_context_takeover: deflate.client_no_context_takeover,
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.1
        //# A server accepts an extension negotiation offer with this parameter
        //# by including the "server_max_window_bits" extension parameter in the
        //# extension negotiation response to send back to the client with the
        //# same or smaller value as the offer.
        server_max_window_bits: says_server_bits.then_some(server_window_bits),
        // 8 is answered as 8: a larger value than the offer's would be an offence.
        client_max_window_bits: client_bits.filter(|&bits| bits < WINDOW_BITS_MAX).map(Some),
    };
    Some(Negotiated { deflate, answer })
}

/// What a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateOffer {
    /// The largest window the server may use, 9 to 15 bits; 15 is not mentioned.
    pub server_window_bits: u8,
    /// The client's own window, 9 to 15 bits, which the server may narrow; 15 is offered without
    /// a value. `None`: the server is not given that choice.
    pub client_window_bits: Option<u8>,
    /// Asks the server to start each message anew.
    pub server_no_context_takeover: bool,
    /// Promises to start each message anew.
    pub client_no_context_takeover: bool,
}

impl Default for DeflateOffer {
    /// What browsers offer: `permessage-deflate; client_max_window_bits`.
    fn default() -> Self {
        Self {
            server_window_bits: WINDOW_BITS_MAX,
            client_window_bits: Some(WINDOW_BITS_MAX),
            server_no_context_takeover: false,
            client_no_context_takeover: false,
        }
    }
}

/// The value of `Sec-WebSocket-Extensions` in a client's request. Several offers are joined with
/// commas, or sent as headers of their own, the preferred first.
#[must_use]
pub fn encode_deflate_offer(offer: &DeflateOffer) -> String {
    let named = |bits: u8| Some(bits).filter(|&bits| bits < WINDOW_BITS_MAX);
    encode(&Parameters {
        server_no_context_takeover: offer.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover,
        server_max_window_bits: named(offer.server_window_bits),
        client_max_window_bits: offer.client_window_bits.map(named),
    })
}

/// What the server's answer to `offer` comes to, for the client role.
//= https://www.rfc-editor.org/rfc/rfc7692#section-7.1
//# A client MUST _Fail the WebSocket Connection_ if the peer server
//# accepted an extension negotiation offer for this extension with an
//# extension negotiation response meeting any of the following
//# conditions:
pub(super) fn check_answer<'b>(
    mut values: impl Iterator<Item = &'b [u8]>,
    offer: Option<&DeflateOffer>,
) -> Result<Option<Deflate>, BadResponse> {
    const NOT_ASKED: BadResponse = BadResponse("the 101 has an extension that was not asked for");
    const BAD: BadResponse = BadResponse("the 101 has bad parameters of permessage-deflate");
    const NOT_KEPT: BadResponse =
        BadResponse("the 101 goes beyond the offer of permessage-deflate");
    let Some(value) = values.next() else { return Ok(None) };
    let mut all = elements(value);
    //= https://www.rfc-editor.org/rfc/rfc7692#section-5
    //# A client that received a response accepting a PMCE extension negotiation offer together
    //# with such an extension MUST _Fail the WebSocket Connection_.
    let (Some(element), None, None) = (all.next(), all.next(), values.next()) else {
        return Err(NOT_ASKED);
    };
    //= https://www.rfc-editor.org/rfc/rfc7692#section-5
    //# If a server gives an invalid response, such as accepting a PMCE that the client did not
    //# offer, the client MUST _Fail the WebSocket Connection_.
    let Some(offer) = offer.filter(|_| is_deflate(element)) else { return Err(NOT_ASKED) };
    //= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
    //# If a value is received by either the client or the server during negotiation that does
    //# not conform to the ABNF below, the recipient of such malformed data MUST immediately
    //# _Fail the WebSocket Connection_.
    let answer = parameters(element).ok_or(BAD)?;
    let server_bits = answer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
    if server_bits > offer.server_window_bits
        || (offer.server_no_context_takeover && !answer.server_no_context_takeover)
    {
        return Err(NOT_KEPT);
    }
    let client_bits = match (answer.client_max_window_bits, offer.client_window_bits) {
        (None, own) => own.unwrap_or(WINDOW_BITS_MAX),
        (Some(_), None) => return Err(NOT_KEPT),
        (Some(None), Some(_)) => return Err(BAD),
        // Nothing here can compress with a window of 8 bits.
        (Some(Some(..WINDOW_BITS_MIN)), Some(_)) => return Err(NOT_KEPT),
        (Some(Some(bits)), Some(own)) => bits.min(own),
    };
    Ok(Some(Deflate {
        server_window_bits: server_bits.max(WINDOW_BITS_MIN),
        client_window_bits: client_bits,
        server_no_context_takeover: answer.server_no_context_takeover,
        client_no_context_takeover: answer.client_no_context_takeover
            || offer.client_no_context_takeover,
    }))
}

fn encode(parameters: &Parameters) -> String {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
    //# Any extension-token used MUST be a registered token (see Section 11.4).
    //= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
    //# The parameters supplied with any given extension MUST be defined for that extension.
    let mut out = PERMESSAGE_DEFLATE.to_owned();
    if parameters.server_no_context_takeover {
        out.push_str("; server_no_context_takeover");
    }
    if parameters.client_no_context_takeover {
        out.push_str("; client_no_context_takeover");
    }
    // Writing to a string cannot fail.
    if let Some(bits) = parameters.server_max_window_bits {
        let _ = write!(out, "; server_max_window_bits={bits}");
    }
    match parameters.client_max_window_bits {
        Some(Some(bits)) => {
            let _ = write!(out, "; client_max_window_bits={bits}");
        }
        Some(None) => out.push_str("; client_max_window_bits"),
        None => {}
    }
    out
}
