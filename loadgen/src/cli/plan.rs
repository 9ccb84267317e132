//! From flags to a scenario that can be measured, or one line that says why not and the cure.
//!
//! Flags that contradict each other, or ask for what this machine cannot give, end here with exit
//! code 104, before anything is opened.

use loadgen::outcome::Failure;
use loadgen::scenario::{Compression, Mode, Rate, Scenario, Target, Traffic, Transport};
use loadgen::secure::{Secure, Trust};
use loadgen::speech::Speech;
use loadgen::testee;
use ringwire_ring::Address;
use std::time::Duration;

use super::traffic;
use super::units::{self, Fraction};
use super::url::Url;
use super::{LoadFlags, RunFlags, TesteeFlags, TlsFlags};
use crate::doctor::Facts;

const NS_PER_S: u64 = 1_000_000_000;

/// The largest `--max-message-size`.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;

/// The scenario that the flags of `run` describe.
pub(crate) fn run(flags: &RunFlags) -> Result<Scenario, Failure> {
    let transport = transport(&flags.url, flags.transport.map(Transport::from))?;
    let mode = flags.mode.map(Mode::from).unwrap_or(match transport {
        Transport::Ws => Mode::Echo,
        _ => Mode::Fanout,
    });
    let poll_interval = match (transport, flags.poll_interval.as_slice()) {
        (_, []) => Duration::from_secs(1),
        (Transport::Poll, [one]) => Duration::from_nanos(*one),
        (Transport::Poll, _) => {
            let line = "run takes one --poll-interval; compare takes several";
            return Err(Failure::configuration(line));
        }
        _ => {
            let line = "--poll-interval needs --transport poll";
            return Err(Failure::configuration(line));
        }
    };
    let scenario = Scenario {
        transport,
        mode,
        connections: flags.connections,
        in_flight: flags.in_flight,
        poll_interval,
        server_pid: flags.server.server_pid,
        server_gauged: flags.server.gauged()?,
        secure: secure(&flags.url, &flags.tls)?,
        speech: flags.speech.speech(&flags.tls, run_number())?,
        ..base(&flags.load, target(&flags.url, &flags.load)?)?
    };
    let scenario = traffic::plan(flags, scenario)?;
    let size_bytes = scenario.message_bytes().unwrap_or(scenario.size_bytes);
    let scenario = Scenario { size_bytes, ..scenario };
    // The engine takes no connections in fanout as publishing to nobody: `compare` asks for it.
    if scenario.connections == 0 {
        return Err(Failure::configuration("--connections must be at least 1"));
    }
    check(&scenario)?;
    Ok(scenario)
}

/// What tells this run from others against the same server, before and beside it.
pub(crate) fn run_number() -> u64 {
    crate::machine::started_unix_s() << 22 | u64::from(std::process::id())
}

/// The plan that the flags of `testee` describe.
pub(crate) fn testee(flags: &TesteeFlags) -> Result<testee::Plan, Failure> {
    if !flags.url.scheme.is_websocket() {
        return Err(Failure::configuration("testee needs a ws:// or wss:// URL"));
    }
    if !(1..=MESSAGE_BYTES_MAX).contains(&flags.max_message_size) {
        return Err(Failure::configuration("--max-message-size must be from 1 to 1024m"));
    }
    if flags.agent.is_empty() {
        return Err(Failure::configuration("--agent must not be empty"));
    }
    Ok(testee::Plan {
        target: flags.url.target(flags.unix_socket.as_deref())?,
        secure: secure(&flags.url, &flags.tls)?,
        agent: flags.agent.clone(),
        cases: flags.cases.clone(),
        message_bytes_max: usize::try_from(flags.max_message_size).unwrap_or(usize::MAX),
        compression: flags.compression.is_on(),
        engine: flags.engine.into(),
    })
}

/// Where a URL leads, unless the flags say otherwise.
pub(crate) fn target(url: &Url, load: &LoadFlags) -> Result<Target, Failure> {
    match &load.connect_to {
        Some(other) => Ok(Target { address: other.target(None)?.address, ..url.named() }),
        None => url.target(load.unix_socket.as_deref()),
    }
}

/// What both commands fill in the same way; the rest is the caller's.
pub(crate) fn base(load: &LoadFlags, target: Target) -> Result<Scenario, Failure> {
    let cpus = load.cpus.as_deref().map(units::cpus).transpose();
    let size_bytes = usize::try_from(load.size).unwrap_or(usize::MAX);
    Ok(Scenario {
        target,
        transport: Transport::Ws,
        mode: Mode::Fanout,
        connections: 0,
        duration: Duration::ZERO,
        warmup: Duration::from_nanos(load.warmup.unwrap_or(0)),
        rate_per_s: None,
        in_flight: None,
        connect_rate_per_s: load.connect_rate,
        threads: usize::try_from(load.threads).unwrap_or(usize::MAX),
        cpus: cpus
            .map_err(|line| Failure::configuration(format!("--cpus: {line}")))?
            .unwrap_or_default(),
        size_bytes,
        payload: load.payload.into(),
        publishers: load.publishers,
        channels: load.channels,
        poll_interval: Duration::from_secs(1),
        seed: load.seed,
        headers: load.header.clone(),
        subprotocols: load.subprotocol.clone(),
        compression: compression(load),
        secure: None,
        engine: load.engine.into(),
        server_pid: None,
        server_gauged: None,
        traffic: Traffic::default(),
        speech: Speech::default(),
    })
}

fn compression(load: &LoadFlags) -> Option<Compression> {
    let threshold_bytes = usize::try_from(load.compression_threshold).unwrap_or(usize::MAX);
    load.compression.is_on().then_some(Compression { threshold_bytes })
}

/// The engine's rate of an exact fraction per second.
pub(crate) fn rate(fraction: Fraction) -> Result<Rate, Failure> {
    let period_ns = fraction.denominator.checked_mul(NS_PER_S);
    period_ns
        .and_then(|period_ns| Rate::new(fraction.numerator, period_ns))
        .ok_or_else(|| Failure::configuration("--rate must be above 0 and not absurdly fine"))
}

/// Refuses what makes no sense or does not fit this process.
pub(crate) fn check(scenario: &Scenario) -> Result<(), Failure> {
    scenario.check()?;
    if let Some(pid) = scenario.server_pid
        && !std::path::Path::new(&format!("/proc/{pid}")).exists()
    {
        let line = format!("--server-pid {pid}: there is no such process");
        return Err(Failure::configuration(line));
    }
    let allowed = ringwire_ring::cpus_allowed();
    if let Some(cpu) = scenario.cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        let line = format!("--cpus: processor {cpu} is not allowed here; allowed: {allowed:?}");
        return Err(Failure::configuration(line));
    }
    Ok(())
}

/// Sockets that `scenario` has open at once.
pub(crate) fn sockets(scenario: &Scenario) -> u64 {
    let publishers = if scenario.mode == Mode::Fanout { scenario.publishers } else { 0 };
    u64::from(scenario.connections) + u64::from(publishers)
}

/// Refuses more connections than this machine can open to one address.
pub(crate) fn fit(scenario: &Scenario, facts: &Facts) -> Result<(), Failure> {
    let connections = sockets(scenario);
    let threads = u64::try_from(scenario.threads).unwrap_or(u64::MAX);
    let sources = scenario.traffic.sources.count().max(1);
    let fit = match scenario.target.address {
        Address::Tcp(_) => facts.fit(connections, sources, threads, scenario.engine),
        Address::Unix(_) => facts.fit_descriptors(connections, threads, scenario.engine),
    };
    fit.map_err(Failure::configuration)
}

/// The transport that scheme and flag agree on.
fn transport(url: &Url, flag: Option<Transport>) -> Result<Transport, Failure> {
    match (url.scheme.is_websocket(), flag) {
        (false, None) => {
            let line = "an http:// or https:// URL needs --transport sse, longpoll or poll";
            Err(Failure::configuration(line))
        }
        (false, Some(Transport::Ws)) => {
            Err(Failure::configuration("--transport ws needs a ws:// URL, or wss://"))
        }
        (false, Some(transport)) => Ok(transport),
        (true, None | Some(Transport::Ws)) => Ok(Transport::Ws),
        (true, Some(other)) => {
            let line = format!("--transport {other} needs an http:// URL, or https://");
            Err(Failure::configuration(line))
        }
    }
}

/// TLS as scheme and flags want it.
pub(crate) fn secure(url: &Url, flags: &TlsFlags) -> Result<Option<Secure>, Failure> {
    let trust = match (&flags.cacert, flags.insecure) {
        (Some(path), _) => Trust::File(path.clone()),
        (None, true) => Trust::Anyone,
        (None, false) => Trust::System,
    };
    if !url.scheme.is_secure() {
        if trust == Trust::System && flags.servername.is_none() {
            return Ok(None);
        }
        let line = "--servername, --cacert and --insecure need a wss:// or https:// URL";
        return Err(Failure::configuration(line));
    }
    let name = flags.servername.as_ref().unwrap_or(&url.host);
    let oldest = flags.tls_min.into();
    Secure::from_version(oldest, name, &trust, flags.tls_resumption.is_on()).map(Some)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use loadgen::scenario::Payload;

    /// A scenario for tests of whatever takes one.
    pub(crate) fn scenario() -> Scenario {
        let target = Target {
            address: Address::Tcp(([127, 0, 0, 1], 1).into()),
            host: "h:1".to_owned(),
            path: "/channels/x".to_owned(),
        };
        Scenario { target, ..planned("ws://127.0.0.1:1/ --mode fanout").unwrap() }
    }

    pub(crate) fn planned(line: &str) -> Result<Scenario, Failure> {
        let words = ["loadgen", "run"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(flags) => run(&flags),
            other => panic!("{other:?}"),
        }
    }

    fn usage_error(line: &str) -> bool {
        let words = ["loadgen"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).is_err()
    }

    #[test]
    fn defaults_of_an_echo_run() {
        let scenario = planned("ws://127.0.0.1:8080/echo").unwrap();
        assert_eq!(scenario.transport, Transport::Ws);
        assert_eq!(scenario.mode, Mode::Echo);
        assert_eq!(scenario.connections, 50);
        assert_eq!(scenario.duration, Duration::from_secs(10));
        assert_eq!(scenario.warmup, Duration::ZERO);
        assert_eq!(scenario.rate_per_s, None);
        assert_eq!(scenario.in_flight, None);
        assert_eq!((scenario.threads, scenario.size_bytes, scenario.publishers), (1, 64, 1));
    }

    #[test]
    fn every_flag_reaches_the_scenario() {
        let scenario = planned(
            "http://127.0.0.1:1/channels/a --transport poll --mode fanout -c 1k -d 2m -R 0.5 \
             --connect-rate 2k -t 2 --size 1k --warmup 500ms --publishers 3 --channels 4 \
             --poll-interval 100ms --seed 7 -H A:b --subprotocol x,y --engine epoll",
        )
        .unwrap();
        assert_eq!(scenario.compression, None);
        let line = "ws://127.0.0.1:1/ --compression on --compression-threshold 1k --payload text";
        let compression = Some(Compression { threshold_bytes: 1_024 });
        assert_eq!(planned(line).unwrap().compression, compression);
        assert_eq!(planned(line).unwrap().payload, Payload::Text);
        assert_eq!(scenario.payload, Payload::Random);
        assert_eq!((scenario.transport, scenario.mode), (Transport::Poll, Mode::Fanout));
        assert_eq!(scenario.connections, 1_000);
        assert_eq!(scenario.duration, Duration::from_secs(120));
        assert_eq!(scenario.rate_per_s, Rate::new(1, 2_000_000_000));
        assert_eq!(scenario.connect_rate_per_s, Some(2_000));
        assert_eq!((scenario.threads, scenario.size_bytes), (2, 1_024));
        assert_eq!(scenario.warmup, Duration::from_millis(500));
        assert_eq!((scenario.publishers, scenario.channels, scenario.seed), (3, 4, 7));
        assert_eq!(scenario.poll_interval, Duration::from_millis(100));
        assert_eq!(scenario.headers, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(scenario.subprotocols, ["x", "y"]);
        assert_eq!(scenario.engine, loadgen::scenario::EngineChoice::Epoll);
        assert_eq!(scenario.target.path, "/channels/a");
        // The name is not looked up: nobody is asked where that is.
        let scenario = planned("ws://no.such.name.example/e --unix-socket /run/x").unwrap();
        assert_eq!(scenario.target.address, Address::Unix("/run/x".into()));
        assert_eq!(scenario.target.host, "no.such.name.example");
    }

    #[test]
    fn every_flag_of_speech_reaches_the_scenario() {
        let scenario = planned(
            "ws://127.0.0.1:1/{run}/{channel} --mode fanout -R 5 --channels 2 -1 a -1 {{b \
             --ready c --expect d --reply-to 2=3 --reply-to {}=={} --publish-method put \
             --publish-url http://127.0.0.1:2/{channel} --publish-header A:b \
             --publish-body {stamp}!",
        )
        .unwrap();
        let speech = &scenario.speech;
        assert_eq!(speech.message.as_deref(), Some("{stamp}!"));
        assert_eq!((speech.first.len(), speech.ready.as_deref()), (2, Some("c")));
        assert_eq!(speech.expect.as_deref(), Some("d"));
        let pair = |heard: &str, answer: &str| (heard.to_owned(), answer.to_owned());
        assert_eq!(speech.reply_to, [pair("2", "3"), pair("{}", "={}")]);
        let publishing = speech.publishing.as_ref().unwrap();
        assert_eq!((publishing.method.as_str(), publishing.headers.len()), ("put", 1));
        assert_eq!(publishing.target.path, "/{channel}");
        assert!(!publishing.is_websocket && publishing.secure.is_none());
        // A message is as long as it may become: a stamp of 28 characters and one more.
        assert_eq!(scenario.size_bytes, 29);
        assert!(speech.run > 0);
        let elsewhere = planned("ws://name.example/x --connect-to 127.0.0.1:7").unwrap();
        assert_eq!(elsewhere.target.address, Address::Tcp(([127, 0, 0, 1], 7).into()));
        assert_eq!(elsewhere.target.host, "name.example");
        assert!(!elsewhere.speech.is_foreign());
        assert!(planned("wss://127.0.0.1:1/ -k --servername h --tls-min 1.3").is_ok());
        for line in ["--reply-to x", "--reply-to =x", "--publish-method P/1", "-m a -f b"] {
            assert!(usage_error(&format!("run ws://h/ {line}")), "{line}");
        }
        assert!(
            usage_error("run wss://h/ --tls-min 1.1") && usage_error("run ws://h/ --connect-to h")
        );
    }

    #[test]
    fn the_scheme_says_whether_there_is_tls() {
        for (line, expected) in [
            ("wss://127.0.0.1:1/ --insecure", true),
            ("https://127.0.0.1:1/ --transport sse -k --tls-resumption off", true),
            ("ws://127.0.0.1:1/", false),
            ("http://127.0.0.1:1/ --transport poll", false),
        ] {
            assert_eq!(planned(line).unwrap().secure.is_some(), expected, "{line}");
        }
        assert!(usage_error("run wss://h/ --cacert x --insecure"));
    }

    #[test]
    fn http_modes_default_to_fanout() {
        for transport in ["sse", "longpoll", "poll"] {
            let line = format!("http://127.0.0.1:1/channels/a --transport {transport}");
            assert_eq!(planned(&line).unwrap().mode, Mode::Fanout);
        }
    }

    #[test]
    fn impossible_plans_are_refused_with_104() {
        let table = [
            ("wss://127.0.0.1:1/ --cacert /nowhere/at.pem", "--cacert /nowhere/at.pem: No such"),
            ("wss://127.0.0.1:1/ --cacert Cargo.toml", "--cacert Cargo.toml: no certificate"),
            ("wss://a_b!:1/ --insecure", "a_b!: not a name"),
            ("ws://127.0.0.1:1/ --insecure", "--insecure need"),
            ("ws://127.0.0.1:1/ --servername h", "--servername, --cacert and --insecure need"),
            (
                "ws://127.0.0.1:1/ -m {x}",
                "--message, column 1: `{x}` is no placeholder; known: {seq",
            ),
            ("ws://127.0.0.1:1/{x}", "the URL, column 2: `{x}`"),
            ("ws://127.0.0.1:1/ -H A:{x}", "-H A, column 1: `{x}`"),
            ("ws://127.0.0.1:1/ -m {feed.a}", "needs --feed"),
            ("ws://127.0.0.1:1/ --feed Cargo.toml", "a .csv or a .jsonl file"),
            ("ws://127.0.0.1:1/ -f /nowhere", "--message-file /nowhere: No such"),
            ("ws://127.0.0.1:1/ --mode fanout -m x", "needs {stamp} in fanout"),
            ("ws://127.0.0.1:1/ --publish-url http://127.0.0.1:1/", "--publish-url needs --mode"),
            ("ws://127.0.0.1:1/ --publish-header A:b", "--publish-header needs --publish-url"),
            (
                "ws://127.0.0.1:1/ --mode fanout --publish-url ws://127.0.0.1:1/",
                "with ws:// needs --rate",
            ),
            (
                "ws://127.0.0.1:1/ --mode fanout --channels 2 --publish-url http://127.0.0.1:1/",
                "--channels above 1 needs {channel}",
            ),
            ("http://127.0.0.1:1/ --transport sse -1 x", "--first-message and --ready need"),
            ("ws://127.0.0.1:1/ --poll-style nchan", "--poll-style needs"),
            ("ws://127.0.0.1:1/ --replies 65", "--replies must be"),
            ("https://127.0.0.1:1/", "--transport"),
            ("https://127.0.0.1:1/ --transport ws", "ws:// URL"),
            ("wss://127.0.0.1:1/ --transport sse", "http:// URL"),
            ("http://127.0.0.1:1/", "--transport"),
            ("http://127.0.0.1:1/ --transport ws", "ws:// URL"),
            ("ws://127.0.0.1:1/ --transport sse", "http:// URL"),
            ("http://127.0.0.1:1/ --transport sse --mode echo", "--mode echo needs"),
            ("ws://127.0.0.1:1/ --size 19", "--size"),
            ("http://127.0.0.1:1/ --transport sse --compression on", "--compression on needs"),
            ("ws://127.0.0.1:1/ -c 0", "--connections"),
            ("ws://127.0.0.1:1/ --mode fanout -c 0", "--connections"),
            ("ws://127.0.0.1:1/ -d 0", "--duration"),
            ("ws://127.0.0.1:1/ -R 0", "--rate"),
            ("ws://127.0.0.1:1/ -t 0", "--threads"),
            ("ws://127.0.0.1:1/ --in-flight 0", "--in-flight"),
            ("ws://127.0.0.1:1/ --mode idle -R 5", "--mode idle"),
            ("ws://127.0.0.1:1/ --poll-interval 1s", "--poll-interval"),
            ("http://127.0.0.1:1/ --transport poll --poll-interval 1s,2s", "--poll-interval"),
            ("ws://127.0.0.1:1/ --cpus 4000", "--cpus"),
            ("ws://127.0.0.1:1/ --server-pid 4294967295", "no such process"),
        ];
        for (line, expected) in table {
            let failure = planned(line).unwrap_err();
            assert_eq!(failure.code, 104, "{line}");
            assert!(failure.line.contains(expected), "{line}: {}", failure.line);
            assert!(!failure.line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_usage_error() {
        let table = [
            "",
            "run",
            "walk ws://h/",
            "run h:1",
            "run ws://h/ -c x",
            "run ws://h/ -d 5",
            "run ws://h/ -R fast",
            "run ws://h/ -H x",
            "run ws://h/ --mode walk",
            "run ws://h/ --stage 5:5",
            "run ws://h/ -R 1 -r 1",
            "run ws://h/ --slow-rate 5",
            "run ws://h/ --slow-share x",
            "run ws://h/ --source-ip 1.2.3",
            "run ws://h/ --source-ip 1.2.3.4-1.2.3.3",
            "run ws://h/ --source-ip 1.2.3.4/33",
            "run ws://h/ --out yaml=x",
            "run ws://h/ --no-such-flag",
            "compare",
            "compare http://h/ --server-command x",
            "compare --server-command x --server-pid 1",
        ];
        for line in table {
            assert!(usage_error(line), "{line}");
        }
        assert!(!usage_error("compare --server-command x"));
        assert!(!usage_error("compare http://h/"));
        assert!(!usage_error("doctor"));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
