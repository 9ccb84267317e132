//! The life of a WebSocket connection: Connecting, Open, Closing, Closed.
//!
//! It says what to answer to a Close and to a violation, and who ends the TCP connection. It
//! does not hold timers or bytes: its user sends the Close that an [`Answer`] names, and bounds
//! every waiting by its own close timeout. At most one Close is ever asked for.

use super::{CloseCode, CloseFrame, Role, Violation};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The handshake is not done.
    Connecting,
    /// Messages go both ways.
    Open,
    /// A Close was sent or received; no more messages are sent.
    Closing,
    /// The TCP connection is gone.
    Closed,
}

/// What to do with the TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing yet: the peer still has something to say, for the close timeout at most.
    Stay,
    /// Send what is queued, then end this direction first and wait for the peer's end.
    Finish,
    /// The peer ends first: wait for that, for the close timeout at most.
    Await,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Send a Close with this code; [`CloseCode::NONE`] is an empty one.
    pub close: Option<CloseCode>,
    /// Then do this with the connection.
    pub end: End,
}

/// The life of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    role: Role,
    state: State,
    close_sent: bool,
    /// What the application will be told.
    code: CloseCode,
}

impl Life {
    /// Before the handshake.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self { role, state: State::Connecting, close_sent: false, code: CloseCode::ABNORMAL }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether messages, pings and pongs may still be sent.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
    //# The application MUST NOT send any more data frames after sending a
    //# Close frame.
    #[must_use]
    //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
    //# If at any point the state of the WebSocket connection changes, the endpoint MUST abort
    //# the following steps.
    pub const fn may_send(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// The code of the peer's Close, [`CloseCode::NONE`] if that was empty,
    /// [`CloseCode::ABNORMAL`] while none has come.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.5
    //# If _The WebSocket Connection
    //# is Closed_ and no Close control frame was received by the endpoint
    //# (such as could occur if the underlying transport connection is lost),
    //# _The WebSocket Connection Close Code_ is considered to be 1006.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The 101 was sent, or received and found good.
    pub fn opened(&mut self) {
        if self.state == State::Connecting {
            self.state = State::Open;
        }
    }

    /// This side wants to close.
    pub fn close(&mut self, code: CloseCode) -> Answer {
        match self.state {
            State::Connecting => {
                self.state = State::Closing;
                Answer { close: None, end: End::Finish }
            }
            State::Open => self.send(code, End::Stay),
            State::Closing | State::Closed => Answer { close: None, end: End::Stay },
        }
    }

    /// The peer's Close came.
    pub fn received_close(&mut self, frame: Option<&CloseFrame<'_>>) -> Answer {
        self.code = frame.map_or(CloseCode::NONE, |frame| frame.code);
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1
        //# The underlying TCP connection, in most normal cases, SHOULD be closed
        //# first by the server, so that it holds the TIME_WAIT state and not the
        //# client
        let end = match self.role {
            Role::Server => End::Finish,
            Role::Client => End::Await,
        };
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
        //# If an endpoint receives a Close frame and did not previously send a
        //# Close frame, the endpoint MUST send a Close frame in response.
        self.send(self.code, end)
    }

    /// The peer broke the protocol: tell it, and end without waiting for its Close.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.7
    //# An endpoint MUST NOT continue to attempt to process data (including a
    //# responding Close frame) from the remote endpoint after being
    //# instructed to _Fail the WebSocket Connection_.
    pub fn violated(&mut self, violation: Violation) -> Answer {
        self.send(CloseCode(violation.close_code()), End::Finish)
    }

    /// The TCP connection ended, in whatever way.
    pub fn ended(&mut self) {
        self.state = State::Closed;
    }

    fn send(&mut self, code: CloseCode, end: End) -> Answer {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.2
        //# an endpoint MUST send a Close control frame
        let close = (self.state == State::Open || self.state == State::Closing)
            .then_some(code)
            .filter(|_| !self.close_sent);
        if self.state == State::Closed {
            return Answer { close: None, end: End::Stay };
        }
        self.close_sent = true;
        self.state = State::Closing;
        Answer { close, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(role: Role) -> Life {
        let mut life = Life::new(role);
        assert_eq!(life.state(), State::Connecting);
        assert!(!life.may_send());
        life.opened();
        assert_eq!(life.state(), State::Open);
        assert!(life.may_send());
        life
    }

    fn frame(code: u16) -> CloseFrame<'static> {
        CloseFrame { code: CloseCode(code), reason: "" }
    }

    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
    //= type=test
    //# If an endpoint receives a Close frame and did not previously send a
    //# Close frame, the endpoint MUST send a Close frame in response.
    #[test]
    fn the_peers_close_is_answered_with_its_own_code() {
        for (role, end) in [(Role::Server, End::Finish), (Role::Client, End::Await)] {
            let mut life = open(role);
            let answer = life.received_close(Some(&frame(3001)));
            assert_eq!(answer, Answer { close: Some(CloseCode(3001)), end });
            assert!(!life.may_send());
            assert_eq!((life.state(), life.code()), (State::Closing, CloseCode(3001)));
            life.ended();
            assert_eq!((life.state(), life.code()), (State::Closed, CloseCode(3001)));

            let mut life = open(role);
            let answer = life.received_close(None);
            assert_eq!(answer, Answer { close: Some(CloseCode::NONE), end });
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1
    //= type=test
    //# The underlying TCP connection, in most normal cases, SHOULD be closed
    //# first by the server, so that it holds the TIME_WAIT state and not the
    //# client
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
    //= type=test
    //# The application MUST NOT send any more data frames after sending a Close frame.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
    //= type=test
    //# The endpoint MUST ensure the WebSocket connection is in the OPEN state (cf. Sections 4.1
    //# and 4.2.2.)
    //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
    //= type=test
    //# If at any point the state of the WebSocket connection changes, the endpoint MUST abort
    //# the following steps.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.2
    //= type=test
    //# To _Start the WebSocket Closing Handshake_ with a status code (Section 7.4) /code/ and
    //# an optional close reason (Section 7.1.6) /reason/, an endpoint MUST send a Close control
    //# frame, as described in Section 5.5.1, whose status code is set to /code/ and whose close
    //# reason is set to /reason/.
    #[test]
    fn our_close_waits_for_the_peers() {
        for (role, end) in [(Role::Server, End::Finish), (Role::Client, End::Await)] {
            let mut life = open(role);
            let answer = life.close(CloseCode::GOING_AWAY);
            let sent = Answer { close: Some(CloseCode::GOING_AWAY), end: End::Stay };
            assert_eq!(answer, sent);
            assert_eq!(life.state(), State::Closing);
            assert_eq!(life.code(), CloseCode::ABNORMAL);
            let nothing = Answer { close: None, end: End::Stay };
            assert_eq!(life.close(CloseCode::NORMAL), nothing, "only one Close");
            let answer = life.received_close(Some(&frame(1001)));
            assert_eq!(answer, Answer { close: None, end });
            assert_eq!(life.code(), CloseCode::GOING_AWAY);
        }
    }

    #[test]
    fn a_violation_is_told_and_ends_the_connection() {
        for role in [Role::Server, Role::Client] {
            let mut life = open(role);
            let answer = life.violated(Violation::TextNotUtf8);
            let told = Answer { close: Some(CloseCode::NOT_UTF8), end: End::Finish };
            assert_eq!(answer, told);
            assert_eq!((life.state(), life.code()), (State::Closing, CloseCode::ABNORMAL));

            let mut life = open(role);
            life.close(CloseCode::NORMAL);
            let silent = Answer { close: None, end: End::Finish };
            assert_eq!(life.violated(Violation::ReservedBits), silent);
        }
    }

    #[test]
    fn without_a_handshake_there_is_no_close_frame() {
        let mut life = Life::new(Role::Server);
        let end = Answer { close: None, end: End::Finish };
        assert_eq!(life.close(CloseCode::GOING_AWAY), end);
        life.opened();
        assert_eq!(life.state(), State::Closing, "too late to open");
        let mut life = Life::new(Role::Server);
        assert_eq!(life.violated(Violation::ReservedBits), end);
        life.ended();
        assert_eq!(life.code(), CloseCode::ABNORMAL);
        assert_eq!(life.close(CloseCode::NORMAL), Answer { close: None, end: End::Stay });
    }
}
