//! Flags about several machines.
//!
//! Not here: what they do. Whether they make sense together is decided where they are used.

use clap::Args;
use std::fmt;

use super::traffic::SourceFlag;
use super::{traffic, units};

/// Flags of `run` that have it carried out by agents.
#[derive(Clone, Args)]
pub(crate) struct AgentsFlags {
    /// Have the run carried out by agents that listen at this NATS server: nats://HOST:4222 or
    /// tls://, with USER:PASSWORD@ where needed
    #[arg(long, env = "LOADGEN_NATS", hide_env_values = true, value_name = "URL")]
    pub(crate) nats: Option<String>,
    /// How many agents share the run
    #[arg(long, env = "LOADGEN_AGENTS", default_value = "1", value_name = "N")]
    #[arg(value_parser = units::count_32)]
    pub(crate) agents: u32,
    /// How long they may take to answer the call
    #[arg(long, env = "LOADGEN_AGENTS_TIMEOUT", default_value = "10s", value_name = "TIME")]
    #[arg(value_parser = units::duration_ns)]
    pub(crate) agents_timeout: u64,
}

/// The URL may hold a password.
impl fmt::Debug for AgentsFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentsFlags").field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// Flags of `agent`.
#[derive(Args)]
pub(crate) struct AgentFlags {
    /// The NATS server that plans come from: nats://HOST:4222 or tls://, with USER:PASSWORD@ where
    /// needed. Whoever may publish there can aim this machine's load
    #[arg(long, env = "LOADGEN_NATS", hide_env_values = true, value_name = "URL")]
    pub(crate) nats: String,
    /// What results call this agent [default: agent-PID]
    #[arg(long, env = "LOADGEN_NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// End after one run
    #[arg(long, env = "LOADGEN_ONCE")]
    pub(crate) once: bool,
    /// Refuse plans against anything else: HOST, HOST:PORT or unix:PATH, repeatable
    #[arg(long, env = "LOADGEN_ALLOW_TARGET", value_name = "HOST", value_delimiter = ',')]
    pub(crate) allow_target: Vec<String>,
    /// Measuring threads [default: the plan's]
    #[arg(short, long, env = "LOADGEN_THREADS", value_name = "N", value_parser = units::count_32)]
    pub(crate) threads: Option<u32>,
    /// Processors that the threads are pinned to: 0,2-3
    #[arg(long, env = "LOADGEN_CPUS", value_name = "LIST")]
    pub(crate) cpus: Option<String>,
    /// Addresses that connections are made from, as in `run`
    #[arg(long, env = "LOADGEN_SOURCE_IP", value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = traffic::source)]
    pub(crate) source_ip: Vec<SourceFlag>,
    /// Say nothing but errors
    #[arg(long, env = "LOADGEN_QUIET")]
    pub(crate) quiet: bool,
}

/// The URL may hold a password.
impl fmt::Debug for AgentFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentFlags").field("name", &self.name).finish_non_exhaustive()
    }
}
