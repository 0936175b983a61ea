//! What a request lacks, as data and in words.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::ResourceName;
use crate::request::WHOLE_GPU;
use crate::units::{Amount, Bytes, CpuMillis};

/// One thing that a request lacks now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "resource")]
pub enum Unmet {
    /// All places for attempts are taken.
    Slots {
        /// How many there are.
        limit: u32,
    },
    /// Processors.
    Cpus {
        /// Asked for.
        need: CpuMillis,
        /// Not held now.
        free: CpuMillis,
        /// Held and free together.
        capacity: CpuMillis,
    },
    /// Memory.
    Memory {
        /// Asked for.
        need: Bytes,
        /// Not held now.
        free: Bytes,
        /// Held and free together.
        capacity: Bytes,
    },
    /// Memory that nobody holds, and that other programs use or running nodes may still take.
    MemoryInUse {
        /// Asked for.
        need: Bytes,
        /// Free for a new attempt.
        free: Bytes,
        /// What running nodes may still take of what they asked for.
        growth: Bytes,
        /// What programs use that are not of this host.
        others: Bytes,
    },
    /// GPUs, whole or a share of one.
    Gpus {
        /// Asked for, in thousandths.
        need: Amount,
        /// Whole ones that are free; for a share, the largest that is free of one.
        free: Amount,
        /// What it could have at most with everything given back.
        capacity: Amount,
        /// GPUs that were there and do not answer.
        lost: u32,
    },
    /// Memory of a GPU.
    Vram {
        /// Asked for on each GPU.
        need: Bytes,
        /// How many must have it.
        gpus: u32,
        /// The most that is not held on one, or on as many.
        free: Bytes,
        /// The most that one has, or as many, its reserve taken off.
        capacity: Bytes,
        /// GPUs that were there and do not answer.
        lost: u32,
    },
    /// Memory of a GPU that nobody holds, and that other programs use or running nodes may still take.
    VramInUse {
        /// Asked for on one GPU.
        need: Bytes,
        /// The GPU with the most room.
        gpu: String,
        /// Free on it for a new attempt.
        free: Bytes,
        /// What running nodes may still take of what they asked for.
        growth: Bytes,
        /// What programs use that are not of this host.
        others: Bytes,
    },
    /// A counted resource.
    Custom {
        /// Its name.
        #[schemars(with = "String")]
        name: ResourceName,
        /// Asked for.
        need: Amount,
        /// Not held now.
        free: Amount,
        /// Held and free together; 0 where the settings no longer define it.
        capacity: Amount,
    },
    /// What is free was not looked at since the machine was idle; a look takes milliseconds.
    Reading,
}

impl Unmet {
    /// Whether it stays unmet even when everything is given back (the capacity shrank after the submission, or a GPU is gone).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Slots { limit } => *limit == 0,
            Self::Cpus { need, capacity, .. } => need > capacity,
            Self::Memory { need, capacity, .. } => need > capacity,
            Self::Gpus { need, capacity, .. } => need > capacity,
            Self::Vram { need, capacity, .. } => need > capacity,
            Self::Custom { need, capacity, .. } => need > capacity,
            Self::MemoryInUse { .. } | Self::VramInUse { .. } | Self::Reading => false,
        }
    }

    /// What a person can do about one that is [missing](Self::is_missing).
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Gpus { capacity: Amount(0), .. } | Self::Vram { capacity: Bytes(0), .. } => {
                "no GPU was found; `prismq doctor` says why. One that cannot be found is named in prismq.yaml: `host: {capacity: {gpus: [{uuid: GPU-..., vram: 24GiB}]}}`"
            }
            Self::Vram { .. } => "one GPU must have it, less what `host.reserve.vram` of prismq.yaml keeps for the desktop",
            Self::Memory { .. } => "`host.capacity.memory` and `host.reserve.memory` of prismq.yaml say how much may be handed out",
            Self::Cpus { .. } | Self::Gpus { .. } | Self::Custom { .. } | Self::Slots { .. } => {
                "`host.capacity` of prismq.yaml says how much may be handed out"
            }
            Self::MemoryInUse { .. } | Self::VramInUse { .. } | Self::Reading => return None,
        };
        Some(text.to_owned())
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots { limit } => write!(f, "all {limit} places for running nodes are taken"),
            Self::Cpus { need, free, capacity } => write!(f, "needs {need} CPUs, {free} of {capacity} are free"),
            Self::Memory { need, free, capacity } => write!(f, "needs {need} of memory, {free} of {capacity} are free"),
            Self::MemoryInUse { need, free, growth, others } => {
                write!(f, "needs {need} of memory, {free} are free: ")?;
                in_use(f, *others, *growth)
            }
            Self::Gpus { need, capacity: Amount(0), lost, .. } => {
                write!(f, "needs {}, and there is none", gpus(*need))?;
                gone(f, *lost)
            }
            Self::Gpus { need, free, capacity, lost } => {
                let one = if need.0 < WHOLE_GPU { " of one" } else { "" };
                write!(f, "needs {}, {free} of {capacity} are free{one}", gpus(*need))?;
                gone(f, *lost)
            }
            Self::Vram { need, capacity: Bytes(0), lost, .. } => {
                write!(f, "needs {need} of VRAM, and there is no GPU")?;
                gone(f, *lost)
            }
            Self::Vram { need, gpus, free, capacity, lost } => {
                let on = if *gpus == 1 { "on one GPU".to_owned() } else { format!("on each of {gpus} GPUs") };
                write!(f, "needs {need} of VRAM {on}, {free} of {capacity} are free")?;
                gone(f, *lost)
            }
            Self::VramInUse { need, gpu, free, growth, others } => {
                write!(f, "needs {need} of VRAM, {free} are free on {gpu}: ")?;
                in_use(f, *others, *growth)
            }
            Self::Custom { name, need, free, capacity } => write!(f, "needs {need} of {name}, {free} of {capacity} are free"),
            Self::Reading => write!(f, "the machine is being looked at"),
        }
    }
}

fn gpus(need: Amount) -> String {
    match need.0 {
        WHOLE_GPU => "a GPU".to_owned(),
        0..WHOLE_GPU => format!("{need} of a GPU"),
        _ => format!("{need} GPUs"),
    }
}

fn in_use(f: &mut fmt::Formatter<'_>, others: Bytes, growth: Bytes) -> fmt::Result {
    write!(f, "other programs use {others}")?;
    if growth.0 > 0 { write!(f, ", running nodes may still take {growth}") } else { Ok(()) }
}

fn gone(f: &mut fmt::Formatter<'_>, lost: u32) -> fmt::Result {
    match lost {
        0 => Ok(()),
        1 => write!(f, " (a GPU does not answer)"),
        lost => write!(f, " ({lost} GPUs do not answer)"),
    }
}
