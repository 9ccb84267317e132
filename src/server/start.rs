//! What is settled before any worker runs: the engine, and the sockets.
//!
//! Not here: workers. Invariant: whatever cannot be had is a failure of the configuration, with the
//! cure.

use ringwire_ring::{Features, ListenOptions, Listener, bind, bind_unix};

use crate::config::{Address, Config, EngineChoice, Listen};
use crate::failure::Failure;

/// Listens on all addresses: says where, and gives each worker its sockets in the same order.
pub(super) fn bind_all(
    listeners: &[Listen],
    workers: usize,
    options: &ListenOptions,
) -> Result<(Vec<Listen>, Vec<Vec<Listener>>), Failure> {
    let mut found = Vec::with_capacity(listeners.len());
    let mut sockets: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for listen in listeners {
        let bound = match &listen.address {
            Address::Tcp(address) => bind(*address, workers, options)
                .map(|(address, sockets)| (Address::Tcp(address), sockets)),
            Address::Unix(path) => {
                bind_unix(path, workers, options).map(|sockets| (listen.address.clone(), sockets))
            }
        };
        let (address, bound) =
            bound.map_err(|refusal| Failure::configuration(refusal.to_string()))?;
        found.push(Listen { address, tls: listen.tls });
        for (own, socket) in sockets.iter_mut().zip(bound) {
            own.push(socket);
        }
    }
    Ok((found, sockets))
}

/// The engine's name, its features, and what the operator should know about the choice.
pub(super) fn choose_engine(
    config: &Config,
) -> Result<(&'static str, Features, Vec<String>), Failure> {
    if config.engine == EngineChoice::Epoll {
        return Ok(("epoll", Features::all(), Vec::new()));
    }
    match ringwire_ring::probe() {
        Ok(features) => {
            let note = "the kernel takes no restrictions of a ring: it serves without them";
            let notes = (!features.restrictions).then(|| note.to_owned());
            Ok(("uring", masked(features), notes.into_iter().collect()))
        }
        Err(refusal) if config.engine == EngineChoice::Auto => {
            let note = format!("io_uring cannot be used, epoll serves instead: {refusal}");
            Ok(("epoll", Features::all(), vec![note]))
        }
        Err(refusal) => Err(Failure::configuration(refusal.to_string())),
    }
}

/// Switches features off by name, for comparisons of one build with itself.
fn masked(mut features: Features) -> Features {
    let off = std::env::var("RINGWIRE_FEATURES_OFF").unwrap_or_default();
    for name in off.split(',') {
        match name.trim() {
            "silent_sends" | "optimistic_send" => features.silent_sends = false,
            "incremental_buffers" => features.incremental_buffers = false,
            "capped_receive" => features.capped_receive = false,
            "ring_messages" => features.ring_messages = false,
            "restrictions" => features.restrictions = false,
            _ => {}
        }
    }
    features
}
