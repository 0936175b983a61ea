//! New settings in the host's loop. What it cannot change while it runs was left as it is before they came here.

use std::sync::Arc;

use super::super::turn::Turn;
use crate::resources::Capacity;
use crate::settings::Settings;

impl Turn {
    /// Goes on with other settings. Attempts that run keep what they hold; what no longer fits waits.
    pub(in super::super) fn take_settings(&mut self, settings: &Arc<Settings>, capacity: Capacity) {
        self.world.set_capacity(capacity);
        self.timers.set_stuck_after(settings.unkillable_after);
        self.launcher.set_roots(super::super::catalog::script_roots(&self.workspace, settings));
        self.launcher.set_secrets(settings.secrets.clone());
        self.settings_of_machine_changed();
        self.watch.set_settings(settings.as_ref().clone());
        self.tidying.set_keep(settings.retention.into());
        self.queue_max = usize::try_from(settings.max_queued).unwrap_or(usize::MAX);
        self.refresh_disk();
    }
}
