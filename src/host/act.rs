//! Carrying out: effects of the scheduler and facts of the engine become records, and records become state.

use super::fanout::Fanout;
use super::judge::{Asked, judge};
use super::oom;
use super::record;
use super::runfile;
use super::turn::{After, Turn};
use super::update::{NodeChange, Update};
use super::watch::Change;
use crate::attempt::AttemptFolder;
use crate::engine::{Ending, Exit, Fact};
use crate::event::{EndFacts, Event, FailureCause, Stamp, StartFacts};
use crate::ids::{AttemptId, AttemptNumber, NodeIndex, RunId, Seq};
use crate::journal::{AppendError, Entry, Urgency};
use crate::manifest::Pin;
use crate::request::{Isolation, WorkDir};
use crate::run::NodeState;
use crate::scheduler::{Durations, Effect, StartOrder, StopHow};
use crate::units::Now;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// It is part of the state, and its record is on the way to the disk under this number.
    Taken(Seq),
    /// It does not fit the state, or cannot be written at all: a fault of ours.
    Illegal,
    /// The journal takes nothing now.
    Refused,
}

impl Committed {
    pub(super) fn is_refused(self) -> bool {
        self == Self::Refused
    }
}

impl Turn {
    /// Applies an event and hands its record to the journal. `None` where it could be neither applied nor written.
    pub(super) fn commit(&mut self, run: &RunId, event: Event) -> Option<Seq> {
        match self.try_commit(run, &event) {
            Committed::Taken(seq) => Some(seq),
            Committed::Illegal | Committed::Refused => None,
        }
    }

    /// The same, with the reason.
    pub(super) fn try_commit(&mut self, run: &RunId, event: &Event) -> Committed {
        if !self.health.records() {
            return Committed::Refused;
        }
        let now = self.clock.now();
        // The path is taken before: the event may be about to change what the node is.
        let path = event.node().and_then(|node| self.world.run(run).map(|state| state.path(node)));
        let committed = self.apply_and_write(run, path.as_deref(), event, now);
        if let Committed::Taken(seq) = committed {
            if let Some(state) = self.world.run(run) {
                self.timers.observe(state, event, now);
            }
            self.tell(run, path, event, seq, now);
        }
        committed
    }

    /// The record is taken exactly if the state takes the event, and under the same number.
    fn apply_and_write(&mut self, run: &RunId, path: Option<&str>, event: &Event, now: Now) -> Committed {
        let data = if let Event::RunEnded { status, outputs } = event {
            self.end_data(run, *status, outputs.clone(), now)
        } else {
            record::data(event)
        };
        let entry = Entry {
            kind: record::kind(event),
            run: Some(run),
            node: path,
            attempt: record::attempt(event),
            data: data.as_deref(),
            at: now.wall,
            urgency: if record::is_awaited(event) { Urgency::Now } else { Urgency::Soon },
        };
        let Self { writer, world, .. } = self;
        let taken = writer.append_if(entry, |seq| match world.apply(run, event, Stamp { seq, at: now.wall }) {
            Ok(()) => true,
            Err(illegal) => {
                // A fault of ours. The state is as it was; going on is safer for everybody else than stopping.
                tracing::error!(%run, %illegal, "an event was refused");
                false
            }
        });
        match taken {
            Ok(Some(seq)) => Committed::Taken(seq),
            Ok(None) => Committed::Illegal,
            Err(AppendError::Failed(failure)) => {
                self.health.stumbled(failure.kind, failure.to_string());
                Committed::Refused
            }
            Err(error @ (AppendError::TooLong { .. } | AppendError::Closed)) => {
                tracing::error!(%run, %error, "a record was refused");
                Committed::Illegal
            }
        }
    }

    /// `run.end` carries the run's row and what was learned, so that nobody ever has to replay an ended run.
    fn end_data(
        &self,
        run: &RunId,
        status: crate::event::RunStatus,
        outputs: Option<std::sync::Arc<serde_json::Value>>,
        now: Now,
    ) -> Option<Box<serde_json::value::RawValue>> {
        let (state, head) = (self.world.run(run)?, self.heads.get(run)?);
        let row = serde_json::value::to_raw_value(&runfile::row(state, head).ended(status, now.wall)).ok()?;
        let learned = serde_json::value::to_raw_value(&Durations::of_run(state)).ok()?;
        record::end_data(status, outputs, &row, &learned)
    }

    /// Tells the run's followers what an event changed, once it is durable.
    fn tell(&mut self, run: &RunId, path: Option<String>, event: &Event, seq: Seq, now: Now) {
        let Self { fanout, world, heads, workspace, .. } = self;
        if !Fanout::is_followed(fanout, run) {
            return;
        }
        let Some(state) = world.run(run) else { return };
        match event {
            Event::RunSubmitted { .. } | Event::RunCancelRequested { .. } | Event::RunHeld | Event::RunResumed => {
                if let Some(head) = heads.get(run) {
                    fanout.publish(seq, run, Update::Run(Box::new(runfile::row(state, head))));
                }
            }
            // The end is told when its file is written; an intent and a true condition change nothing that people see.
            Event::RunEnded { .. } | Event::AttemptIntended { .. } | Event::NodeReady { .. } => {}
            Event::NodeSkipped { node, .. }
            | Event::NodeExpanded { node, .. }
            | Event::NodeOpened { node, .. }
            | Event::NodeFinished { node, .. }
            | Event::NodeFailed { node, .. }
            | Event::NodeCancelled { node }
            | Event::NodeReused { node, .. }
            | Event::NodeChecked { node, .. }
            | Event::AttemptStarted { node, .. }
            | Event::AttemptStopping { node, .. }
            | Event::AttemptStuck { node, .. }
            | Event::AttemptEnded { node, .. } => {
                let row = state.row(*node);
                let ended = matches!(event, Event::AttemptEnded { .. });
                let attempt = record::attempt(event);
                let folder = attempt
                    .zip(path.as_deref())
                    .map(|(attempt, path)| AttemptFolder::new(&workspace.run(run), path, attempt).path().to_owned());
                let (done, total) = state.progress();
                let change = NodeChange {
                    at: now.wall,
                    node: path.unwrap_or_default(),
                    status: row.status.as_str().to_owned(),
                    unkillable: row.unkillable,
                    attempt,
                    reason: row.reason,
                    exit_code: row.exit_code.filter(|_| ended),
                    duration_ms: row.duration_ms.filter(|_| ended),
                    folder,
                    done: u64::from(done),
                    total: u64::from(total),
                };
                fanout.publish(seq, run, Update::Node(Box::new(change)));
            }
        }
        // A run begins to run with its first attempt, which no record of its own says.
        if !state.status().is_terminal()
            && fanout.is_news(run, state.status())
            && let Some(head) = heads.get(run)
        {
            fanout.publish_change(seq, run, Change::Run(Box::new(runfile::row(state, head))));
        }
    }

    /// Carries out one effect.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Record { run, event } => {
                let ends = matches!(event, Event::RunEnded { .. });
                let expected = if let Event::AttemptIntended { node, attempt } = &event { Some((*node, *attempt)) } else { None };
                let expanded = if let Event::NodeExpanded { node, .. } = &event { Some(*node) } else { None };
                let Some(seq) = self.commit(&run, event) else { return };
                if ends {
                    self.after.entry(seq).or_default().push(After::File(run));
                } else if let Some(node) = expanded {
                    self.take_over_instances(&run, node);
                } else if let Some((node, attempt)) = expected {
                    // Not before it is durable: a run that is never accepted leaves no folder.
                    self.after.entry(seq).or_default().push(After::Expect(AttemptId { run, node, attempt }));
                }
            }
            Effect::Start(order) => self.start(*order),
            Effect::CheckReuse(order) => self.look_for_result(*order),
            Effect::Stop { id, how } => {
                if let Some(state) = self.world.run(&id.run) {
                    self.timers.stopped(&id, how, state.node_def(id.node).settings.grace, self.clock.now().mono);
                }
                let how = match how {
                    StopHow::Polite => crate::engine::StopHow::Polite,
                    StopHow::Kill => crate::engine::StopHow::Kill,
                };
                self.engine.stop(&id, how);
            }
        }
    }

    /// Tells the engine of an attempt whose intent is durable. A direct one has a thread of its own, which makes what it needs.
    pub(super) fn expect(&self, id: &AttemptId) {
        let Some(state) = self.world.run(&id.run).filter(|state| state.intent(id.node).is_some()) else { return };
        let settings = &state.node_def(id.node).settings;
        if settings.isolation == Isolation::Wrapped {
            let folder = AttemptFolder::new(&self.workspace.run(&id.run), &state.path(id.node), id.attempt);
            self.engine.expect(folder, settings.workdir == WorkDir::Fresh);
        }
    }

    fn start(&mut self, order: StartOrder) {
        let AttemptId { run, node, attempt } = order.id.clone();
        let prepared = self.launcher.prepare(&order);
        let script_hash = prepared.as_ref().ok().and_then(|prepared| prepared.script_hash.clone());
        let mixed_before = self.world.run(&run).is_some_and(|state| state.facts().mixed_code);
        let facts = StartFacts {
            grant: order.grant,
            isolation: order.settings.isolation,
            params: order.params,
            defaulted: order.defaulted,
            script_hash,
        };
        if self.commit(&run, Event::AttemptStarted { node, attempt, facts }).is_none() {
            return;
        }
        let changed = !mixed_before && self.world.run(&run).is_some_and(|state| state.facts().mixed_code);
        match prepared {
            Ok(_) if changed && order.module.pin == Pin::Strict => self.end_unstarted(&run, node, attempt, FailureCause::ScriptChanged),
            Ok(prepared) => self.engine.start(prepared.spec),
            Err(cause) => self.end_unstarted(&run, node, attempt, cause),
        }
    }

    fn end_unstarted(&mut self, run: &RunId, node: NodeIndex, attempt: AttemptNumber, cause: FailureCause) {
        let facts = EndFacts::failed(cause);
        self.commit_or_keep(run, Event::AttemptEnded { node, attempt, facts });
    }

    /// Takes a fact of the engine.
    pub(super) fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Started { id, pid } => tracing::debug!(run = %id.run, node = id.node.0, pid, "started"),
            Fact::Output { id, .. } => {
                if let Some((path, folder)) = self.followed(&id) {
                    self.fanout.publish_now(&id.run, &Update::Output { node: path, folder });
                }
            }
            Fact::Progress { id, progress } => {
                if let Some((node, _)) = self.followed(&id) {
                    let update = Update::Progress { node, done: progress.done, total: progress.total, message: progress.message };
                    self.fanout.publish_now(&id.run, &update);
                }
            }
            Fact::Vacated { id } => self.vacated(&id),
            Fact::Ended { id, ending } => self.ended(&id, ending),
        }
    }

    fn followed(&self, id: &AttemptId) -> Option<(String, std::path::PathBuf)> {
        if !self.fanout.is_followed(&id.run) {
            return None;
        }
        let path = self.world.run(&id.run)?.path(id.node);
        let folder = AttemptFolder::new(&self.workspace.run(&id.run), &path, id.attempt).path().to_owned();
        Some((path, folder))
    }

    /// Gives free what an attempt held whose processes are gone.
    fn vacated(&mut self, id: &AttemptId) {
        if let Some(grant) = self.world.vacate(id)
            && grant.is_measured()
        {
            self.freed(!grant.devices.is_empty());
        }
    }

    /// Takes the end of an attempt: judges and records it.
    pub(super) fn ended(&mut self, id: &AttemptId, ending: Ending) {
        let Some(state) = self.world.run(&id.run) else { return };
        let Some(node) = state.get(id.node) else { return };
        let stopping = match node.state() {
            NodeState::Running { attempt, .. } if *attempt == id.attempt => None,
            NodeState::Stopping { attempt, reason, .. } if *attempt == id.attempt => Some(*reason),
            NodeState::Running { .. }
            | NodeState::Stopping { .. }
            | NodeState::Waiting { .. }
            | NodeState::Ready { .. }
            | NodeState::Retrying { .. }
            | NodeState::Interrupted { .. }
            | NodeState::Open { .. }
            | NodeState::Done { .. } => {
                tracing::warn!(run = %id.run, node = id.node.0, attempt = id.attempt.0, "the end of an old attempt was dropped");
                return;
            }
        };
        if let Some(lost) = &ending.log_lost {
            tracing::warn!(run = %id.run, node = id.node.0, bytes = lost.bytes, reason = lost.reason, "output was lost");
        }
        let Some(module) = state.module(id.node).cloned() else { return };
        let holds = !self.world.has_vacated(&id.run, id.node);
        let frees = holds && node.state().holding().is_some_and(|(_, grant)| grant.is_measured());
        let has_gpu = node.state().holding().is_some_and(|(_, grant)| !grant.devices.is_empty());
        // The code of a script without a manifest is its caller's to read.
        let said = if failed_by_itself(&ending) && !module.is_made_up() {
            let path = state.path(id.node);
            oom::said_in(&AttemptFolder::new(&self.workspace.run(&id.run), &path, id.attempt))
        } else {
            None
        };
        let asked = Asked { stopping, timeout: state.node_def(id.node).settings.timeout, said };
        let facts = judge(ending, asked, &module);
        let facts = EndFacts { peak_vram: self.peak_vram(id, has_gpu), ..facts };
        self.commit_or_keep(&id.run, Event::AttemptEnded { node: id.node, attempt: id.attempt, facts });
        if frees {
            self.freed(has_gpu);
        }
    }
}

/// Whether an attempt failed without a reason that the system gives.
fn failed_by_itself(ending: &Ending) -> bool {
    match ending.exit {
        Exit::Exited(code) => code != 0 && !ending.oom,
        Exit::Signaled(_) => !ending.oom && ending.stop_sent.is_none(),
        Exit::SpawnFailed(_) | Exit::Prevented | Exit::Lost(_) => false,
    }
}
