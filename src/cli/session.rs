//! The way to a host: this process, or another one that owns the workspace already.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::ending::{self, Who};
use super::exit::Exit;
use super::failure::Failure;
use super::follow::Input;
use super::output::Output;
use crate::api;
use crate::host::HostMode;
use crate::host::offline::{OpenError, Snapshot};
use crate::host::ownership::{self, HostKind, Ownership};
use crate::host::prepare::Refused;
use crate::host::prune::{Keep, Report};
use crate::host::submission::{Retry, Submit};
use crate::host::tokens::{self, Tokens};
use crate::host::why::{WhyAsked, WhyView};
use crate::host::workspace::Workspace;
use crate::host::{CommandError, Host, StartError, StartOptions, hostlog, render};
use crate::ids::RunId;

/// How long an owner that cannot be reached is waited for: it may just be starting, or leaving.
const REACH_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks at the lock.
const REACH_PAUSE: Duration = Duration::from_millis(20);
/// How long a terminal whose run is over waits for old runs to be removed.
const TIDY_LIMIT: Duration = Duration::from_millis(300);

/// A way to the host of a workspace.
pub(super) enum Session {
    /// This process is the host.
    Hosting(Box<Hosting>),
    /// Another process is.
    Attached(Client),
}

/// This process as a host.
pub(super) struct Hosting {
    host: Host,
    server: api::Server,
    workspace: Workspace,
}

impl Session {
    /// Attaches to the owner, or becomes it.
    pub(super) fn connect(workspace: &Workspace, mode: HostMode) -> Result<Self, Failure> {
        let deadline = Instant::now() + REACH_LIMIT;
        loop {
            match Ownership::try_take(workspace) {
                Ok(Some(ownership)) => {
                    let hosting = Hosting::start(workspace, ownership, mode, &api::Options::default(), HostKind::Run)?;
                    return Ok(Self::Hosting(Box::new(hosting)));
                }
                Ok(None) => {}
                Err(error) => return Err(lock_failure(workspace, &error)),
            }
            if let Some(client) = reach(workspace) {
                return Ok(Self::Attached(client));
            }
            if Instant::now() >= deadline {
                return Err(not_reached(workspace));
            }
            std::thread::sleep(REACH_PAUSE);
        }
    }

    /// Attaches to the owner, or becomes it, and asks it for something; the next one where it is just leaving.
    pub(super) fn begin<T>(
        workspace: &Workspace,
        output: &Output,
        ask: impl Fn(&Self) -> Result<T, Failure>,
    ) -> Result<(Self, T), Failure> {
        let deadline = Instant::now() + REACH_LIMIT;
        loop {
            let session = Self::connect(workspace, HostMode::Run)?;
            match ask(&session) {
                Ok(answer) => return Ok((session, answer)),
                Err(failure) => {
                    // Somebody else may have come to this host meanwhile.
                    session.leave(output)?;
                    if !failure.leaving || Instant::now() >= deadline {
                        return Err(failure);
                    }
                    std::thread::sleep(REACH_PAUSE);
                }
            }
        }
    }

    /// Attaches to the owner; `None` where there is none.
    pub(super) fn attach(workspace: &Workspace) -> Result<Option<Client>, Failure> {
        let deadline = Instant::now() + REACH_LIMIT;
        while ownership::is_owned(workspace) {
            if let Some(client) = reach(workspace) {
                return Ok(Some(client));
            }
            if Instant::now() >= deadline {
                return Err(not_reached(workspace));
            }
            std::thread::sleep(REACH_PAUSE);
        }
        Ok(None)
    }

    /// Says that interrupted runs are waiting, where this process found them as their new host.
    pub(super) fn note_held(&self, output: &Output) {
        if let Self::Hosting(hosting) = self
            && let Some(last) = hosting.host.held().last()
        {
            let count = hosting.host.held().len();
            let runs = if count == 1 { "an interrupted run waits".to_owned() } else { format!("{count} interrupted runs wait") };
            output.note(&format!("{runs} for `prismq resume`: {last}"));
        }
    }

    pub(super) fn submit(&self, submit: &Submit, output: &Output) -> Result<RunId, Failure> {
        match self {
            Self::Hosting(hosting) => {
                let accepted = hosting.host.handle().submit(submit).map_err(|error| command_failure(error, output))?;
                if !accepted.notes.is_empty() {
                    output.note(&render::diagnostics(&accepted.notes, output.color_err()));
                }
                Ok(accepted.run)
            }
            Self::Attached(client) => {
                let accepted = client.submit(submit)?;
                if !accepted.notes.is_empty() {
                    output.note(&accepted.notes);
                }
                Ok(accepted.run_id)
            }
        }
    }

    pub(super) fn retry(&self, retry: &Retry, output: &Output) -> Result<RunId, Failure> {
        match self {
            Self::Hosting(hosting) => {
                hosting.host.handle().retry(retry).map(|accepted| accepted.run).map_err(|error| command_failure(error, output))
            }
            Self::Attached(client) => client.retry(retry).map(|accepted| accepted.run_id),
        }
    }

    pub(super) fn cancel(&self, run: &RunId, kill: bool, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Hosting(hosting) => hosting.host.handle().cancel(run, kill).map_err(|error| command_failure(error, output)),
            Self::Attached(client) => client.cancel(run, kill),
        }
    }

    /// Has the answer to why a run's nodes do not run sent to `inputs`, if one comes: a host that hangs must not hold up who asks.
    pub(super) fn ask_why(&self, run: &RunId, inputs: mpsc::Sender<Input>) {
        let asked = WhyAsked { run: Some(run.clone()), node: None, ready: true };
        let answer: Box<dyn FnOnce() -> Option<WhyView> + Send> = match self {
            Self::Hosting(hosting) => {
                let handle = hosting.host.handle().clone();
                Box::new(move || handle.why(asked).ok())
            }
            Self::Attached(client) => {
                let client = client.clone();
                Box::new(move || client.why(&asked).ok())
            }
        };
        // Without a thread nothing is said.
        let _ = std::thread::Builder::new().name("why".into()).spawn(move || answer().map(|view| inputs.send(Input::Why(view))));
    }

    pub(super) fn resume(&self, run: Option<&RunId>, output: &Output) -> Result<Vec<RunId>, Failure> {
        match self {
            Self::Hosting(hosting) => hosting.host.handle().resume(run).map_err(|error| command_failure(error, output)),
            Self::Attached(client) => client.resume(run),
        }
    }

    pub(super) fn prune(&self, keep: Keep, output: &Output) -> Result<Report, Failure> {
        match self {
            Self::Hosting(hosting) => hosting.host.handle().prune(keep).map_err(|error| command_failure(error, output)),
            Self::Attached(client) => client.prune(keep),
        }
    }

    /// Has updates of a run sent to `inputs`.
    pub(super) fn follow(&self, run: &RunId, inputs: mpsc::Sender<Input>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Hosting(hosting) => {
                let sink = Box::new(move |update| inputs.send(Input::Update(update)).is_ok());
                hosting.host.handle().follow(run, sink).map_err(|error| command_failure(error, output))
            }
            Self::Attached(client) => client.follow(run, inputs),
        }
    }

    /// Whether the host took its name away, as one does that leaves; a killed one leaves it behind.
    pub(super) fn has_left(&self, workspace: &Workspace) -> bool {
        match self {
            Self::Attached(client) => ownership::announced(workspace).is_none_or(|address| address.port != client.port()),
            Self::Hosting(_) => false,
        }
    }

    /// Leaves: a host with nothing left to do ends; one that others still use hands over first.
    pub(super) fn leave(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Attached(_) => Ok(()),
            Self::Hosting(hosting) => hosting.leave(output),
        }
    }
}

impl Hosting {
    /// Becomes the host and offers the channel.
    pub(super) fn start(
        workspace: &Workspace,
        ownership: Ownership,
        mode: HostMode,
        options: &api::Options,
        kind: HostKind,
    ) -> Result<Self, Failure> {
        let open = |error: io::Error| Failure::usage(error.to_string()).with_help("what lies there may start programs in your name");
        tokens::secure_state(workspace).map_err(open)?;
        hostlog::start(workspace).map_err(|error| Failure::ours(format!("the log cannot be written: {error}")))?;
        let host = Host::start(workspace, ownership, StartOptions { mode }).map_err(start_failure)?;
        let options = api::Options { clients_max: host.settings().sse_clients, ..options.clone() };
        let server = api::start(host.handle().clone(), &options).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => open(error),
            _ => Failure::ours(format!("no port of the loopback interface could be used: {error}")),
        })?;
        host.announce(server.port(), kind).map_err(|error| Failure::ours(format!("host.json cannot be written: {error}")))?;
        Ok(Self { host, server, workspace: workspace.clone() })
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(super) fn server(&self) -> &api::Server {
        &self.server
    }

    fn leave(self, output: &Output) -> Result<(), Failure> {
        let remaining = self.host.handle().remaining().unwrap_or(0);
        if remaining > 0 {
            output.note(&format!("{remaining} other run(s) go on: handing over to a host in the background"));
        }
        // What `retention:` asks for: a moment of it here, and what takes longer in the background.
        let tidy = remaining > 0 || self.host.handle().tidy(TIDY_LIMIT).unwrap_or(true);
        let workspace = self.workspace.clone();
        ending::end(self, Who::Run, true, output)?;
        if tidy { Ok(()) } else { start_background(&workspace).map(drop) }
    }

    /// Waits until the host, which was told to leave, has left, and gives the workspace free. Where it hands over it still accepts runs,
    /// and if any are left at the end a successor goes on with them.
    pub(super) fn finish(self, hand_over: bool) -> Result<(), Failure> {
        let Self { host, server, workspace } = self;
        let ended = host.join();
        drop(server);
        if let Some(reason) = ended.unwritten {
            return Err(Failure::new(Exit::RunFailed, format!("the host ends, and could not write down what happened last: {reason}"))
                .with_help("the next host finds out what it can from the folders of the attempts; mend the disk first"));
        }
        if hand_over && ended.remaining > 0 { start_background(&workspace).map(drop) } else { Ok(()) }
    }
}

/// Starts `serve --until-idle`, which leaves this terminal's session by itself.
pub(super) fn start_background(workspace: &Workspace) -> Result<Child, Failure> {
    let failed = |error: io::Error| Failure::ours(format!("a host in the background could not be started: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    if workspace.is_shared_allowed() {
        command.arg("--i-know");
    }
    if workspace.is_any_permission_allowed() {
        command.arg("--insecure-perms");
    }
    command
        .args(["serve", "--until-idle", "--background", "--workspace"])
        .arg(workspace.root())
        .current_dir(workspace.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)
}

/// A way to the owner, if it answers now.
pub(super) fn reach(workspace: &Workspace) -> Option<Client> {
    let address = ownership::announced(workspace)?;
    let token = Tokens::of(workspace).ok()?.owner;
    Client::connect(address.port, token).ok()
}

/// Why the lock could not be taken.
pub(super) fn lock_failure(workspace: &Workspace, error: &io::Error) -> Failure {
    let failure = Failure::ours(format!("{}: {error}", workspace.state().display()));
    if error.kind() == io::ErrorKind::Unsupported {
        return failure.with_help(
            "keep the workspace on a disk of this machine (the folders of runs may lie elsewhere: `host: {runs_dir: ...}`); \
             `--i-know` or `host: {shared_state: true}` in prismq.yaml does it all the same",
        );
    }
    failure
}

/// Somebody else is the host.
pub(super) fn owned_failure(workspace: &Workspace) -> Failure {
    let owner = ownership::owner(workspace).map_or_else(String::new, |pid| format!(" by process {pid}"));
    Failure::new(Exit::NotOwner, format!("{} is owned{owner} already", workspace.root().display()))
}

fn not_reached(workspace: &Workspace) -> Failure {
    let owner = ownership::owner(workspace).map_or_else(String::new, |pid| format!(" (process {pid})"));
    Failure::new(Exit::NotOwner, format!("another host{owner} owns {} and cannot be reached", workspace.root().display()))
        .with_help("its log is `.prismq/log/host.log`; when it hangs, end that process and try again")
}

pub(super) fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Settings(diagnostics) => Failure::invalid(diagnostics),
        StartError::Journal(error) => journal_failure(&error),
        StartError::Io(error) => Failure::ours(format!("the host cannot start: {error}")),
    }
}

pub(super) fn journal_failure(error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::Damaged(_) | OpenError::NewerFormat { .. } => Exit::JournalDamaged,
        OpenError::Io { .. } => Exit::Usage,
    };
    Failure::new(exit, error.to_string()).with_help(error.help())
}

fn command_failure(error: CommandError, _output: &Output) -> Failure {
    let text = error.to_string();
    let help = error.help();
    match error {
        CommandError::UnknownRun(_) | CommandError::UnknownNode { .. } => Failure::not_found(text),
        CommandError::NotHeld(_) | CommandError::StillRunning(_) | CommandError::KeyUsed(_) | CommandError::Unreadable { .. } => {
            Failure::usage(text)
        }
        CommandError::Gone => Failure { leaving: true, ..Failure::new(Exit::HostUnreachable, text) },
        CommandError::DiskFull(_) => Failure { unwritable: true, help, ..Failure::new(Exit::RunFailed, text) },
        CommandError::Journal(_) => Failure { unwritable: true, help, ..Failure::new(Exit::HostUnreachable, text) },
        CommandError::Refused(refused) => refused_failure(refused),
    }
}

/// A refused submission.
pub(super) fn refused_failure(refused: Refused) -> Failure {
    let (text, help) = (refused.to_string(), refused.help());
    match refused {
        Refused::Invalid(diagnostics) | Refused::Broken(diagnostics) => Failure::invalid(diagnostics),
        Refused::NotFound(diagnostic) => {
            let mut failure = Failure::not_found(diagnostic.message);
            failure.help = diagnostic.help;
            failure
        }
        Refused::NeverFits(_) => Failure { help, ..Failure::new(Exit::NeverFits, text) },
        Refused::Busy(_) => Failure::new(Exit::HostUnreachable, text),
        Refused::Disk(_) => Failure::ours(text),
    }
}

/// Attaches to the owner; where there is none, one is started in the background.
pub(super) fn attach_or_start(workspace: &Workspace) -> Result<Client, Failure> {
    if let Some(client) = Session::attach(workspace)? {
        return Ok(client);
    }
    let mut started = start_background(workspace)?;
    let deadline = Instant::now() + REACH_LIMIT;
    loop {
        if let Some(client) = reach(workspace) {
            return Ok(client);
        }
        // One that ended since another was faster is no failure: that other one is the owner.
        if let Ok(Some(status)) = started.try_wait()
            && !ownership::is_owned(workspace)
        {
            return Err(did_not_start(workspace, status));
        }
        if Instant::now() >= deadline {
            return Err(not_reached(workspace));
        }
        std::thread::sleep(REACH_PAUSE);
    }
}

/// Why the host in the background ended at once. It has no terminal to say so itself.
fn did_not_start(workspace: &Workspace, status: ExitStatus) -> Failure {
    if let Err(error) = ownership::check_place(workspace) {
        return lock_failure(workspace, &error);
    }
    match Snapshot::read(workspace) {
        Err(error) => journal_failure(&error),
        Ok(_) => {
            Failure::ours(format!("the host in the background ended at once: {status}")).with_help("its log is `.prismq/log/host.log`")
        }
    }
}
