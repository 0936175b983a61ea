//! Threads for direct attempts: as many as run at once, kept for the next ones.
//!
//! An attempt needs somebody who waits for it, and a thread that waits costs nothing but its stack. Handing an attempt to a waiting
//! thread is one wake-up; no timer, no polling, no queue behind a fixed number of workers.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::{Ending, Exit, Fact, Sink, Spec, StopHow};
use super::claims::Runs;
use super::control::{Control, Stops};
use super::strangers::reap_strangers;
use super::{failure, supervise};
use crate::event::SpawnFailureKind;
use crate::ids::AttemptId;

/// Stack of a thread: what it calls is shallow, and a thousand of them should not reserve gigabytes. Tests without optimisation and a
/// JSON text nested to the reader's limit of 128 fit in it.
const STACK_BYTES: usize = 256 << 10;

/// How long a thread waits for the next attempt before it leaves.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// How long the processes of an attempt whose thread failed are waited for after their kill.
const SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// Bytes read at once, the size of a pipe.
const BUFFER_BYTES: usize = 64 << 10;

/// The attempts of an engine and the threads that execute them.
pub(super) struct Pool {
    sink: Sink,
    runs: Arc<Runs>,
    state: Mutex<State>,
    /// Rung when an attempt is queued or the pool closes.
    work: Condvar,
    /// Rung when the last attempt is over.
    quiet: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Spec, Arc<Control>)>,
    /// Attempts that were accepted and are not over.
    open: HashMap<AttemptId, Arc<Control>>,
    /// Threads that wait for work or are on their way to do so. Never fewer than there are attempts in the queue.
    idle: usize,
    /// Endings on their way to the sink.
    reporting: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new(sink: Sink, runs: Arc<Runs>) -> Self {
        Self { sink, runs, state: Mutex::default(), work: Condvar::new(), quiet: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an attempt for a thread that waits, or for a new one.
    pub(super) fn start(self: &Arc<Self>, spec: Spec) {
        let id = spec.id.clone();
        let control = Arc::new(Control::default());
        let mut state = self.lock();
        state.open.insert(id.clone(), Arc::clone(&control));
        state.queue.push_back((spec, control));
        let needs_thread = state.queue.len() > state.idle;
        if needs_thread {
            state.idle += 1;
        }
        drop(state);
        if needs_thread {
            self.add_thread(&id);
        } else {
            self.work.notify_one();
        }
    }

    fn add_thread(self: &Arc<Self>, id: &AttemptId) {
        let pool = Arc::clone(self);
        let spawned = thread::Builder::new().name("attempt".to_owned()).stack_size(STACK_BYTES).spawn(move || pool.serve());
        let Err(error) = spawned else { return };
        let mut state = self.lock();
        state.idle -= 1;
        // Another thread may have taken it meanwhile; then that one's next attempt finds a thread again.
        let Some(at) = state.queue.iter().position(|(spec, _)| spec.id == *id) else { return };
        state.queue.remove(at);
        state.open.remove(id);
        state.reporting += 1;
        drop(state);
        let exit = Exit::SpawnFailed(failure::preparing("no thread can be started for it", &error));
        let ending = supervise::never_started(exit, Stops::default());
        (self.sink)(Fact::Ended { id: id.clone(), ending });
        self.reported(&mut self.lock());
    }

    pub(super) fn stop(&self, id: &AttemptId, how: StopHow) {
        let control = self.lock().open.get(id).map(Arc::clone);
        if let Some(control) = control {
            control.stop(how);
        }
    }

    /// Waits until nothing is open.
    pub(super) fn join(&self) {
        let state = self.lock();
        let busy = |state: &mut State| !state.open.is_empty() || state.reporting > 0;
        let _quiet = self.quiet.wait_while(state, busy).unwrap_or_else(PoisonError::into_inner);
    }

    /// Lets waiting threads leave.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// The life of a thread. It is counted as idle when it begins.
    fn serve(&self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut next = self.next(self.lock());
        while let Some((spec, control)) = next {
            let ending = self.execute(&spec, &control, &mut buffer);
            let mut state = self.lock();
            state.open.remove(&spec.id);
            state.reporting += 1;
            // Idle before the ending is known: who starts the next attempt because of it finds this thread. And no second lock for it,
            // since that one would be fought for with whoever the ending has just woken.
            state.idle += 1;
            drop(state);
            (self.sink)(Fact::Ended { id: spec.id, ending });
            let mut state = self.lock();
            self.reported(&mut state);
            next = self.next(state);
        }
    }

    /// Executes an attempt. Should we have made a mistake in there, the host still learns of the end, and nothing is left running.
    fn execute(&self, spec: &Spec, control: &Control, buffer: &mut [u8]) -> Ending {
        let life = || supervise::execute(spec, control, &self.runs, &self.sink, buffer);
        catch_unwind(AssertUnwindSafe(life)).unwrap_or_else(|_| {
            let reaped = reap_strangers(&spec.token, SWEEP_LIMIT);
            let ((), stops) = control.over(|| ());
            let message = "an internal error; its processes were ended, the host's log says more".to_owned();
            let exit = Exit::SpawnFailed(failure::lasting(SpawnFailureKind::Other, message));
            Ending { leaked: reaped.count > 0, ..supervise::never_started(exit, stops) }
        })
    }

    fn next(&self, state: MutexGuard<'_, State>) -> Option<(Spec, Arc<Control>)> {
        let waiting = |state: &mut State| state.queue.is_empty() && !state.closed;
        let (mut state, _) = self.work.wait_timeout_while(state, IDLE_LIMIT, waiting).unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        state.queue.pop_front()
    }

    fn reported(&self, state: &mut State) {
        state.reporting -= 1;
        if state.reporting == 0 && state.open.is_empty() {
            self.quiet.notify_all();
        }
    }
}
