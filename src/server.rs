//! The composition: listeners, engines, one pinned thread per worker, signals.
//!
//! Not here: what a worker does (`worker`). Invariants: the first line on stdout means
//! that every worker accepts; a worker that fails takes the process with it, because half a server
//! is worse than none.

mod reload;
mod start;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ringwire_ring::{
    Bells, Driver, EngineOptions, Features, ListenOptions, Listener, Permits, ReceiveBuffers,
    Refusal, Role, Signals, drop_privileges, epoll::Epoll, kernel_release, pin, uring::Uring,
};
use ringwire_transport::{Endpoint, mesh};
use rustls::ServerConfig;

use crate::admin::{Admin, AdminState};
use crate::app::{Application, Remote, Surface};
use crate::certificates::{CertificateFigures, Certificates};
use crate::config::{Config, Listen};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::log::{self, Logger, Writer};
use crate::metrics::{Build, WorkerMetrics};
use crate::room::{Room, room};
use crate::visitors::Visitors;
use crate::worker::{Crew, Letter, Parts, Worker};
use reload::Reload;
use start::{bind_all, choose_engine};

/// Letters from one worker to another before they overflow into a list.
const MESH_CAPACITY: usize = 4096;

/// Bytes of letters that wait for one worker before it counts as behind.
const MESH_OVERFLOW_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is said when a token guards one of the two ways to publish.
const TOKEN_NOTE: &str = "--publish-token guards POST; WebSocket clients publish without it unless \
                          --client-publish off";

/// What is said when no connection fits.
const TOO_FEW_DESCRIPTORS: &str = "the descriptor limit leaves none for connections; raise it \
                                   (`ulimit -n`)";

/// How often the main thread looks whether the workers have left, at the latest.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Serves [`Surface`] until a signal: what the `ringwire` binary does.
///
/// # Errors
/// What keeps the server from starting, or a worker from going on.
pub fn run(config: &Config) -> Result<(), Failure> {
    let surface = Surface::of(config);
    serve(config, move |_| surface.clone())
}

/// Serves `application` until SIGTERM or SIGINT, then drains. Each worker's value is made on its
/// own thread; `application` gets the worker's index.
///
/// # Errors
/// What keeps the server from starting, or a worker from going on.
pub fn serve<A: Application>(
    config: &Config,
    application: impl Fn(usize) -> A + Send + Sync + 'static,
) -> Result<(), Failure> {
    let signals = Signals::block();
    let (logger, writer) = log::channel(config.log_level, config.log_format);
    let mut server = Server::start(config, &logger, application)?;
    let admin = AdminState::new(server.metrics.clone(), server.build(&logger));
    let mut lines = vec![server.to_string()];
    lines.extend_from_slice(&server.notes);
    if config.publish_tokens.is_some() && config.client_publish {
        lines.push(TOKEN_NOTE.to_owned());
    }
    let mut admin_listener = None;
    if let Some(address) = config.admin_listen {
        let listener = Admin::bind(address)?;
        lines.push(format!("admin on {}", listener.address()));
        admin_listener = Some(listener);
    }
    // Whatever privileges binding took, serving takes none; the threads below inherit that.
    if let Err(errno) = drop_privileges() {
        lines.push(format!("privileges are kept: {errno}"));
    }
    if let Some(listener) = admin_listener {
        listener.serve(&admin)?;
    }
    // Who closed these pipes does not want the lines; the server runs all the same.
    let _told = writeln!(io::stderr(), "{}", lines.join("\n"));
    admin.set_ready();
    for listen in server.listeners() {
        let _told = writeln!(io::stdout(), "listening on {listen}");
    }
    let stop = server.stopper();
    let mut reload = Reload {
        tokens: config.publish_tokens.clone(),
        certificates: server.certificates.take(),
        logger: logger.clone(),
    };
    let watcher = move || {
        reload.until_told_to_go(&signals);
        admin.set_draining();
        stop.drain();
        let _second = signals.wait(None);
        // The second signal means now.
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watcher)
        .map_err(|error| Failure::other(format!("no thread for signals: {error}")))?;
    watch(server, writer)
}

/// Writes the log until the workers have left.
fn watch(server: Server, mut writer: Writer) -> Result<(), Failure> {
    let mut errors = io::stderr();
    while !server.is_finished() {
        if writer.wait(WATCH_INTERVAL) {
            // A log nobody can read any more is no reason to stop serving.
            drop(writer.drain(&mut errors));
        }
    }
    let outcome = server.join();
    drop(writer.drain(&mut errors));
    outcome
}

/// A running server.
pub struct Server {
    listeners: Vec<Listen>,
    engine: &'static str,
    cpus: Vec<usize>,
    connections_max: u32,
    notes: Vec<String>,
    stopper: Stopper,
    metrics: Vec<Arc<WorkerMetrics>>,
    /// Until somebody looks after their files.
    certificates: Option<Certificates>,
    figures: Option<Arc<CertificateFigures>>,
    threads: Vec<JoinHandle<Result<(), Failure>>>,
}

/// Ends a server from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    crew: Arc<Crew>,
    bells: Arc<Bells>,
}

impl Stopper {
    /// Stops accepting, tells everybody, and lets the workers leave.
    pub fn drain(&self) {
        self.crew.drain();
        for worker in 0..self.bells.workers() {
            self.bells.bell(worker).ring();
        }
    }
}

impl Server {
    /// Binds, starts the workers, and returns when all of them accept.
    ///
    /// # Errors
    /// What keeps the server from starting.
    pub fn start<A: Application>(
        config: &Config,
        logger: &Logger,
        application: impl Fn(usize) -> A + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let (engine, features, notes) = choose_engine(config)?;
        let workers = config.workers;
        let room = room(config, engine);
        if room.slots_max == 0 {
            return Err(Failure::configuration(TOO_FEW_DESCRIPTORS));
        }
        let certificates = certificates_of(config, logger)?;
        let tls = certificates.as_ref().map(Certificates::server_config).transpose()?;
        let options = ListenOptions {
            backlog: room.backlog(workers),
            send_buffer_bytes: config.send_buffer_bytes,
        };
        let (listeners, sockets) = bind_all(&config.listeners, workers, &options)?;
        let bells = Bells::new(workers).map_err(|error| {
            let cure = "raise the descriptor limit (`ulimit -n`)";
            Failure::configuration(format!("no eventfd for a worker: {error}; {cure}"))
        })?;
        let stopper = Stopper { crew: Arc::new(Crew::new(workers)), bells: Arc::new(bells) };
        let metrics: Vec<_> = (0..workers).map(|_| Arc::new(WorkerMetrics::new())).collect();
        let plan = Plan {
            config: config.clone(),
            features,
            room,
            permits: Arc::new(Permits::new(room.connections_max)),
            stopper: stopper.clone(),
            metrics: metrics.clone(),
            tls,
            visitors: Arc::new(Visitors::new(config.peers.connections_per_address_max)),
            application,
        };
        let threads = plan.start(engine, sockets, logger)?;
        Ok(Self {
            listeners,
            engine,
            cpus: config.cpus.clone(),
            connections_max: room.connections_max,
            notes,
            stopper,
            metrics,
            figures: certificates.as_ref().map(Certificates::figures),
            certificates,
            threads,
        })
    }

    /// Where it listens, ports resolved, in the order of the configuration.
    #[must_use]
    pub fn listeners(&self) -> &[Listen] {
        &self.listeners
    }

    /// What each worker counts.
    #[must_use]
    pub fn metrics(&self) -> &[Arc<WorkerMetrics>] {
        &self.metrics
    }

    /// A handle that ends the server from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Whether every worker has left.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until every worker has left.
    ///
    /// # Errors
    /// What kept a worker from going on.
    pub fn join(self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for thread in self.threads {
            let left = thread.join().unwrap_or_else(|_| Err(Failure::other("a worker panicked")));
            outcome = outcome.and(left);
        }
        outcome
    }

    fn build(&self, logger: &Logger) -> Build {
        let (major, minor) = kernel_release();
        Build {
            engine: self.engine,
            kernel: format!("{major}.{minor}"),
            connections_max: u64::from(self.connections_max),
            lost: logger.lost(),
            certificates: self.figures.clone(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = kernel_release();
        let cpus: Vec<_> = self.cpus.iter().map(ToString::to_string).collect();
        write!(
            f,
            "engine={} kernel={major}.{minor} workers={} cpus={} max_connections={}",
            self.engine,
            self.threads.len(),
            cpus.join(","),
            self.connections_max
        )
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// The certificates, where a listener needs them.
fn certificates_of(config: &Config, logger: &Logger) -> Result<Option<Certificates>, Failure> {
    let files = &config.certificates;
    (!files.is_empty()).then(|| Certificates::read(files, logger)).transpose()
}

/// Everything that the worker threads share.
struct Plan<F> {
    config: Config,
    features: Features,
    room: Room,
    permits: Arc<Permits>,
    stopper: Stopper,
    metrics: Vec<Arc<WorkerMetrics>>,
    tls: Option<Arc<ServerConfig>>,
    visitors: Arc<Visitors>,
    application: F,
}

impl<A: Application, F: Fn(usize) -> A + Send + Sync + 'static> Plan<F> {
    fn start(
        self,
        engine: &'static str,
        sockets: Vec<Vec<Listener>>,
        logger: &Logger,
    ) -> Result<Vec<JoinHandle<Result<(), Failure>>>, Failure> {
        let workers = sockets.len();
        let plan = Arc::new(self);
        let endpoints = mesh(workers, MESH_CAPACITY, MESH_OVERFLOW_BYTES_MAX);
        let (ready, is_ready) = mpsc::channel();
        let mut threads = Vec::with_capacity(workers);
        for (index, (listeners, mesh)) in sockets.into_iter().zip(endpoints).enumerate() {
            let (plan, ready) = (Arc::clone(&plan), ready.clone());
            let post = Post { index, mesh, logger: logger.for_worker(index), ready };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || plan.work(engine, listeners, post))
                .map_err(|error| Failure::other(format!("no thread for a worker: {error}")))?;
            threads.push(thread);
        }
        drop(ready);
        let said: Result<Vec<()>, Failure> = is_ready.iter().take(workers).collect();
        let outcome = match said {
            Ok(said) if said.len() < workers => Err(Failure::other("a worker ended at its start")),
            said => said,
        };
        if let Err(failure) = outcome {
            // Those that do accept must not serve half a server.
            plan.stopper.drain();
            for thread in threads {
                drop(thread.join());
            }
            return Err(failure);
        }
        Ok(threads)
    }

    fn work(&self, engine: &str, listeners: Vec<Listener>, post: Post) -> Result<(), Failure> {
        let _guard = AbortOnPanic;
        if !pin(self.config.cpus[post.index]) {
            post.logger.warn(format_args!("the worker could not be pinned to its CPU"));
        }
        let options = EngineOptions {
            slots_max: self.room.slots_max,
            receive_buffers: self
                .config
                .receive_buffers
                .map(|(count, bytes)| ReceiveBuffers { count, bytes }),
            features: self.features,
            role: Role::Accepts,
            peers: self.config.needs_addresses(),
            worker: post.index,
            bells: Arc::clone(&self.stopper.bells),
            permits: Arc::clone(&self.permits),
        };
        if engine == "uring" {
            let ring = Uring::new(options);
            if self.features.restrictions && ring.as_ref().is_ok_and(|ring| !ring.is_restricted()) {
                post.logger.warn(format_args!("the kernel refuses to restrict the ring"));
            }
            self.serve(ring, listeners, post)
        } else {
            self.serve(Epoll::new(options), listeners, post)
        }
    }

    fn serve<D: Driver<Listener = Listener>>(
        &self,
        driver: Result<D, Refusal>,
        listeners: Vec<Listener>,
        post: Post,
    ) -> Result<(), Failure> {
        let listening = driver.map_err(|refusal| refusal.to_string()).and_then(|mut driver| {
            let listened = listeners.into_iter().try_for_each(|socket| driver.listen(socket));
            listened.map_err(|errno| format!("cannot listen: {errno}")).map(|()| driver)
        });
        let driver = match listening {
            Ok(driver) => driver,
            Err(line) => {
                // Those that accept already wait for the last one to leave: their bells are rung
                // after the count, or the last one could be this.
                self.stopper.crew.lose_worker();
                self.stopper.drain();
                drop(post.ready.send(Err(Failure::configuration(line))));
                return Ok(());
            }
        };
        let Post { index, mesh, logger, ready } = post;
        if let Err(errno) = drop_privileges() {
            logger.warn(format_args!("privileges are kept: {errno}"));
        }
        let mut worker = Worker::new(Parts {
            index,
            app: (self.application)(index),
            mesh,
            crew: Arc::clone(&self.stopper.crew),
            remote: Remote::new(driver.doorbell()),
            driver,
            metrics: Arc::clone(&self.metrics[index]),
            logger,
            limits: Limits::new(&self.config),
            tls_listeners: self.config.listeners.iter().map(|listen| listen.tls).collect(),
            tls: self.tls.clone(),
            visitors: Arc::clone(&self.visitors),
            slots_max: self.room.slots_max as usize,
        });
        drop(ready.send(Ok(())));
        while !worker.is_done() {
            if let Err(errno) = worker.turn() {
                // Its channels are gone with it: the others tell everybody, and leave too.
                self.stopper.crew.lose_worker();
                self.stopper.drain();
                return Err(Failure::other(format!("worker {index} cannot go on: {errno}")));
            }
        }
        Ok(())
    }
}

/// What one worker's thread is given.
struct Post {
    index: usize,
    mesh: Endpoint<Letter>,
    logger: Logger,
    /// Told once, whether the worker accepts.
    ready: mpsc::Sender<Result<(), Failure>>,
}

/// A panic on a worker's thread ends the process: its connections and channels are lost anyway,
/// and a supervisor restarts a whole server better than half of one.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
