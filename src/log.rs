//! Log lines from any thread to the one that writes them, through a bounded queue.
//!
//! Not here: the writing thread's loop, and any file. Invariants: a [`Logger`] never blocks and
//! never writes; what does not fit, or repeats too often, is dropped and counted. What reaches the
//! output holds no control character but the newline that ends each line.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

mod limit;
mod line;

use limit::Limiter;

/// Lines that may wait for the writer; with [`LINE_BYTES_MAX`], 1 MiB at most.
const QUEUE_LINES_MAX: usize = 1024;
/// Bytes of one message; the rest is cut off.
const LINE_BYTES_MAX: usize = 1024;

/// How important a line is; the greater, the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was given up.
    Error,
    /// Something is wrong and was worked around.
    Warn,
    /// What an operator wants to know of a normal run.
    Info,
    /// What a developer wants to know.
    Debug,
}

impl Level {
    /// The level's name as the flag and the lines spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `2025-11-21T22:58:01.123Z info worker=0 words`
    Text,
    /// One JSON object a line.
    Json,
}

/// One line on its way to the writer.
#[derive(Debug)]
struct Record {
    level: Level,
    worker: Option<usize>,
    message: String,
}

/// Lines lost so far, and why.
#[derive(Debug, Default)]
struct Lost {
    queue_full: AtomicU64,
    repeated: AtomicU64,
}

/// The writing end's view of the lines that were lost.
#[derive(Clone, Debug)]
pub struct LostLines(Arc<Lost>);

impl LostLines {
    /// Lines lost because the queue was full.
    pub fn queue_full(&self) -> u64 {
        self.0.queue_full.load(Ordering::Relaxed)
    }

    /// Lines left out because the same line had just been said often enough.
    pub fn repeated(&self) -> u64 {
        self.0.repeated.load(Ordering::Relaxed)
    }
}

/// Says things. Best each thread has its own, by `clone` or [`Logger::for_worker`]: a logger that
/// is shared shares its limit on identical lines.
#[derive(Debug)]
pub struct Logger {
    level: Option<Level>,
    worker: Option<usize>,
    queue: SyncSender<Record>,
    lost: Arc<Lost>,
    now_ns: AtomicU64,
    limiter: Mutex<Limiter>,
}

impl Clone for Logger {
    fn clone(&self) -> Self {
        Self {
            level: self.level,
            worker: self.worker,
            queue: self.queue.clone(),
            lost: Arc::clone(&self.lost),
            now_ns: AtomicU64::new(self.now_ns.load(Ordering::Relaxed)),
            limiter: Mutex::new(Limiter::new()),
        }
    }
}

/// A pair of ends: lines of `level` or more important go through.
pub fn channel(level: Level, format: Format) -> (Logger, Writer) {
    let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
    let lost = Arc::new(Lost::default());
    let connected = sender.clone();
    let logger = Logger {
        level: Some(level),
        worker: None,
        queue: sender,
        lost: Arc::clone(&lost),
        now_ns: AtomicU64::new(0),
        limiter: Mutex::new(Limiter::new()),
    };
    let writer = Writer {
        queue: receiver,
        _connected: connected,
        lost: LostLines(lost),
        format,
        waiting: None,
        lost_told: 0,
        lost_told_at: SystemTime::UNIX_EPOCH,
        text: String::new(),
    };
    (logger, writer)
}

impl Logger {
    /// A logger that says nothing, for tests.
    pub fn silent() -> Self {
        let (mut logger, _) = channel(Level::Error, Format::Text);
        logger.level = None;
        logger
    }

    /// The same, with the worker's number on each line.
    #[must_use]
    pub fn for_worker(&self, worker: usize) -> Self {
        Self { worker: Some(worker), ..self.clone() }
    }

    /// Tells the time, on any monotonic clock, in nanoseconds. The limit on identical lines counts
    /// by it, and begins with it; the logger reads no clock itself. A worker tells it once a turn,
    /// at the price of one store.
    pub fn tick(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Whether a line of `level` would be written at all.
    pub fn is_on(&self, level: Level) -> bool {
        self.level.is_some_and(|most| level <= most)
    }

    /// Something was given up. Use with `format_args!`, which formats only what is written.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.say(Level::Error, message);
    }

    /// Something is wrong and was worked around.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.say(Level::Warn, message);
    }

    /// What an operator wants to know of a normal run.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.say(Level::Info, message);
    }

    /// What a developer wants to know.
    pub fn debug(&self, message: fmt::Arguments<'_>) {
        self.say(Level::Debug, message);
    }

    /// Says `message` at `level`, unless the level is off, the same line was said too often this
    /// second, or the queue is full.
    pub fn say(&self, level: Level, message: fmt::Arguments<'_>) {
        if !self.is_on(level) {
            return;
        }
        let message = line::bounded(message);
        if !self.is_allowed(&message) {
            self.lost.repeated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let record = Record { level, worker: self.worker, message };
        if self.queue.try_send(record).is_err() {
            self.lost.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_allowed(&self, message: &str) -> bool {
        // Nobody waits for a line: while another thread asks the same, the answer is yes.
        let now_ns = self.now_ns.load(Ordering::Relaxed);
        let Ok(mut limiter) = self.limiter.try_lock() else { return true };
        // Whoever was never told a time would count for ever in one second.
        now_ns == 0 || limiter.allows(now_ns, message)
    }

    /// The count of lines lost by all loggers of this queue.
    pub fn lost(&self) -> LostLines {
        LostLines(Arc::clone(&self.lost))
    }
}

/// Writes what loggers say. Lives on the one thread that may block on the output.
#[derive(Debug)]
pub struct Writer {
    queue: Receiver<Record>,
    /// Keeps the queue connected when the last logger is gone, so that [`Writer::wait`] waits.
    _connected: SyncSender<Record>,
    lost: LostLines,
    format: Format,
    waiting: Option<Record>,
    lost_told: u64,
    lost_told_at: SystemTime,
    text: String,
}

impl Writer {
    /// Waits until there is a line to write or `limit` is over; says whether there is one.
    pub fn wait(&mut self, limit: Duration) -> bool {
        if self.waiting.is_none() {
            self.waiting = self.queue.recv_timeout(limit).ok();
        }
        self.waiting.is_some()
    }

    /// Writes what is queued, stamped with the time of this call, without waiting for more.
    /// Says how many lines it wrote. What was lost is told in one line, at most once a second.
    ///
    /// # Errors
    /// What the output says; the line at hand is lost then, the others stay queued.
    pub fn drain(&mut self, output: &mut impl Write) -> io::Result<usize> {
        let mut lines = 0;
        // Bounded: with loggers that keep up with a slow output this would never end.
        while lines < QUEUE_LINES_MAX {
            let record = match self.waiting.take() {
                Some(record) => record,
                None => match self.queue.try_recv() {
                    Ok(record) => record,
                    Err(_) => break,
                },
            };
            self.write(&record, output)?;
            lines += 1;
        }
        lines += self.tell_lost(output)?;
        Ok(lines)
    }

    fn tell_lost(&mut self, output: &mut impl Write) -> io::Result<usize> {
        let (full, repeated) = (self.lost.queue_full(), self.lost.repeated());
        if full + repeated == self.lost_told {
            return Ok(0);
        }
        let now = SystemTime::now();
        // A clock that stepped back is an error here, and reason enough to speak.
        if now.duration_since(self.lost_told_at).is_ok_and(|since| since < Duration::from_secs(1)) {
            return Ok(0);
        }
        self.lost_told_at = now;
        self.lost_told = full + repeated;
        let mut message = String::new();
        let counts = write!(
            message,
            "log lines lost so far: {full} because the queue was full, {repeated} repeated"
        );
        debug_assert!(counts.is_ok(), "a String takes all");
        self.write(&Record { level: Level::Warn, worker: None, message }, output)?;
        Ok(1)
    }

    fn write(&mut self, record: &Record, output: &mut impl Write) -> io::Result<()> {
        self.text.clear();
        let now = SystemTime::now();
        match self.format {
            Format::Text => line::text(&mut self.text, now, record),
            Format::Json => line::json(&mut self.text, now, record),
        }
        output.write_all(self.text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writer: &mut Writer) -> Vec<String> {
        let mut out = Vec::new();
        writer.drain(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_arrive_in_order_with_level_and_worker() {
        let (logger, mut writer) = channel(Level::Info, Format::Text);
        logger.info(format_args!("one"));
        logger.for_worker(1).error(format_args!("two"));
        logger.debug(format_args!("three"));
        assert!(writer.wait(Duration::ZERO));
        assert_eq!(written(&mut writer), ["info one", "error worker=1 two"]);
        assert!(!writer.wait(Duration::ZERO));
    }

    #[test]
    fn what_is_off_is_not_formatted() {
        struct Untouched;
        impl fmt::Display for Untouched {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("formatted although the level is off")
            }
        }
        let (logger, _writer) = channel(Level::Warn, Format::Text);
        logger.info(format_args!("{Untouched}"));
        Logger::silent().error(format_args!("{Untouched}"));
    }

    #[test]
    fn a_full_queue_drops_counts_and_tells() {
        let (logger, mut writer) = channel(Level::Info, Format::Text);
        for number in 0..QUEUE_LINES_MAX + 5 {
            logger.info(format_args!("line {number}"));
        }
        assert_eq!(logger.lost().queue_full(), 5);
        let lines = written(&mut writer);
        assert_eq!(lines.len(), QUEUE_LINES_MAX + 1);
        assert_eq!(
            lines[QUEUE_LINES_MAX],
            "warn log lines lost so far: 5 because the queue was full, 0 repeated"
        );
        assert!(written(&mut writer).is_empty(), "told once");
    }

    #[test]
    fn repeats_are_limited_by_the_time_told_and_counted_per_logger() {
        let (logger, mut writer) = channel(Level::Info, Format::Text);
        logger.tick(1);
        let other = logger.for_worker(1);
        for _ in 0..15 {
            logger.info(format_args!("again"));
        }
        other.info(format_args!("again"));
        assert_eq!(logger.lost().repeated(), 5);
        logger.tick(1_000_000_001);
        logger.info(format_args!("again"));
        assert_eq!(logger.lost().repeated(), 5);
        assert_eq!(written(&mut writer).len(), 10 + 1 + 1 + 1);
    }

    #[test]
    fn without_a_time_nothing_is_limited() {
        let (logger, mut writer) = channel(Level::Info, Format::Text);
        for _ in 0..50 {
            logger.info(format_args!("again"));
        }
        assert_eq!(written(&mut writer).len(), 50);
    }

    #[test]
    fn an_output_that_fails_loses_one_line_only() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (logger, mut writer) = channel(Level::Info, Format::Text);
        logger.info(format_args!("one"));
        logger.info(format_args!("two"));
        let error = writer.drain(&mut Full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(written(&mut writer), ["info two"]);
    }
}
