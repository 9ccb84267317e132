//! The whole server against the running kernel, on *uring* and on *epoll*: what `interfaces.md`
//! promises, seen by clients that are ordinary blocking sockets.
//!
//! Not here: what needs faults or virtual time (`src/tests/`, on *sim*). Invariants: nothing waits
//! longer than [`harness::LIMIT`]; nothing depends on how long anything takes below that; a server
//! under test must be empty, and must leave by itself, once its clients are gone.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole directory is a test"
)]

/// Runs each of the named tests on both engines.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod uring {
            $(
                #[test]
                fn $name() {
                    super::$name(crate::harness::Engine::Uring);
                }
            )+
        }
        mod epoll {
            $(
                #[test]
                fn $name() {
                    super::$name(crate::harness::Engine::Epoll);
                }
            )+
        }
    };
}

mod capacity;
mod channels;
mod client;
mod compression;
mod drain;
mod floods;
mod harness;
mod http;
mod listeners;
mod metrics;
mod origin;
mod peers;
mod privileges;
mod process;
mod publishing;
mod refusals;
mod requests;
mod resume;
mod secure;
mod secure_client;
mod slow;
#[path = "../requests.rs"]
mod table;
mod websocket;
