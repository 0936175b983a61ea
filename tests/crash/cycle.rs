//! One cycle: some acts, each with a host under a fault; then everything is brought to its end without any; then the checker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use prismq::host::offline::Snapshot;
use prismq::host::workspace::Workspace;
use rustix::process::Signal;

use crate::acks::Acks;
use crate::dice::Dice;
use crate::fault::{Fault, KINDS, Kind};
use crate::options::Options;
use crate::plan::Pipeline;
use crate::process::{Ran, Running};
use crate::space::{Space, program, signal};
use crate::story::Records;
use crate::{LOOK, check, settle, writer};

/// Nothing in an act takes so long unless it hangs.
const STUCK: Duration = Duration::from_secs(30);

/// What an act did, for the report.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) kind: Kind,
    pub(crate) calls: &'static str,
    pub(crate) hit: bool,
}

/// What a cycle found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) acts: Vec<Act>,
    pub(crate) acks: usize,
    pub(crate) attempts: usize,
    pub(crate) violations: Vec<String>,
}

/// A cycle while it goes on.
#[derive(Debug)]
pub(crate) struct Cycle {
    pub(crate) space: Space,
    dice: Dice,
    pub(crate) pipelines: Vec<Pipeline>,
    pub(crate) acks: Acks,
    pub(crate) records: Records,
    /// The fault of this act is for wrappers.
    all_wrapped: bool,
    /// A wrapper was killed in this act.
    wrapper_killed: bool,
    /// The host was told of an error: runs may have failed for it.
    pub(crate) errors: Vec<Kind>,
    pub(crate) found: Found,
}

/// Who hosts in an act.
#[derive(Debug, Clone)]
enum Role {
    Run(Pipeline),
    Serve,
    Resume(String),
}

/// A program beside the host.
struct Client {
    running: Running,
    args: Vec<String>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Run(String),
    Detached(String),
    Cancel(String),
    Look,
}

/// Plays cycle number `number` in a folder that does not exist yet.
pub(crate) fn play(options: &Options, number: u64, folder: PathBuf, strace: bool) -> Result<Found, String> {
    let mut dice = Dice::new(options.seed, number);
    let chosen = |dice: &mut Dice| {
        let kinds: &[Kind] = if options.only.is_empty() { &KINDS } else { &options.only };
        if strace { dice.pick(kinds) } else { Kind::KillMoment }
    };
    let first = chosen(&mut dice);
    if first == Kind::Writer {
        return writer::play(dice, &folder);
    }
    let space = Space::make(folder).map_err(|error| format!("the cycle's folder cannot be made: {error}"))?;
    let mut cycle = Cycle {
        space,
        dice,
        pipelines: Vec::new(),
        acks: Acks::default(),
        records: Records::default(),
        all_wrapped: false,
        wrapper_killed: false,
        errors: Vec::new(),
        found: Found::default(),
    };
    cycle.act(first)?;
    for _ in 1..cycle.dice.within(1..=3) {
        match chosen(&mut cycle.dice) {
            Kind::Writer => {}
            kind => cycle.act(kind)?,
        }
    }
    settle::settle(&mut cycle)?;
    check::check(&mut cycle);
    Ok(cycle.found)
}

impl Cycle {
    /// Notes that something is not as it must be.
    pub(crate) fn violated(&mut self, what: String) {
        self.found.violations.push(what);
    }

    fn act(&mut self, kind: Kind) -> Result<(), String> {
        self.all_wrapped = kind.is_of_wrappers() || kind == Kind::WrapperMoment;
        self.wrapper_killed = false;
        let role = self.role()?;
        let fault = Fault::draw(kind, &mut self.dice, &self.space.segment());
        let trace = self.space.folder().join(format!("trace.{}", self.found.acts.len()));
        let args = self.args_of(&role)?;
        self.space.write_down("story", &format!("--- {}: prismq {}\n", fault.describe(), args.join(" ")));
        let command = if kind.is_of_wrappers() {
            let mut command = Command::new(self.space.with_wrapper(&fault, &trace)?);
            command.args(&args);
            command
        } else {
            fault.command(program(), &args, &trace)
        };
        let mut host = Running::start(self.space.prepare(command), None);
        if kind.is_error() {
            self.errors.push(kind);
        }
        let clients = self.clients(&role, &mut host)?;
        let clients = self.watch(&role, &fault, &mut host, clients);
        let ran = host.end();
        self.heard(&args, &ran);
        if let Role::Run(pipeline) = &role {
            self.acks.read(&pipeline.name, &ran);
        } else {
            self.acks.read("", &ran);
        }
        for client in clients {
            let ran = client.running.end();
            self.heard(&client.args, &ran);
            self.learn(&client.what, &ran);
        }
        if kind.is_of_wrappers() {
            // Whoever was started by that copy would go on with such wrappers.
            self.space.end_copies();
        } else {
            wait_for_strace(&trace);
        }
        let hit = self.wrapper_killed || fault.was_hit(&self.space.trace(self.found.acts.len()), ran.code);
        self.found.acts.push(Act { kind, calls: fault.calls, hit });
        self.space.write_down("acknowledged", &self.acks.text());
        self.records.collect(&self.space.journal());
        self.tear();
        Ok(())
    }

    /// Goes on with what is left of earlier acts, or begins something new.
    fn role(&mut self) -> Result<Role, String> {
        let live = self.live_runs()?;
        let unfinished = live.first().filter(|_| self.dice.percent(70)).cloned();
        Ok(match unfinished {
            Some(run) if self.dice.percent(80) => Role::Resume(run),
            None if self.dice.percent(60) => Role::Run(self.new_pipeline()),
            Some(_) | None => Role::Serve,
        })
    }

    /// Runs that have not ended by what the journal says.
    pub(crate) fn live_runs(&self) -> Result<Vec<String>, String> {
        let workspace = Workspace::at(&self.space.root()).map_err(|error| error.to_string())?;
        let snapshot = Snapshot::read(&workspace).map_err(|error| format!("I5: the journal cannot be read: {error}"))?;
        if let Some(damage) = &snapshot.damage {
            return Err(format!("I5: the journal is damaged: {damage}"));
        }
        if let Some((run, reason)) = snapshot.unreadable().first_key_value() {
            return Err(format!("I1: run {run} cannot be read: {reason}"));
        }
        let live = snapshot.all().live.into_iter().filter(|row| !row.status.is_terminal());
        Ok(live.map(|row| row.run_id.to_string()).collect())
    }

    fn new_pipeline(&mut self) -> Pipeline {
        let name = format!("p{}", self.pipelines.len());
        let pipeline = Pipeline::draw(&mut self.dice, &name, self.all_wrapped);
        self.pipelines.push(pipeline.clone());
        pipeline
    }

    fn args_of(&self, role: &Role) -> Result<Vec<String>, String> {
        let words: Vec<&str> = match role {
            Role::Run(pipeline) => {
                let file = self.space.add(pipeline).map_err(|error| error.to_string())?;
                return Ok(vec!["run".to_owned(), file]);
            }
            Role::Serve => vec!["serve", "--until-idle"],
            Role::Resume(run) => vec!["resume", run],
        };
        Ok(words.into_iter().map(str::to_owned).collect())
    }

    /// Starts what attaches to the host, once it can be reached.
    fn clients(&mut self, role: &Role, host: &mut Running) -> Result<Vec<Client>, String> {
        let count = if matches!(role, Role::Serve) { self.dice.within(1..=3) } else { self.dice.within(0..=1) };
        let look = self.dice.percent(30);
        if count > 0 || look {
            let begun = Instant::now();
            let hosts = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
            while begun.elapsed() < STUCK && !self.space.host().is_some_and(hosts) && host.is_running() {
                std::thread::sleep(LOOK);
            }
        }
        let mut clients = Vec::new();
        for _ in 0..count {
            let pipeline = self.new_pipeline();
            let file = self.space.add(&pipeline).map_err(|error| error.to_string())?;
            if self.dice.percent(50) {
                clients.push(self.client(&["run", &file], What::Run(pipeline.name)));
            } else {
                clients.push(self.client(&["run", "--detach", &file], What::Detached(pipeline.name)));
            }
        }
        if look {
            clients.push(self.client(&["runs", "--json"], What::Look));
        }
        Ok(clients)
    }

    fn client(&self, args: &[&str], what: What) -> Client {
        Client { running: self.space.start(args), args: args.iter().map(|arg| (*arg).to_owned()).collect(), what }
    }

    /// Stays with the host until it and all others have ended: cancels what is endless, kills when it is time.
    fn watch(&mut self, role: &Role, fault: &Fault, host: &mut Running, mut clients: Vec<Client>) -> Vec<Client> {
        let last_signal = if self.dice.percent(50) { Signal::KILL } else { Signal::TERM };
        let victim = self.dice.next();
        let begun = Instant::now();
        let mut cancelled: Vec<String> = Vec::new();
        let mut killed = false;
        loop {
            let hosting = host.is_running();
            let others = clients.iter_mut().any(|client| client.running.is_running());
            if !hosting && !others {
                return clients;
            }
            if hosting && !killed && fault.kill_after.is_some_and(|after| begun.elapsed().as_millis() >= u128::from(after)) {
                killed = true;
                self.kill(fault, host.pid(), victim);
            }
            if hosting && !others && matches!(role, Role::Serve) && self.live_runs().is_ok_and(|live| live.is_empty()) {
                signal(host.pid(), last_signal);
                killed = true;
            }
            for run in self.endless() {
                if !cancelled.contains(&run) {
                    clients.push(self.client(&["cancel", &run], What::Cancel(run.clone())));
                    cancelled.push(run);
                }
            }
            if begun.elapsed() > STUCK {
                self.violated(format!("it hangs: {}", fault.describe()));
                self.space.processes().into_iter().for_each(|(pid, line)| {
                    self.space.write_down("story", &format!("hangs: {pid} {line}\n"));
                    signal(pid, Signal::KILL);
                });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Kills the host; or one of the wrappers, or what starts them.
    fn kill(&mut self, fault: &Fault, host: u32, victim: u64) {
        if fault.kind != Kind::WrapperMoment {
            return signal(host, Signal::KILL);
        }
        let wrappers: Vec<u32> =
            self.space.processes().into_iter().filter(|(_, line)| line.contains("--nursery")).map(|(pid, _)| pid).collect();
        let at = usize::try_from(victim % (wrappers.len().max(1) as u64)).unwrap_or(0);
        if let Some(pid) = wrappers.get(at) {
            self.space.write_down("story", &format!("--- killed: {pid} of {wrappers:?}\n"));
            signal(*pid, Signal::KILL);
            self.wrapper_killed = true;
        }
    }

    /// Runs in which an endless node has begun.
    fn endless(&self) -> Vec<String> {
        let begun = self.space.marks().into_iter().filter_map(|mark| {
            let (run, rest) = mark.strip_prefix("begin ")?.split_once('/')?;
            rest.starts_with("long/").then(|| run.to_owned())
        });
        begun.collect()
    }

    /// Notes what a program did, and whether it failed in a way that none may.
    pub(crate) fn heard<S: AsRef<str>>(&mut self, args: &[S], ran: &Ran) {
        let line = args.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        self.space.note(&line, ran);
        if ran.code == 101 || ran.stderr.contains("panicked at") {
            self.violated(format!("`prismq {line}` panicked"));
        }
    }

    fn learn(&mut self, what: &What, ran: &Ran) {
        match what {
            What::Run(pipeline) => self.acks.read(pipeline, ran),
            What::Detached(pipeline) => self.acks.read_detached(pipeline, ran),
            What::Cancel(run) if ran.code == 0 => drop(self.acks.cancelled.insert(run.clone())),
            What::Look if ran.code != 0 && ran.code != 137 => {
                self.violated(format!("I5: somebody who only looks is refused: {}", ran.stderr.trim()));
            }
            What::Cancel(_) | What::Look => {}
        }
    }

    /// Where nobody hosts: leaves half a record, as a host does that is killed within a write.
    fn tear(&mut self) {
        if !self.dice.percent(25) || !self.space.processes().is_empty() {
            return;
        }
        let segment = self.space.segment();
        let Ok(text) = std::fs::read(&segment) else { return };
        let Some(line) = text.split_inclusive(|byte| *byte == b'\n').next_back().filter(|line| line.ends_with(b"\n")) else { return };
        let part = usize::try_from(self.dice.within(1..=line.len() as u64 - 1)).unwrap_or(1);
        let opened = std::fs::OpenOptions::new().append(true).open(&segment);
        let torn = opened.and_then(|mut file| std::io::Write::write_all(&mut file, &line[..part]));
        self.space.write_down("story", &format!("--- torn: {part} bytes {torn:?}\n"));
    }
}

/// `strace` outlives its program by a moment, in which it writes.
pub(crate) fn wait_for_strace(trace: &Path) {
    let begun = Instant::now();
    while begun.elapsed() < STUCK && !crate::space::processes_of(trace).is_empty() {
        std::thread::sleep(LOOK);
    }
}
