//! What a peer can do wrong in frames and messages, and the close code that says so.

/// The peer broke the protocol or a limit; the connection has to be failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A client's frame came without a mask.
    Unmasked,
    /// A server's frame came masked.
    Masked,
    /// A reserved bit is set and no extension gave it a meaning.
    ReservedBits,
    /// The opcode is one of 3-7 or 11-15.
    ReservedOpcode,
    /// A control frame came in pieces.
    ControlFragmented,
    /// A control frame has more than 125 bytes.
    ControlTooLong,
    /// The length is written in more bytes than it needs.
    LengthNotMinimal,
    /// The 64-bit length has its top bit set.
    LengthTopBit,
    /// A continuation, but no message is open.
    ContinuationWithoutStart,
    /// A new message before the last one was finished.
    MessageInsideMessage,
    /// A close payload of one byte.
    CloseTooShort,
    /// A close code that may not be sent.
    CloseCodeInvalid,
    /// A close reason that is not UTF-8.
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8.
    TextNotUtf8,
    /// A message beyond the limit.
    MessageTooBig,
    /// More empty fragments in one message than the limit.
    TooManyEmptyFragments,
    /// A compressed message that cannot be inflated.
    DeflateInvalid,
}

impl Violation {
    /// The close code that tells the peer.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::Unmasked
            | Self::Masked
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ContinuationWithoutStart
            | Self::MessageInsideMessage
            | Self::CloseTooShort
            | Self::CloseCodeInvalid => 1002,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 | Self::DeflateInvalid => 1007,
            Self::TooManyEmptyFragments => 1008,
            Self::MessageTooBig => 1009,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Unmasked => "a client must mask its frames",
            Self::Masked => "a server must not mask its frames",
            Self::ReservedBits => "reserved bits are set",
            Self::ReservedOpcode => "the opcode is reserved",
            Self::ControlFragmented => "a control frame must not be fragmented",
            Self::ControlTooLong => "a control frame has more than 125 bytes",
            Self::LengthNotMinimal => "the length is not written in its shortest form",
            Self::LengthTopBit => "the length has its top bit set",
            Self::ContinuationWithoutStart => "a continuation without a message to continue",
            Self::MessageInsideMessage => "a new message inside an unfinished one",
            Self::CloseTooShort => "a close payload of one byte",
            Self::CloseCodeInvalid => "the close code may not be sent",
            Self::CloseReasonNotUtf8 => "the close reason is not UTF-8",
            Self::TextNotUtf8 => "the text is not UTF-8",
            Self::MessageTooBig => "the message is too big",
            Self::TooManyEmptyFragments => "too many empty fragments",
            Self::DeflateInvalid => "the compressed message cannot be inflated",
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Violation {}
