//! `prismq wait`: waits for a run's end and ends with its code.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::follow::{Input, REATTACH_LIMIT};
use super::output::Output;
use super::progress::health_text;
use super::records::Records;
use super::session::Session;
use super::signals;
use crate::host::index::RunRow;
use crate::host::update::Update;
use crate::host::workspace::Workspace;
use crate::ids::RunId;
use crate::units::DurationMs;

/// Arguments of `wait`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`
    #[arg(default_value = "last")]
    run: String,

    /// Wait no longer than this (30s, 5m); then end with code 6
    #[arg(long, value_parser = parse_duration)]
    timeout: Option<DurationMs>,
}

/// Pause between two looks for another host: each reads the journal.
const REATTACH_PAUSE: Duration = Duration::from_millis(200);

/// A run without a deadline still looks up now and then; it is woken by its inputs.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

fn parse_duration(text: &str) -> Result<DurationMs, String> {
    DurationMs::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let deadline = arguments.timeout.map(|limit| Instant::now() + limit.to_std());
    // How long another host is waited for, once one is gone.
    let mut patience = None;
    let mut row = Records::of(&workspace).find(&arguments.run)?.row;
    let run = row.run_id.clone();
    loop {
        if row.status.is_terminal() {
            return Ok(Exit::of_status(row.status));
        }
        let Some(client) = Session::attach(&workspace)? else {
            // Between the look at the run and the look at the lock the host may have ended the run and itself.
            row = row_of(&run, &workspace)?;
            if row.status.is_terminal() {
                continue;
            }
            let over = |until: Instant| Instant::now() >= deadline.map_or(until, |deadline| deadline.min(until));
            if patience.is_none_or(over) {
                let timed_out = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                return if timed_out { Ok(Exit::TimedOut) } else { Err(nobody(&run)) };
            }
            std::thread::sleep(REATTACH_PAUSE);
            continue;
        };
        let (inputs, receiver) = mpsc::channel();
        let signalled = inputs.clone();
        signals::listen(move |signal| signalled.send(Input::Signal(signal)).is_ok());
        client.follow(&run, inputs)?;
        match wait(&receiver, deadline, &context.output) {
            Waited::Ended(exit) => return Ok(exit),
            Waited::Again => patience = Some(Instant::now() + REATTACH_LIMIT),
        }
        row = row_of(&run, &workspace)?;
    }
}

/// How a run stands now, by its whole id: what it was named by may fit another one meanwhile.
fn row_of(run: &RunId, workspace: &Workspace) -> Result<RunRow, Failure> {
    Records::of(workspace).find(run.as_str()).map(|found| found.row)
}

enum Waited {
    Ended(Exit),
    /// The host left or died: look again.
    Again,
}

fn wait(receiver: &mpsc::Receiver<Input>, deadline: Option<Instant>, output: &Output) -> Waited {
    loop {
        let left = deadline.map_or(LONGEST_WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
        match receiver.recv_timeout(left) {
            Ok(Input::Update(Update::Ended(row))) => return Waited::Ended(Exit::of_status(row.status)),
            Ok(Input::Update(Update::Leaving | Update::Failed { .. }) | Input::Lost) => return Waited::Again,
            Ok(Input::Signal(_)) => return Waited::Ended(Exit::Interrupted),
            Ok(Input::Update(Update::Host(health))) => {
                if let Some(text) = health_text(&health, true) {
                    output.note(&text);
                }
            }
            Ok(
                Input::Update(Update::Run(_) | Update::Node(_) | Update::Output { .. } | Update::Progress { .. } | Update::Disk(_))
                | Input::Why(_),
            ) => {}
            Err(mpsc::RecvTimeoutError::Timeout) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                return Waited::Ended(Exit::TimedOut);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Waited::Again,
        }
    }
}

fn nobody(run: &RunId) -> Failure {
    Failure::new(Exit::HostUnreachable, format!("nobody works on run {run}: its host is gone"))
        .with_help(format!("`prismq resume {run}` goes on with it"))
}
