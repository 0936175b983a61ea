//! What became of the settings between two readings, and what of it a host can take without a restart.

use super::{Settings, WatchSetting};

/// A key whose value is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingChange {
    /// The key, with the one above it: `host.max_concurrent`.
    pub key: &'static str,
    /// Whether it counts at once. The others count from the next start of a host on.
    pub live: bool,
}

impl Settings {
    /// In which keys `next` differs.
    #[must_use]
    pub fn difference(&self, next: &Self) -> Vec<SettingChange> {
        let (a, b) = (&self.capacity, &next.capacity);
        // A thread cannot end itself, and whoever asked for no watching has none that could notice the wish for one.
        let watch_live = self.watch != WatchSetting::Off && next.watch != WatchSetting::Off;
        let keys = [
            ("host.max_concurrent", self.max_concurrent != next.max_concurrent, true),
            ("host.max_queued", self.max_queued != next.max_queued, true),
            ("host.capacity.cpus", a.cpus != b.cpus, true),
            ("host.capacity.memory", a.memory != b.memory, true),
            // Drivers are asked for devices at the start.
            ("host.capacity.gpus", a.gpus != b.gpus, false),
            ("host.capacity (counted resources)", a.custom != b.custom, true),
            ("host.reserve.memory", self.reserve_memory != next.reserve_memory, true),
            ("host.reserve.vram", self.reserve_vram != next.reserve_vram, true),
            ("host.reserve.disk", self.reserve_disk != next.reserve_disk, true),
            // Runs lie there, and the lock is held here.
            ("host.runs_dir", self.runs_dir != next.runs_dir, false),
            ("host.shared_state", self.shared_state != next.shared_state, false),
            ("host.unkillable_after", self.unkillable_after != next.unkillable_after, true),
            ("host.watch", self.watch != next.watch, watch_live),
            ("roots", self.roots != next.roots, true),
            ("pipelines", self.pipelines != next.pipelines, true),
            ("defaults", self.defaults != next.defaults, true),
            ("retention", self.retention != next.retention, true),
            ("secrets", self.secrets != next.secrets, true),
        ];
        keys.into_iter().filter(|(_, differs, _)| *differs).map(|(key, _, live)| SettingChange { key, live }).collect()
    }

    /// `next`, but with what a running host cannot change as it is here.
    #[must_use]
    pub fn taking(&self, mut next: Self) -> Self {
        for change in self.difference(&next).into_iter().filter(|change| !change.live) {
            match change.key {
                "host.capacity.gpus" => next.capacity.gpus.clone_from(&self.capacity.gpus),
                "host.runs_dir" => next.runs_dir.clone_from(&self.runs_dir),
                "host.shared_state" => next.shared_state = self.shared_state,
                "host.watch" => next.watch = self.watch,
                _ => {}
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{GpuSetting, Retention};
    use crate::units::DurationMs;

    fn keys(changes: &[SettingChange]) -> Vec<(&'static str, bool)> {
        changes.iter().map(|change| (change.key, change.live)).collect()
    }

    #[test]
    fn what_is_safe_counts_at_once_and_the_rest_is_named() {
        let old = Settings::default();
        assert_eq!(old.difference(&old.clone()), []);
        let mut new = Settings {
            max_concurrent: 3,
            runs_dir: Some("/elsewhere".into()),
            shared_state: true,
            unkillable_after: DurationMs(5),
            retention: Retention::default(),
            roots: vec!["/tools".into()],
            ..Settings::default()
        };
        new.capacity.gpus = Some(vec![GpuSetting { uuid: "GPU-1".into(), name: None, vram: None }]);
        let expected = [
            ("host.max_concurrent", true),
            ("host.capacity.gpus", false),
            ("host.runs_dir", false),
            ("host.shared_state", false),
            ("host.unkillable_after", true),
            ("roots", true),
        ];
        assert_eq!(keys(&old.difference(&new)), expected);
        let taken = old.taking(new.clone());
        assert_eq!(keys(&old.difference(&taken)), expected.into_iter().filter(|(_, live)| *live).collect::<Vec<_>>());
        // Every key that is not taken is named as one.
        assert!(taken.difference(&new).iter().all(|change| !change.live));
    }

    #[test]
    fn watching_is_switched_on_and_off_at_the_start_only() {
        let with = |watch| Settings { watch, ..Settings::default() };
        let (auto, poll, off) = (with(WatchSetting::Auto), with(WatchSetting::Poll), with(WatchSetting::Off));
        assert_eq!(auto.taking(poll.clone()), poll);
        assert_eq!(auto.taking(off.clone()), auto);
        assert_eq!(off.taking(auto), off);
    }
}
