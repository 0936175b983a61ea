//! Fetching the secrets of an attempt before it is prepared: on a thread of its own, since a password manager may take seconds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::super::super::{Exit, Secrets, Unlock, Values};
use super::super::{failure, supervise};
use super::book::{Order, Phase};
use super::{STACK_BYTES, Shared};
use crate::event::{SpawnFailure, SpawnFailureKind};

/// Begins to fetch the secrets of an attempt that has some and is to be started. It comes up again when they are there.
pub(super) fn are_fetched_first(shared: &Arc<Shared>, number: u64) -> bool {
    let unlock = match shared.lock().entries.get(&number) {
        // A stop that came first prevents it; for that no secret is needed.
        Some(entry) if entry.stops.strongest.is_some() => return false,
        Some(entry) => match &entry.phase {
            Phase::Queued(spec) => match &spec.secrets {
                Secrets::Locked(unlock) => Unlock::clone(unlock),
                Secrets::None | Secrets::Open(_) => return false,
            },
            Phase::Hatched { .. } | Phase::Running { .. } | Phase::Adopted(_) | Phase::Found | Phase::Ending => return false,
        },
        None => return false,
    };
    let fetcher = Arc::clone(shared);
    let builder = std::thread::Builder::new().name("secrets".to_owned()).stack_size(STACK_BYTES);
    let started = builder.spawn(move || {
        let fetched = catch_unwind(AssertUnwindSafe(|| unlock()));
        let panicked = |_| Err(failure::lasting(SpawnFailureKind::Other, "its secrets were not fetched: a fault of prismq".to_owned()));
        fetched_or_failed(&fetcher, number, fetched.unwrap_or_else(panicked));
    });
    if let Err(error) = started {
        fetched_or_failed(shared, number, Err(failure::preparing("no thread can be started to fetch its secrets", &error)));
    }
    true
}

fn fetched_or_failed(shared: &Arc<Shared>, number: u64, fetched: Result<Values, SpawnFailure>) {
    let mut book = shared.lock();
    let Some(entry) = book.entries.get_mut(&number) else { return };
    let Phase::Queued(spec) = &mut entry.phase else { return };
    match fetched {
        Ok(values) => {
            spec.secrets = Secrets::Open(values);
            drop(book);
            shared.order(Order::Start(number));
        }
        Err(failure) => {
            let stops = entry.stops;
            entry.phase = Phase::Ending;
            drop(book);
            let exit = if stops.strongest.is_some() { Exit::Prevented } else { Exit::SpawnFailed(failure) };
            shared.finish(number, supervise::never_started(exit, stops));
        }
    }
}
