//! Why nodes do not run, as the scheduler sees it, and in words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clock;
use super::handle::CommandError;
use super::turn::Turn;
use crate::ids::{NodeIndex, RunId};
use crate::run::{NodeState, NodeStatus, RunState};
use crate::scheduler::{Blocker, Holder, LISTED_MAX, Survey};
use crate::units::Timestamp;

/// Most nodes explained in one answer.
const NODES_MAX: usize = 100;

/// Of what somebody wants to know why it does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyAsked {
    /// A run; none: all of them.
    pub run: Option<RunId>,
    /// A node of it; none: all that do not run.
    pub node: Option<String>,
    /// Only nodes that wait for nothing but room: not those that wait for others.
    #[serde(default)]
    pub ready: bool,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhyView {
    /// Nodes that do not run, in the order in which they are looked at for a start.
    pub nodes: Vec<NodeWhy>,
    /// How many there are in all; some may not be listed.
    pub count: usize,
    /// Nodes of the same runs that run.
    #[serde(default)]
    pub running: usize,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeWhy {
    /// Its run.
    pub run_id: String,
    /// Its path.
    pub node: String,
    /// Its state.
    pub status: String,
    /// What keeps it, as data: each with `blocker` and what belongs to it.
    pub blockers: Vec<serde_json::Value>,
    /// The same in words.
    pub reasons: Vec<String>,
}

impl Turn {
    /// Why nodes do not run.
    pub(super) fn why(&self, asked: &WhyAsked) -> Result<WhyView, CommandError> {
        let runs: Vec<&RunState> = match &asked.run {
            None => self.world.runs().collect(),
            Some(run) => match self.world.run(run) {
                Some(state) => vec![state],
                None if self.filing_runs.contains_key(run) || self.finished.get(run).is_some() => Vec::new(),
                None => return Err(CommandError::UnknownRun(run.clone())),
            },
        };
        let mut view = WhyView::default();
        let survey = Survey::new(&self.world, clock::wall());
        for state in runs {
            let nodes: Vec<NodeIndex> = match &asked.node {
                Some(path) => {
                    let unknown = || CommandError::UnknownNode { run: state.id().clone(), node: path.clone() };
                    vec![state.find(path).ok_or_else(unknown)?]
                }
                None => waiting(state, asked.ready),
            };
            view.count += nodes.len();
            view.running += state.active().len();
            let room = NODES_MAX.saturating_sub(view.nodes.len());
            view.nodes.extend(nodes.into_iter().take(room).map(|node| why_node(&survey, state, node)));
        }
        Ok(view)
    }
}

fn why_node(survey: &Survey<'_>, run: &RunState, node: NodeIndex) -> NodeWhy {
    let blockers = survey.explain(run.id(), node);
    let status = run.node(node).state().status();
    let mut reasons: Vec<String> = blockers.iter().map(said).collect();
    if reasons.is_empty() {
        reasons.push(run.row(node).reason.unwrap_or_else(|| nothing(status).to_owned()));
    }
    NodeWhy {
        run_id: run.id().to_string(),
        node: run.path(node),
        status: status.as_str().to_owned(),
        blockers: blockers.iter().filter_map(|blocker| serde_json::to_value(blocker).ok()).collect(),
        reasons,
    }
}

/// Nodes that could run and do not: those that wait for room first, then those that wait for others.
fn waiting(run: &RunState, only_ready: bool) -> Vec<NodeIndex> {
    let (mut ready, mut others) = (Vec::new(), Vec::new());
    for (node, at) in run.nodes() {
        match at.state() {
            NodeState::Ready { .. } => ready.push(node),
            NodeState::Retrying { .. } | NodeState::Interrupted { .. } | NodeState::Waiting { .. } => others.push(node),
            NodeState::Running { .. } | NodeState::Stopping { .. } | NodeState::Open { .. } | NodeState::Done { .. } => {}
        }
    }
    if !only_ready {
        ready.extend(others);
    }
    ready
}

/// What is said of a node that nothing keeps.
pub(crate) fn nothing(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Running => "it runs",
        NodeStatus::Completed => "it has completed",
        NodeStatus::Reused => "its result is that of an earlier run",
        NodeStatus::Failed => "it has failed",
        NodeStatus::Cancelled => "it was cancelled",
        NodeStatus::Skipped => "it was skipped",
        NodeStatus::Waiting | NodeStatus::Queued | NodeStatus::Retrying => "it starts next",
    }
}

fn said(blocker: &Blocker) -> String {
    match blocker {
        Blocker::Dependencies { nodes, count } => {
            let more = (*count as usize).saturating_sub(nodes.len());
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("waits for {}{rest}", nodes.join(", "))
        }
        Blocker::Around { node } => format!("waits for `{node}`, of which it is a part"),
        Blocker::Resource { unmet, missing, holders, alternative } => {
            let which = alternative.map(|at| format!("alternative {at} ")).unwrap_or_default();
            let missing = if *missing { "; this machine has not enough of it now, whatever ends" } else { "" };
            format!("{which}{unmet}{missing}{}", held_by(holders))
        }
        Blocker::HeldBack { run_id, node, expected } => {
            format!("held back for {run_id}/{node}, which comes before it and needs the room{}", expected_at(*expected))
        }
        Blocker::Reserved { expected } => format!("room is kept for it{}", expected_at(*expected)),
        Blocker::Priority { priority, since, first: true, .. } => {
            let priority = priority.as_str();
            format!("its priority is {priority}, and it comes before all others: nothing of it has started since {}", since.local_time())
        }
        Blocker::Priority { priority, ahead, first_at, first: false, .. } => {
            let (priority, nodes) = (priority.as_str(), if *ahead == 1 { "node comes" } else { "nodes come" });
            format!("its priority is {priority}: {ahead} ready {nodes} before it, until {} at the longest", first_at.local_time())
        }
        Blocker::Concurrency { module, limit, holders } => {
            format!("`concurrency` of {module} allows {limit} at once{}", held_by(holders))
        }
        Blocker::MaxParallel { group, limit } => format!("`max_parallel` of {group} allows {limit} at once"),
        Blocker::Backoff { until, cause } => format!("pauses until {} after: {cause}", until.local_time()),
        Blocker::RunHeld => "its run is held since its host died: `prismq resume` goes on".to_owned(),
        Blocker::Stopping => "its run is being stopped".to_owned(),
        Blocker::Disk { disk } => format!("waits for disk: {disk}"),
        Blocker::NotAccepting => "the host starts nothing new: it leaves, or its journal cannot be written".to_owned(),
        Blocker::Reuse => "an earlier result with the same inputs is looked for".to_owned(),
        Blocker::Journal => "there is room: it starts as soon as that is written down".to_owned(),
    }
}

/// When the node starts for which room is kept.
fn expected_at(expected: Option<Timestamp>) -> String {
    match expected {
        Some(at) => format!(", expected at {}", at.local_time()),
        None => "; how long what holds it still takes is not known".to_owned(),
    }
}

fn held_by(holders: &[Holder]) -> String {
    const SHOWN_MAX: usize = 5;
    if holders.is_empty() {
        return String::new();
    }
    let one = |holder: &Holder| {
        let until = holder.until.map(|until| format!(", until about {}", until.local_time())).unwrap_or_default();
        format!("{}/{} has {} since {}{until}", holder.run_id, holder.node, holder.amount, holder.since.local_time())
    };
    let shown: Vec<String> = holders.iter().take(SHOWN_MAX).map(one).collect();
    let more = if holders.len() < LISTED_MAX { holders.len().saturating_sub(SHOWN_MAX).to_string() } else { "many".to_owned() };
    let rest = if holders.len() > SHOWN_MAX { format!("; and {more} more") } else { String::new() };
    format!(": {}{rest}", shown.join("; "))
}
