//! The thread that prepares attempts and delivers stops: everything that may wait for the disk.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, PoisonError};

use super::super::super::{Exit, Secrets, Spec, Stdin, StopHow, WorkIn};
use super::super::control::Stops;
use super::super::prepare::prepare;
use super::super::{failure, supervise};
use super::ahead::Ahead;
use super::book::{Book, Order, Phase};
use super::system::{self, Hatchery};
use super::{Shared, program::Program, secrets};
use crate::attempt::{AttemptFolder, AttemptSpec, Hatch, StopAs, StopRequest};
use crate::event::{SpawnFailure, SpawnFailureKind};

/// A variable longer than this may be why a program cannot be started: the system takes none of twice that length.
const LONG_VARIABLE_BYTES: usize = 64 << 10;

/// The life of the thread.
pub(super) fn serve(shared: &Arc<Shared>) {
    let mut hatchery = Hatchery::default();
    let mut ahead = Ahead::default();
    loop {
        let mut book = shared.lock();
        book.busy = false;
        if book.orders.is_empty() {
            shared.quiet.notify_all();
        }
        let nothing = |book: &mut Book| book.orders.is_empty() && book.expected.is_empty() && !book.closed;
        let mut book = shared.work.wait_while(book, nothing).unwrap_or_else(PoisonError::into_inner);
        let Some(order) = book.orders.pop_front() else {
            let expected = book.expected.pop_front().filter(|_| !book.closed);
            drop(book);
            let Some((folder, fresh)) = expected else { break };
            ahead.make(&folder, fresh);
            continue;
        };
        book.busy = true;
        drop(book);
        match order {
            Order::Start(number) => start(shared, number, &mut hatchery, &mut ahead),
            Order::Adopt(number) => adopt(shared, number),
            Order::Stop(number) => stop(shared, number),
            Order::Bury => hatchery.bury(shared),
        }
    }
    hatchery.close();
    shared.lock().served = false;
    shared.quiet.notify_all();
}

fn start(shared: &Arc<Shared>, number: u64, hatchery: &mut Hatchery, ahead: &mut Ahead) {
    if secrets::are_fetched_first(shared, number) {
        return;
    }
    let Some((spec, stops, tries)) = take_spec(shared, number) else { return };
    match stops.strongest {
        Some(_) if tries == 1 => return shared.finish(number, supervise::never_started(Exit::Prevented, stops)),
        Some(_) => return shared.call_off(number, Exit::Prevented),
        None => {}
    }
    if let Err(failure) = hand_over(shared, number, spec, hatchery, ahead) {
        shared.finish(number, supervise::never_started(Exit::SpawnFailed(failure), stops));
    }
}

fn take_spec(shared: &Shared, number: u64) -> Option<(Box<Spec>, Stops, u32)> {
    let mut book = shared.lock();
    let entry = book.entries.get_mut(&number)?;
    match std::mem::replace(&mut entry.phase, Phase::Ending) {
        Phase::Queued(spec) => {
            entry.tries += 1;
            Some((spec, entry.stops, entry.tries))
        }
        other => {
            entry.phase = other;
            None
        }
    }
}

fn hand_over(shared: &Arc<Shared>, number: u64, spec: Box<Spec>, hatchery: &mut Hatchery, ahead: &mut Ahead) -> Result<(), SpawnFailure> {
    let program: &Program = shared.program.as_ref().map_err(|reason| failure::lasting(SpawnFailureKind::Other, reason.clone()))?;
    let folder = AttemptFolder::new(&spec.run_folder, &spec.node, spec.id.attempt);
    let fresh = spec.work == WorkIn::Fresh;
    let is_made = ahead.take(&folder, fresh);
    let (_, ready) = prepare(&spec, &folder, is_made, &shared.runs)?;
    let longest_variable = ready.longest_variable().filter(|(_, length)| *length > LONG_VARIABLE_BYTES);
    let longest_variable = longest_variable.map(|(name, length)| (name.to_owned(), length));
    let environment = last_of_each(ready.environment.into_iter().chain(spec.secrets.values().iter().cloned()).collect());
    // Not synced: whoever reads it within this boot sees it, and after a reboot the attempt is lost anyway.
    let attempt_spec = wrapper_spec(&spec, ready.work, &environment);
    let written = match attempt_spec.write(folder.path(), false) {
        // Made, and removed by somebody.
        Err(error) if is_made && error.kind() == io::ErrorKind::NotFound => {
            folder.create(fresh).and_then(|()| attempt_spec.write(folder.path(), false))
        }
        written => written,
    };
    written.map_err(|error| failure::preparing("spec.json cannot be written", &error))?;
    let hatch = Hatch { id: number, folder: folder.path().to_owned(), environment };
    let Some(spec) = give(shared, &hatch, spec, longest_variable.as_ref()) else { return Ok(()) };
    let nest = hatchery.nest(shared, program).map_err(|error| failure::preparing("the wrapper cannot be started", &error))?;
    if let Some(entry) = shared.lock().entries.get_mut(&number) {
        entry.longest_variable = longest_variable;
        // Before it is on its way: its first report may come at once.
        entry.phase = Phase::Hatched { nest, spec };
    }
    match hatchery.hatch(shared, &hatch) {
        Ok(()) => Ok(()),
        // Killed in this moment, or hanging: another one is asked.
        Err(error) if nursery_is_gone(&error) => {
            shared.again(number);
            Ok(())
        }
        Err(error) => Err(failure::preparing("the wrapper cannot be started", &error)),
    }
}

/// Gives an attempt to a wrapper that is free; or gives it back where none is.
fn give(shared: &Shared, hatch: &Hatch, spec: Box<Spec>, longest_variable: Option<&(OsString, usize)>) -> Option<Box<Spec>> {
    let order = hatch.encode(None);
    let mut book = shared.lock();
    // Its first report may come at once, and waits for the book.
    let Some(nest) = book.homes.give(hatch.id, &order) else { return Some(spec) };
    if let Some(entry) = book.entries.get_mut(&hatch.id) {
        entry.longest_variable = longest_variable.cloned();
        entry.phase = Phase::Hatched { nest, spec };
    }
    None
}

fn nursery_is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut)
}

fn wrapper_spec(spec: &Spec, work: std::path::PathBuf, environment: &[(OsString, OsString)]) -> AttemptSpec {
    AttemptSpec {
        name: format!("{}/{}/{}", spec.id.run, spec.node, spec.id.attempt),
        token: spec.token.clone(),
        program: spec.program.clone(),
        args: spec.args.clone(),
        environment: environment.iter().map(|(name, _)| name.clone()).collect(),
        secrets: spec.secrets.names(),
        work,
        stdin: match spec.stdin {
            Stdin::Nothing => None,
            Stdin::Params => Some(spec.params.path().to_owned()),
        },
        capture: spec.capture,
        leaks: spec.leaks,
        log_cap: spec.log_cap,
        memory: Some(spec.memory).filter(|memory| memory.0 > 0),
        set_aside: Some(spec.set_aside).filter(|memory| memory.0 > 0),
        gpus: spec.gpus.clone(),
        alternative: spec.alternative,
        grace: spec.grace,
        open_files: None,
    }
}

/// Where a name stands twice the last one counts; a program that is simply given both would see the first.
fn last_of_each(mut variables: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let mut seen = HashSet::with_capacity(variables.len());
    let mut is_last: Vec<bool> = variables.iter().rev().map(|(name, _)| seen.insert(key(name))).collect();
    variables.retain(|_| is_last.pop().unwrap_or(true));
    variables
}

/// What makes two variables the same: Windows does not tell capitals from small letters.
fn key(name: &OsStr) -> Cow<'_, OsStr> {
    if cfg!(windows) { name.to_ascii_uppercase().into() } else { name.into() }
}

/// Looks how it stands. Who wrote a wish for its end down may have died before the wrapper was told.
fn adopt(shared: &Arc<Shared>, number: u64) {
    let folder = shared.lock().entries.get(&number).map(|entry| entry.folder.path().to_owned());
    shared.resolve(number);
    if folder.is_some_and(|folder| !matches!(StopRequest::read(&folder), Ok(None))) {
        shared.order(Order::Stop(number));
    }
}

/// Writes the wish down, if it is ours, and has the wrapper look at once. One that has not claimed its attempt yet finds the wish when it
/// does.
fn stop(shared: &Shared, number: u64) {
    let (folder, how, grace) = {
        let mut book = shared.lock();
        let Some(entry) = book.entries.get_mut(&number) else { return };
        match &entry.phase {
            // Whoever fetches its secrets will find that nobody needs them.
            Phase::Queued(spec) if matches!(spec.secrets, Secrets::Locked(_)) => {
                let stops = entry.stops;
                entry.phase = Phase::Ending;
                drop(book);
                return shared.finish(number, supervise::never_started(Exit::Prevented, stops));
            }
            Phase::Queued(_) => return,
            Phase::Hatched { .. } | Phase::Running { .. } | Phase::Adopted(_) | Phase::Found | Phase::Ending => {}
        }
        entry.undelivered = false;
        (entry.folder.path().to_owned(), entry.stops.strongest, entry.left.grace)
    };
    let written = match how {
        None => Ok(()),
        Some(StopHow::Polite) => StopRequest { how: StopAs::Polite, grace }.write(&folder),
        Some(StopHow::Kill) => StopRequest { how: StopAs::Kill, grace }.write(&folder),
    };
    if written.and_then(|()| system::wake(&folder)).is_err()
        && let Some(entry) = shared.lock().entries.get_mut(&number)
    {
        // The disk may be full: the monitor has it tried again.
        entry.undelivered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_variables_counts() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            list.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
        };
        let mut kept = last_of_each(pairs(&[("A", "1"), ("B", "2"), ("A", "3")]));
        kept.sort();
        assert_eq!(kept, pairs(&[("A", "3"), ("B", "2")]));
    }
}
