//! `host.capacity.gpus`: which GPUs may be handed out, and those that nothing can detect.

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::tree::{Kind, NodeRef};
use crate::units::Bytes;

/// Keys of an entry.
pub const GPU_KEYS: [&str; 3] = ["uuid", "vram", "name"];

/// Longest UUID: a module gets it in its environment.
const UUID_MAX: usize = 128;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSetting {
    /// As the driver tells it.
    pub uuid: String,
    /// For people; none: what the driver says.
    pub name: Option<String>,
    /// Its memory; none: what the driver says.
    pub vram: Option<Bytes>,
}

/// Reads the list.
pub(super) fn read(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<GpuSetting>> {
    if node.kind() != Kind::List {
        let refusal = Diagnostic::error("`gpus` must be a list such as `[{uuid: GPU-..., vram: 24GiB}]`, or `auto`").at(node.place());
        diagnostics.push(refusal.with_help("`prismq resources` shows the UUIDs of those that are detected; `[]` hands out none"));
        return None;
    }
    let mut gpus: Vec<GpuSetting> = Vec::new();
    for item in node.items() {
        let Some(fields) = Fields::open(item, "a GPU", &GPU_KEYS, &[], diagnostics) else { continue };
        if !fields.has("uuid") {
            diagnostics.push(Diagnostic::error("a GPU needs its `uuid`").at(item.place()).with_help("`nvidia-smi -L` shows it"));
        }
        let vram = fields.bytes("vram", diagnostics);
        let name = fields.filled_text("name", diagnostics).map(str::to_owned);
        let Some(uuid) = fields.filled_text("uuid", diagnostics) else { continue };
        let refusal = if uuid.len() > UUID_MAX || uuid.contains(|c: char| !c.is_ascii_graphic() || c == ',') {
            "a UUID has neither spaces nor commas"
        } else if gpus.iter().any(|other| other.uuid == uuid) {
            "this GPU stands in the list already"
        } else if vram == Some(Bytes(0)) {
            "a GPU has some memory"
        } else {
            gpus.push(GpuSetting { uuid: uuid.to_owned(), name, vram });
            continue;
        };
        diagnostics.push(Diagnostic::error(refusal).at(item.place()));
    }
    Some(gpus)
}
