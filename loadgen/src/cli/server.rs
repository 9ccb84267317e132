//! Flags that say where it is read what the server uses.

use clap::Args;
use loadgen::outcome::Failure;
use loadgen::scenario::Gauged;
use std::path::PathBuf;

use super::url::{self, Url};

/// Where it is read what the server uses: one of them, or none.
#[derive(Debug, Default, Args)]
pub(crate) struct ServerFlags {
    /// Process of the server: its CPU time and memory are measured
    #[arg(long, env = "LOADGEN_SERVER_PID", value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Control group (v2) of the server, with all its processes: a directory below /sys/fs/cgroup
    #[arg(long, env = "LOADGEN_SERVER_CGROUP", value_name = "PATH")]
    #[arg(conflicts_with = "server_pid")]
    pub(crate) server_cgroup: Option<PathBuf>,
    /// Prometheus page of the server over http: its process_cpu_seconds_total and
    /// process_resident_memory_bytes
    #[arg(long, env = "LOADGEN_SERVER_METRICS", value_name = "URL", value_parser = url::parse)]
    #[arg(conflicts_with_all = ["server_pid", "server_cgroup"])]
    pub(crate) server_metrics: Option<Url>,
}

impl ServerFlags {
    /// What a scenario takes, beside the process.
    pub(crate) fn gauged(&self) -> Result<Option<Gauged>, Failure> {
        if let Some(path) = &self.server_cgroup {
            return Ok(Some(Gauged::Group(path.clone())));
        }
        let Some(url) = &self.server_metrics else { return Ok(None) };
        if url.scheme.is_websocket() || url.scheme.is_secure() {
            let line = "--server-metrics needs an http:// URL";
            return Err(Failure::configuration(line));
        }
        url.target(None).map(Gauged::Metrics).map(Some)
    }
}
