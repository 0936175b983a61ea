//! What no schedule can beat: lower bounds on the time that a run takes on a machine.
//!
//! *Path*: the longest way through the graph. *Area*: for each limit the sum of amount times duration over the capacity. *Interval*
//! (Fernandez and Bussell 1973): a schedule as long as the longest path leaves each node a window; what must lie in an interval of time
//! even when every node evades it as far as it can, over the capacity, may be longer than the interval. By the most that it is longer, the
//! schedule is longer than the longest path. Any choice of intervals gives a true bound, so that large graphs are sampled.

use super::model::{FREE, Model};

/// Above so many vertices only path and area are looked at.
pub const INTERVAL_NODES_MAX: usize = 20_000;

/// Pairs of an interval's begin and a node that are looked at for each limit.
const PAIRS_MAX: usize = 6_000_000;

/// Such pairs for all limits together: there may be as many limits as nodes.
const ALL_PAIRS_MAX: usize = 4 * PAIRS_MAX;

/// Work units of a pair: it is looked up twice among the ends of intervals.
const UNITS_OF_A_PAIR: u64 = 3;

/// Finding the nodes that use a limit costs a pair for each so many vertices.
const VERTICES_OF_A_PAIR: usize = 8;

/// Lower bounds, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The longest path.
    pub path: u64,
    /// The largest of the areas, and of which limit.
    pub area: (u64, String),
    /// The interval bound, and of which limit; `None` where the graph is too large for it.
    pub interval: Option<(u64, String)>,
}

impl Bounds {
    /// The best of them.
    #[must_use]
    pub fn best(&self) -> u64 {
        self.path.max(self.area.0).max(self.interval.as_ref().map_or(0, |(bound, _)| *bound))
    }
}

/// The window of a node that takes up something of a limit: it cannot begin before `head`, and must begin by `latest`.
struct Window {
    head: u64,
    latest: u64,
    duration: u64,
    amount: u64,
}

/// Lower bounds of a model.
#[must_use]
pub fn bounds(model: &Model) -> Bounds {
    bounds_of(model, ALL_PAIRS_MAX)
}

/// The same within a number of work units: path and area always, of the intervals as many as that allows.
pub(super) fn bounds_within(model: &Model, units: u64) -> Bounds {
    bounds_of(model, usize::try_from(units / UNITS_OF_A_PAIR).unwrap_or(ALL_PAIRS_MAX).min(ALL_PAIRS_MAX))
}

fn bounds_of(model: &Model, mut pairs: usize) -> Bounds {
    let (heads, tails) = (model.heads(), model.tails());
    let path = tails.iter().copied().max().unwrap_or(0);
    let mut area = (0, String::new());
    let mut interval = (path, String::new());
    let deep = model.len() <= INTERVAL_NODES_MAX;
    for ((at, limit), Load { work, all }) in (0_u32..).zip(&model.limits).zip(loads(model)) {
        // Where all of them have room at once the limit says nothing; without any of it nothing ever runs.
        if limit.capacity == 0 || all <= u128::from(limit.capacity) {
            continue;
        }
        let needed = least_time(work, limit.capacity);
        if needed > area.0 {
            area = (needed, limit.name.clone());
        }
        if deep && pairs > 0 {
            let windows = windows(model, at, &heads, &tails, path);
            let (longer, looked_at) = overload(windows, limit.capacity, pairs.min(PAIRS_MAX));
            pairs = pairs.saturating_sub(looked_at + model.len() / VERTICES_OF_A_PAIR);
            let longer = path.saturating_add(longer);
            if longer > interval.0 {
                interval = (longer, limit.name.clone());
            }
        }
    }
    Bounds { path, area, interval: deep.then_some(interval) }
}

fn least_time(work: u128, capacity: u64) -> u64 {
    u64::try_from(work.div_ceil(u128::from(capacity))).unwrap_or(u64::MAX)
}

/// What all nodes together need of a limit.
#[derive(Clone, Copy, Default)]
struct Load {
    /// Amounts times milliseconds.
    work: u128,
    /// Amounts.
    all: u128,
}

/// Of every limit, in one pass over the nodes.
fn loads(model: &Model) -> Vec<Load> {
    let mut loads = vec![Load::default(); model.limits.len()];
    for (demand, duration) in model.demand_of.iter().zip(&model.durations).filter(|(demand, duration)| **demand != FREE && **duration > 0) {
        for (limit, amount) in &model.demands[*demand as usize].0 {
            let load = &mut loads[*limit as usize];
            load.work += u128::from(*amount) * u128::from(*duration);
            load.all += u128::from(*amount);
        }
    }
    loads
}

fn windows(model: &Model, limit: u32, heads: &[u64], tails: &[u64], path: u64) -> Vec<Window> {
    let amounts: Vec<u64> =
        model.demands.iter().map(|demand| demand.0.iter().find(|(of, _)| *of == limit).map_or(0, |(_, amount)| *amount)).collect();
    let nodes = (0..model.len()).filter(|vertex| model.demand_of[*vertex] != FREE && model.durations[*vertex] > 0);
    nodes
        .map(|vertex| Window {
            head: heads[vertex],
            latest: path - tails[vertex],
            duration: model.durations[vertex],
            amount: amounts[model.demand_of[vertex] as usize],
        })
        .filter(|window| window.amount > 0)
        .collect()
}

/// By how much the work that must lie in an interval exceeds it, at most, and how many pairs of a begin and a node that took. Intervals
/// begin and end where a node may begin or end, at the earliest or at the latest.
fn overload(windows: Vec<Window>, capacity: u64, pairs: usize) -> (u64, usize) {
    let points = |window: &Window| [window.head, window.head + window.duration, window.latest, window.latest + window.duration];
    let mut points: Vec<u64> = windows.iter().flat_map(points).collect();
    points.sort_unstable();
    points.dedup();
    let step = points.len().div_ceil((pairs / windows.len().max(1)).max(1)).max(1);
    let mut sums = vec![(0_i128, 0_i128); points.len()];
    let most = points.iter().step_by(step).map(|begin| overload_from(*begin, &windows, &points, &mut sums, capacity)).max();
    (most.unwrap_or(0), points.len().div_ceil(step) * windows.len())
}

/// The same for intervals that begin at `begin` and end at one of `ends`. From `from` on, the part of a node that must lie in the interval
/// grows as the interval does, until all that can be forced is in it: a sum of straight lines, kept as their slopes and offsets.
fn overload_from(begin: u64, windows: &[Window], ends: &[u64], sums: &mut [(i128, i128)], capacity: u64) -> u64 {
    sums.fill((0, 0));
    let mut change = |at: u64, slope: i128| {
        let first = ends.partition_point(|end| *end < at);
        if let Some((slopes, offsets)) = sums.get_mut(first) {
            *slopes += slope;
            *offsets -= slope * i128::from(at);
        }
    };
    for window in windows {
        let forced = (window.head + window.duration).saturating_sub(begin).min(window.duration);
        if forced > 0 {
            let from = window.latest.max(begin);
            change(from, i128::from(window.amount));
            change(from + forced, -i128::from(window.amount));
        }
    }
    let (mut slope, mut offset, mut most) = (0_i128, 0_i128, 0_i128);
    for (end, (slopes, offsets)) in ends.iter().zip(sums.iter()) {
        slope += slopes;
        offset += offsets;
        if *end > begin {
            let work = slope * i128::from(*end) + offset;
            let capacity = i128::from(capacity);
            // Schedules begin and end at whole milliseconds.
            most = most.max((work + capacity - 1).div_euclid(capacity) - i128::from(*end - begin));
        }
    }
    u64::try_from(most).unwrap_or(0)
}
