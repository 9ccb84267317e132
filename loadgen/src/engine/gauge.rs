//! Where it is read what a server uses: its process, its control group, or its own metrics.
//!
//! Not here: when to look, and differences. Invariants: a server that cannot be looked at is said
//! so before the run; afterwards it gives no figure, never 0; nothing here waits longer than
//! [`PATIENCE`], nor holds more than a response may have.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringwire_ring::{Address, ProcessClock};

use crate::engine::answer::Reader;
use crate::outcome::{Failure, ServerSource};
use crate::scenario::{Gauged, Scenario};

/// How long a metrics server may take to be reached, and between two pieces of its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pieces of an answer that are read, at most.
const PIECES_MAX: usize = 4_096;

/// Where it is read what the server uses.
#[derive(Clone, Debug)]
pub(crate) enum Gauge {
    Process(u32, ProcessClock),
    Group(PathBuf),
    Metrics { address: SocketAddr, host: String, path: String },
}

/// What a server has used so far, and has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: u64,
    pub(crate) memory_bytes: u64,
}

impl Gauge {
    /// What `scenario` names, if it can be read.
    pub(crate) fn of(scenario: &Scenario) -> Result<Option<Self>, Failure> {
        let gauge = match (&scenario.server_pid, &scenario.server_gauged) {
            (Some(pid), _) => Self::of_process(*pid)?,
            (None, Some(Gauged::Group(path))) => Self::Group(path.clone()),
            (None, Some(Gauged::Metrics(target))) => match &target.address {
                Address::Tcp(address) => Self::Metrics {
                    address: *address,
                    host: target.host.clone(),
                    path: target.path.clone(),
                },
                Address::Unix(_) => {
                    return Err(Failure::configuration("--server-metrics needs host and port"));
                }
            },
            (None, None) => return Ok(None),
        };
        gauge.read().map(|_| Some(gauge)).map_err(Failure::configuration)
    }

    fn of_process(pid: u32) -> Result<Self, Failure> {
        let clock = ProcessClock::of(pid).map_err(|error| {
            Failure::configuration(format!(
                "--server-pid {pid} cannot be looked at ({error}): name a process that runs"
            ))
        })?;
        Ok(Self::Process(pid, clock))
    }

    /// Who tells.
    pub(crate) fn source(&self) -> ServerSource {
        match self {
            Self::Process(..) => ServerSource::Process,
            Self::Group(_) => ServerSource::Group,
            Self::Metrics { .. } => ServerSource::Metrics,
        }
    }

    /// Whether it is read in a few microseconds, so that it may be done often.
    pub(crate) fn is_cheap(&self) -> bool {
        !matches!(self, Self::Metrics { .. })
    }

    /// What is used now, or one line that says why that cannot be told, and the cure.
    pub(crate) fn read(&self) -> Result<Usage, String> {
        match self {
            Self::Process(pid, clock) => {
                let usage = clock.cpu_ns().ok().zip(rss_bytes(*pid));
                usage.map(|(cpu_ns, memory_bytes)| Usage { cpu_ns, memory_bytes }).ok_or_else(
                    || format!("--server-pid {pid} cannot be looked at: name a process that runs"),
                )
            }
            Self::Group(path) => of_group(path),
            Self::Metrics { address, host, path } => {
                let url = format!("http://{host}{path}");
                let text = fetch(*address, host, path)
                    .map_err(|why| format!("--server-metrics {url}: {why}; check the URL"))?;
                parse_metrics(&text).ok_or_else(|| {
                    format!(
                        "--server-metrics {url} tells no process_cpu_seconds_total and \
                         process_resident_memory_bytes; use --server-pid or --server-cgroup"
                    )
                })
            }
        }
    }
}

/// Resident memory of a process.
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    parse_rss(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A control group of version 2, with all that runs in it and below.
fn of_group(path: &Path) -> Result<Usage, String> {
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
    let (cpu, memory) = (read("cpu.stat"), read("memory.current"));
    let usage_us: Option<u64> =
        cpu.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
    let usage = usage_us.zip(memory.trim().parse().ok());
    let usage = usage.map(|(us, memory_bytes)| Usage { cpu_ns: us * 1_000, memory_bytes });
    usage.ok_or_else(|| {
        format!(
            "--server-cgroup {}: no cpu.stat and memory.current there; name a directory of \
             cgroup v2 with both controllers on, as below /sys/fs/cgroup",
            path.display()
        )
    })
}

/// The body of a page.
fn fetch(address: SocketAddr, host: &str, path: &str) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(words)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(words)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(words)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    let (mut reader, mut piece) = (Reader::default(), vec![0; 64 * 1024]);
    for _ in 0..PIECES_MAX {
        let count = stream.read(&mut piece).map_err(words)?;
        if count == 0 {
            return Err("the answer has no end".to_owned());
        }
        let whole = reader.read(&piece[..count], |answer| match answer.head.status {
            200 => Ok(String::from_utf8_lossy(answer.body).into_owned()),
            status => Err(format!("the answer is {status}")),
        });
        if let Some(text) = whole.map_err(|code| format!("no answer ({code})"))? {
            return text;
        }
    }
    Err("the answer is too long".to_owned())
}

/// The sums of what Prometheus's client libraries call a process's processor time and memory.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, and neither negative nor beyond what a process can use"
)]
fn parse_metrics(text: &str) -> Option<Usage> {
    let sum = |name: &str| {
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once('}')?.1,
                None => rest.strip_prefix([' ', '\t'])?,
            };
            let value: f64 = value.split_whitespace().next()?.parse().ok()?;
            (value.is_finite() && value >= 0.0).then_some(value)
        });
        values.reduce(|a, b| a + b)
    };
    let cpu_s = sum("process_cpu_seconds_total")?;
    let memory = sum("process_resident_memory_bytes")?;
    Some(Usage { cpu_ns: (cpu_s * 1e9).round() as u64, memory_bytes: memory.round() as u64 })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    use super::{Gauge, Usage, parse_metrics, parse_rss, rss_bytes};

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(parse_rss("Name:\tx\nVmRSS:\t    5704 kB\nRssAnon:\t1 kB\n"), Some(5704 * 1024));
        assert_eq!(parse_rss("Name:\tzombie\n"), None);
        assert!(rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
    }

    #[test]
    fn metrics_are_summed_whatever_their_labels() {
        let text = "# HELP process_cpu_seconds_total x\n# TYPE process_cpu_seconds_total counter\n\
                    process_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 2.5e+07 1700\n";
        assert_eq!(
            parse_metrics(text),
            Some(Usage { cpu_ns: 1_500_000_000, memory_bytes: 25_000_000 })
        );
        let text = "process_cpu_seconds_total{mode=\"user } \"} 1\n\
                    process_cpu_seconds_total{mode=\"system\"} 0.25\n\
                    process_resident_memory_bytes 7\nprocess_resident_memory_bytes_max 9\n";
        assert_eq!(parse_metrics(text), Some(Usage { cpu_ns: 1_250_000_000, memory_bytes: 7 }));
        for bad in ["", "process_cpu_seconds_total 1\n", "process_cpu_seconds_total NaN\n"] {
            assert_eq!(parse_metrics(bad), None, "{bad}");
        }
    }

    /// A server of one answer.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let len = stream.read(&mut request).unwrap();
            assert!(request[..len].starts_with(b"GET /metrics HTTP/1.1\r\nHost: h\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn a_metrics_page_is_read_and_a_wrong_one_is_refused_with_the_cure() {
        let read = |answer| {
            let (host, path) = ("h".to_owned(), "/metrics".to_owned());
            Gauge::Metrics { address: answering(answer), host, path }.read()
        };
        let good = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n\
                    process_cpu_seconds_total 2\n\r\n\
                    22\r\nprocess_resident_memory_bytes 900\n\r\n0\r\n\r\n";
        assert_eq!(read(good), Ok(Usage { cpu_ns: 2_000_000_000, memory_bytes: 900 }));
        let table = [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the answer is 404"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                "tells no process_cpu_seconds_total",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "has no end"),
            ("SSH-2.0\r\n\r\n", "no answer"),
        ];
        for (answer, expected) in table {
            let line = read(answer).unwrap_err();
            assert!(line.contains(expected) && line.contains("http://h/metrics"), "{line}");
        }
    }

    #[test]
    fn a_control_group_is_read_and_another_directory_refused() {
        let folder = std::env::temp_dir().join(format!("loadgen-group-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let line = Gauge::Group(folder.clone()).read().unwrap_err();
        assert!(line.contains("cgroup v2"), "{line}");
        std::fs::write(folder.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        std::fs::write(folder.join("memory.current"), "8192\n").unwrap();
        let read = Gauge::Group(folder.clone()).read();
        assert_eq!(read, Ok(Usage { cpu_ns: 1_500_000, memory_bytes: 8_192 }));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
