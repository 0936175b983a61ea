//! `prismq serve`: a host without a run of its own, until it is told to end or has nothing left to do.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::Context;
use super::ending::{self, Who};
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::session::{self, Hosting, lock_failure};
use super::signals::{self, Signal};
use crate::api;
use crate::host::ownership::{self, HostKind, Ownership};
use crate::host::reload::update::WorkspaceUpdate;
use crate::host::views::printable;
use crate::host::workspace::Workspace;
use crate::host::{HostMode, OnExit};

const AFTER_HELP: &str = "\
Ctrl-C (or SIGTERM): the first one does what --on-exit says, the second stops all modules, politely and after their grace by force, and
the third ends the host at once: modules under the wrapper go on, direct ones are lost.

Manifests, pipelines and prismq.yaml are read again when they change, and each change is a line here. A broken one is named with its
mistakes, and what was good before stays in use.

It ends with 0, or with 130 where the third one cut it short; with 75 at once where another host owns the workspace.";

/// Port where nothing is said.
const PORT: u16 = 8700;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Port on 127.0.0.1; 0: any free one. By default 8700, or a free one where that is taken
    #[arg(long, env = "PRISMQ_PORT")]
    port: Option<u16>,

    /// Listen on this address besides loopback. Others on the network then reach it, and need the token
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,

    /// A further name by which browsers call it, where it listens beyond loopback
    #[arg(long, value_name = "NAME", requires = "bind")]
    allow_host: Vec<String>,

    /// Listen beyond loopback although tokens and all else go over the network unencrypted
    #[arg(long, requires = "bind")]
    allow_plain_http: bool,

    /// Ask for no token: everybody on this machine may start modules in your name. Only on loopback
    #[arg(long)]
    no_auth: bool,

    /// Let pages of this origin use the API, such as http://localhost:5173. Only on loopback
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,

    /// End when no run goes on any more
    #[arg(long)]
    until_idle: bool,

    /// What happens to running modules at the first Ctrl-C
    #[arg(long, value_enum, default_value_t = Choice::Leave, value_name = "WHAT")]
    on_exit: Choice,

    /// Started by another verb: leave its terminal
    #[arg(long, hide = true)]
    background: bool,
}

impl Arguments {
    /// How the server is to be, if that is safe.
    fn options(&self) -> Result<api::Options, Failure> {
        let beyond = self.bind.filter(|address| !address.is_loopback());
        if let Some(address) = beyond {
            if self.no_auth || !self.allow_origin.is_empty() {
                let which = if self.no_auth { "--no-auth" } else { "--allow-origin" };
                return Err(Failure::usage(format!("`{which}` is for loopback only, and {address} is not"))
                    .with_help("whoever reaches that address could start programs in your name"));
            }
            if !self.allow_plain_http {
                return Err(Failure::usage(format!("{address} would be reached over the network, where the token can be read on the way"))
                    .with_help(
                        "let a proxy with TLS or `ssh -L` forward to loopback, or say --allow-plain-http if you trust that network",
                    ));
            }
        }
        if let Some(origin) = self.allow_origin.iter().find(|origin| !is_origin(origin)) {
            return Err(
                Failure::usage(format!("`{origin}` is no origin")).with_help("as a browser sends it: scheme, host and port, no path")
            );
        }
        let port = match self.port {
            Some(0) => api::Port::Free,
            Some(port) => api::Port::Exactly(port),
            None if self.background => api::Port::Free,
            None => api::Port::Preferred(PORT),
        };
        Ok(api::Options {
            port,
            bind: self.bind,
            open: self.no_auth,
            origins: self.allow_origin.clone(),
            hosts: self.allow_host.clone(),
            ..api::Options::default()
        })
    }
}

/// `scheme://host[:port]`, in lower case as browsers send it; neither `null` nor `*`.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']');
    rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_part))
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    /// They go on, and the next host adopts them; those with `isolation: direct` would be lost and are waited for
    Leave,
    /// All of them are waited for
    Drain,
    /// All of them are stopped, politely and after their grace by force; their runs wait for `resume`
    Kill,
}

impl Choice {
    fn on_exit(self) -> OnExit {
        match self {
            Self::Leave => OnExit::Leave,
            Self::Drain => OnExit::Drain,
            Self::Kill => OnExit::Stop,
        }
    }
}

/// What wakes a terminal that serves.
enum Input {
    Signal(Signal),
    Update(Arc<WorkspaceUpdate>),
}

/// Inputs that wait while the terminal does not take lines.
const INPUTS_MAX: usize = 256;
/// How often an idle host looks whether it is still idle; twice in a row ends it.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How long an owner is waited for that does not answer, since it is just starting or gone in a moment, or that is leaving.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let options = arguments.options()?;
    let workspace = context.workspace_or_here()?;
    if arguments.background {
        leave_session();
    }
    let ownership = take_lock(&workspace)?;
    let (inputs, receiver) = mpsc::sync_channel(INPUTS_MAX);
    let signalled = inputs.clone();
    signals::listen(move |signal| signalled.send(Input::Signal(signal)).is_ok());
    let mode = if arguments.until_idle { HostMode::UntilIdle } else { HostMode::Serve };
    let hosting = Hosting::start(&workspace, ownership, mode, &options, HostKind::Serve)?;
    let (port, pid) = (hosting.port(), std::process::id());
    context.output.note(&format!("hosting {} on 127.0.0.1:{port} (process {pid}); Ctrl-C ends it", workspace.root().display()));
    // Lines for a terminal that does not take them are lost; the host's log has them too.
    let told = move |update: &Arc<WorkspaceUpdate>| {
        !matches!(inputs.try_send(Input::Update(update.clone())), Err(mpsc::TrySendError::Disconnected(_)))
    };
    hosting.host().handle().on_workspace_update(Box::new(told));
    say_who_may_enter(&hosting, arguments, &context.output);
    say_broken(&hosting, &context.output);
    let idle = wait(&hosting, arguments.until_idle, &receiver, &context.output);
    drop(receiver);
    // A run that comes to an idle host in the very last moment is not left alone.
    let who = if idle { Who::Run } else { Who::Serve(arguments.on_exit.on_exit()) };
    ending::end(hosting, who, idle, &context.output)
}

/// Names what is broken at the start.
fn say_broken(hosting: &Hosting, output: &Output) {
    let view = hosting.host().handle().reload_view();
    for broken in &view.broken {
        output.note(&printable(&format!("broken {} ({})", broken.module_id.as_deref().unwrap_or("?"), broken.file)));
        broken.errors.iter().for_each(|mistake| output.note(&printable(&format!("  {mistake}"))));
    }
}

/// The way in for a browser, and a warning for everything that lets others in.
fn say_who_may_enter(hosting: &Hosting, arguments: &Arguments, output: &Output) {
    if arguments.port.is_none() && !arguments.background && hosting.port() != PORT {
        output.note(&format!("port {PORT} is taken: this host has another one"));
    }
    if arguments.no_auth {
        output.note("warning: --no-auth: everybody on this machine can start modules in your name");
    } else if let Ok(link) = hosting.server().link().inspect_err(|error| output.note(&format!("no link for a browser: {error}"))) {
        output.note(&format!("open in a browser, once, within the hour: {link}"));
    }
    for origin in &arguments.allow_origin {
        output.note(&format!("warning: pages of {origin} may use this host"));
    }
    if let Some(address) = arguments.bind.filter(|address| !address.is_loopback()) {
        output
            .note(&format!("warning: others on the network reach it at http://{}, unencrypted", SocketAddr::new(address, hosting.port())));
    }
}

/// Waits for a signal, or until nothing goes on any more (`true`).
fn wait(hosting: &Hosting, until_idle: bool, inputs: &mpsc::Receiver<Input>, output: &Output) -> bool {
    let mut idle_looks = 0;
    loop {
        let patience = if until_idle { IDLE_LOOK } else { Duration::MAX };
        match inputs.recv_timeout(patience) {
            Ok(Input::Signal(Signal::Interrupt)) => return false,
            // Whoever starts a service in a terminal and closes that wants the service.
            Ok(Input::Signal(Signal::Hangup)) => {}
            Ok(Input::Update(update)) => update.lines().iter().for_each(|line| output.note(&printable(line))),
            // Without a listener nobody can end it but by force; then it goes on until that.
            Err(mpsc::RecvTimeoutError::Disconnected) if !until_idle => std::thread::sleep(IDLE_LOOK),
            Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {
                let busy = hosting.host().handle().remaining().unwrap_or(0) > 0;
                idle_looks = if busy { 0 } else { idle_looks + 1 };
                // Where old runs are being removed, that is waited for: nobody else may do it for long.
                if until_idle && idle_looks >= 2 && hosting.host().handle().tidy(IDLE_LOOK).unwrap_or(true) {
                    return true;
                }
            }
        }
    }
}

/// The lock. An owner that answers is named at once; one that is just starting or leaving is waited for shortly.
fn take_lock(workspace: &Workspace) -> Result<Ownership, Failure> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        let taken = Ownership::try_take(workspace).map_err(|error| lock_failure(workspace, &error))?;
        if let Some(ownership) = taken {
            return Ok(ownership);
        }
        let leaving = session::reach(workspace).map(|client| client.is_leaving());
        if leaving == Some(false) || Instant::now() >= deadline {
            return Err(owned(workspace, leaving == Some(true)));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

fn owned(workspace: &Workspace, leaving: bool) -> Failure {
    // The address may be that of a host that was killed: the lock names the one that holds it.
    let owner = ownership::owner(workspace);
    let address = ownership::announced(workspace).filter(|address| owner.is_none_or(|owner| owner == address.pid));
    let owner = match (address, owner) {
        (Some(address), _) => format!(" by process {} (on 127.0.0.1:{})", address.pid, address.port),
        (None, Some(pid)) => format!(" by process {pid} (which does not say where it listens)"),
        (None, None) => " by a host that does not say who it is".to_owned(),
    };
    let help = if leaving {
        "it is leaving, and waits for modules that would be lost with it"
    } else {
        "`prismq run` attaches to it; end it first to have another host"
    };
    Failure::new(Exit::NotOwner, format!("{} is owned already{owner}", workspace.root().display())).with_help(help)
}

/// Lives on when the terminal that started it goes away.
fn leave_session() {
    // Fails only for a process that leads a group already: then it was started so on purpose.
    #[cfg(unix)]
    let _ = rustix::process::setsid();
}
