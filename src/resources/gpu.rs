//! GPUs: whole ones, shares, their memory; and which of them an attempt gets.
//!
//! Memory counts on each card by itself: two cards with 8 GiB free have no room for 10 GiB.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::lack::Unmet;
use super::live::Live;
use super::{Capacity, Held};
use crate::request::{GpuShare, Request, WHOLE_GPU};
use crate::units::{Amount, Bytes};

/// A GPU, or a part of one that the driver shows as a device of its own (MIG).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// As the driver tells it.
    pub uuid: String,
    /// For people.
    pub name: String,
    /// All of its memory.
    pub total: Bytes,
    /// What is kept for the person's own programs.
    pub reserve: Bytes,
}

impl Gpu {
    /// What may be handed out.
    #[must_use]
    pub fn usable(&self) -> Bytes {
        Bytes(self.total.0.saturating_sub(self.reserve.0))
    }
}

/// What running attempts hold of a GPU together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuHeld {
    /// Thousandths of it.
    pub share: Amount,
    /// Its memory.
    pub vram: Bytes,
    /// Attempts that have it for themselves; 0 or 1.
    pub whole: u32,
    /// Attempts that hold something of it.
    pub attempts: u32,
}

impl GpuHeld {
    pub(super) fn take(&mut self, device: &GpuShare) {
        self.share.0 = self.share.0.saturating_add(device.share.0);
        self.vram.0 = self.vram.0.saturating_add(device.vram.0);
        self.whole += u32::from(device.share.0 >= WHOLE_GPU);
        self.attempts += 1;
    }

    pub(super) fn give_back(&mut self, device: &GpuShare) {
        debug_assert!(self.attempts > 0, "a share is given back once");
        self.share.0 = self.share.0.saturating_sub(device.share.0);
        self.vram.0 = self.vram.0.saturating_sub(device.vram.0);
        self.whole = self.whole.saturating_sub(u32::from(device.share.0 >= WHOLE_GPU));
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// Thousandths that nobody holds.
    fn free_share(&self) -> Amount {
        if self.whole > 0 { Amount(0) } else { Amount(WHOLE_GPU.saturating_sub(self.share.0)) }
    }

    fn free_vram(&self, gpu: &Gpu) -> Bytes {
        if self.whole > 0 { Bytes(0) } else { Bytes(gpu.usable().0.saturating_sub(self.vram.0)) }
    }
}

/// What is asked of each GPU.
struct Ask {
    count: usize,
    share: Amount,
    vram: Bytes,
}

impl Ask {
    fn of(request: &Request) -> Self {
        let whole = request.gpus.0 / WHOLE_GPU;
        let count = usize::try_from(whole.max(1)).unwrap_or(usize::MAX);
        Self { count, share: Amount(request.gpus.0.min(WHOLE_GPU)), vram: request.vram }
    }

    fn is_whole(&self) -> bool {
        self.share.0 >= WHOLE_GPU
    }

    /// Whether a GPU of which others hold so much has room by what was asked for.
    fn fits_ledger(&self, gpu: &Gpu, held: &GpuHeld) -> bool {
        let alone = !self.is_whole() || held.attempts == 0;
        alone && held.whole == 0 && self.share <= held.free_share() && self.vram <= held.free_vram(gpu)
    }
}

/// The GPUs that a request gets: an idle one before one that is shared, since it computes faster; among equals the one that is filled
/// best, so that large requests find room; then the order of the capacity. Nothing for a request that asks for none.
///
/// # Errors
/// What it lacks.
pub fn place(request: &Request, capacity: &Capacity, held: &Held, live: &Live) -> Result<Vec<GpuShare>, Unmet> {
    place_near(request, capacity, held, live, &|_| false)
}

/// The same, where among equally idle GPUs one for which `near` holds comes first.
///
/// # Errors
/// What it lacks.
pub fn place_near(
    request: &Request,
    capacity: &Capacity,
    held: &Held,
    live: &Live,
    near: &dyn Fn(&str) -> bool,
) -> Result<Vec<GpuShare>, Unmet> {
    if !request.wants_gpu() {
        return Ok(Vec::new());
    }
    let ask = Ask::of(request);
    let there: Vec<(&Gpu, GpuHeld)> =
        capacity.gpus.iter().filter(|gpu| !live.is_lost(&gpu.uuid)).map(|gpu| (gpu, held.gpu(&gpu.uuid))).collect();
    let by_ledger: Vec<&(&Gpu, GpuHeld)> = there.iter().filter(|(gpu, held)| ask.fits_ledger(gpu, held)).collect();
    let room = |gpu: &Gpu, held: &GpuHeld| live.vram_room(&gpu.uuid, held.vram);
    let mut fitting: Vec<_> = by_ledger.iter().filter(|(gpu, held)| room(gpu, held).is_none_or(|room| ask.vram <= room.free)).collect();
    if fitting.len() >= ask.count {
        fitting.sort_by_key(|(gpu, held)| (held.attempts, !near(&gpu.uuid), held.free_vram(gpu)));
        let share = |gpu: &Gpu| GpuShare { gpu: gpu.uuid.clone(), share: ask.share, vram: ask.vram };
        return Ok(fitting.iter().take(ask.count).map(|(gpu, _)| share(gpu)).collect());
    }
    if by_ledger.len() >= ask.count {
        let rooms = by_ledger.iter().filter_map(|(gpu, held)| Some((gpu, room(gpu, held)?)));
        // Those that fit are not what is lacking.
        if let Some((gpu, room)) = rooms.filter(|(_, room)| room.free < ask.vram).max_by_key(|(_, room)| room.free) {
            let (need, gpu) = (ask.vram, gpu.name.clone());
            return Err(Unmet::VramInUse { need, gpu, free: room.free, growth: room.growth, others: room.others });
        }
    }
    let lost = u32::try_from(capacity.gpus.len() - there.len()).unwrap_or(u32::MAX);
    Err(lacking(request, &ask, &there, lost))
}

/// The most VRAM that a request could get on each GPU that it asks for, with everything given back.
#[must_use]
pub fn most_vram(request: &Request, capacity: &Capacity) -> Bytes {
    let mut usable: Vec<Bytes> = capacity.gpus.iter().map(Gpu::usable).collect();
    usable.sort_unstable_by_key(|size| Reverse(*size));
    usable.get(Ask::of(request).count - 1).copied().unwrap_or_default()
}

/// What is lacking by what others asked for, or for ever.
fn lacking(request: &Request, ask: &Ask, there: &[(&Gpu, GpuHeld)], lost: u32) -> Unmet {
    let large_enough = there.iter().filter(|(gpu, _)| ask.vram <= gpu.usable()).count();
    let enough_cards = there.len() >= ask.count;
    let share_is_free = there.iter().any(|(_, held)| held.free_share() >= ask.share);
    if ask.vram.0 > 0 && (request.gpus.0 == 0 || enough_cards && (large_enough < ask.count || share_is_free && !ask.is_whole())) {
        // Of whole cards as many must have it as are asked for.
        let most = |size: &dyn Fn(&Gpu, &GpuHeld) -> Bytes| {
            let mut sizes: Vec<Bytes> = there.iter().map(|(gpu, held)| size(gpu, held)).collect();
            sizes.sort_unstable_by_key(|size| Reverse(*size));
            sizes.get(ask.count - 1).copied().unwrap_or_default()
        };
        let (free, capacity) = (most(&|gpu, held| held.free_vram(gpu)), most(&|gpu, _| gpu.usable()));
        return Unmet::Vram { need: ask.vram, gpus: u32::try_from(ask.count).unwrap_or(u32::MAX), free, capacity, lost };
    }
    if ask.is_whole() {
        let idle = there.iter().filter(|(_, held)| held.attempts == 0).count() as u64;
        return Unmet::Gpus { need: request.gpus, free: Amount(idle * WHOLE_GPU), capacity: Amount(there.len() as u64 * WHOLE_GPU), lost };
    }
    let free = there.iter().map(|(_, held)| held.free_share()).max().unwrap_or_default();
    let capacity = if there.is_empty() { Amount(0) } else { Amount(WHOLE_GPU) };
    Unmet::Gpus { need: request.gpus, free, capacity, lost }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::resources::{GpuReading, Reading, Seen, never_fits, unmet};
    use crate::units::CpuMillis;

    const GIB: u64 = 1 << 30;

    /// Two cards: 24 GiB, and 12 GiB, 1 GiB of each reserved.
    fn capacity() -> Capacity {
        let gpu = |uuid: &str, gib: u64| Gpu { uuid: uuid.into(), name: uuid.into(), total: Bytes(gib * GIB), reserve: Bytes(GIB) };
        Capacity {
            cpus: CpuMillis(8000),
            memory: Bytes(GIB),
            gpus: vec![gpu("large", 24), gpu("small", 12)],
            custom: BTreeMap::new(),
            max_concurrent: 100,
        }
    }

    fn ask(gpus: u64, gib: u64) -> Request {
        Request { gpus: Amount(gpus), vram: Bytes(gib * GIB), ..Request::default() }
    }

    /// Takes what each of the requests gets, and tells where; then what the last lacks.
    fn play(requests: &[Request], live: &Live) -> (Vec<String>, Option<String>) {
        let (mut held, mut given) = (Held::default(), Vec::new());
        for request in requests {
            match place(request, &capacity(), &held, live) {
                Ok(devices) => {
                    given.push(devices.iter().map(|device| device.gpu.as_str()).collect::<Vec<_>>().join("+"));
                    held.take(&Request { devices, ..request.clone() });
                }
                Err(lack) => return (given, Some(lack.to_string())),
            }
        }
        (given, None)
    }

    fn used(large: u64, small: u64) -> Live {
        let reading =
            |total: u64, used: u64| GpuReading::Seen { used: Bytes(used * GIB), free: Bytes((total - used) * GIB), by_process: true };
        let gpus = BTreeMap::from([("large".to_owned(), reading(24, large)), ("small".to_owned(), reading(12, small))]);
        Live::new(Reading { memory: None, gpus }, Seen::default())
    }

    #[test]
    fn an_idle_card_comes_first_and_then_the_one_that_is_filled_best() {
        let (given, lack) = play(&[ask(0, 4), ask(0, 4), ask(0, 5), ask(0, 12), ask(0, 12)], &Live::default());
        assert_eq!(given, ["small", "large", "small", "large"]);
        assert_eq!(lack.as_deref(), Some("needs 12 GiB of VRAM on one GPU, 7 GiB of 23 GiB are free"));
    }

    #[test]
    fn a_whole_card_is_for_nobody_else() {
        let (given, lack) = play(&[ask(1000, 0), ask(1000, 12), ask(0, 1)], &Live::default());
        assert_eq!(given, ["small", "large"]);
        assert_eq!(lack.as_deref(), Some("needs 1 GiB of VRAM on one GPU, 0 B of 23 GiB are free"));
        let (_, lack) = play(&[ask(0, 1), ask(2000, 0)], &Live::default());
        assert_eq!(lack.as_deref(), Some("needs 2 GPUs, 1 of 2 are free"));
        assert_eq!(play(&[ask(2000, 10)], &Live::default()).0, ["small+large"]);
    }

    #[test]
    fn shares_of_a_card_add_up_to_it() {
        let (given, lack) = play(&[ask(600, 0), ask(600, 20), ask(400, 11), ask(400, 0), ask(1, 0)], &Live::default());
        assert_eq!(given, ["small", "large", "small", "large"]);
        assert_eq!(lack.as_deref(), Some("needs 0.001 of a GPU, 0 of 1 are free of one"));
    }

    #[test]
    fn f65_what_can_never_fit_says_its_number() {
        let lacks = |request: &Request| never_fits(request, &capacity()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lacks(&ask(0, 64)), ["needs 64 GiB of VRAM on one GPU, 23 GiB of 23 GiB are free"]);
        assert_eq!(lacks(&ask(3000, 0)), ["needs 3 GPUs, 2 of 2 are free"]);
        assert_eq!(lacks(&ask(2000, 20)), ["needs 20 GiB of VRAM on each of 2 GPUs, 11 GiB of 11 GiB are free"]);
        let none = Capacity { gpus: Vec::new(), ..capacity() };
        for (request, text) in [(ask(0, 1), "needs 1 GiB of VRAM, and there is no GPU"), (ask(1000, 0), "needs a GPU, and there is none")] {
            let lacks = never_fits(&request, &none);
            assert_eq!((lacks[0].to_string().as_str(), lacks[0].is_missing()), (text, true));
            assert!(lacks[0].help().is_some_and(|help| help.contains("host: {capacity: {gpus:")));
        }
    }

    #[test]
    fn f64_what_others_use_counts_and_the_reserve_covers_the_desktop() {
        // A desktop within the reserve takes nothing away.
        assert_eq!(play(&[ask(0, 23)], &used(1, 0)).0, ["large"]);
        let (_, lack) = play(&[ask(0, 14)], &used(15, 0));
        assert_eq!(lack.as_deref(), Some("needs 14 GiB of VRAM, 9 GiB are free on large: other programs use 15 GiB"));
        assert_eq!(play(&[ask(0, 9)], &used(15, 2)).0, ["small"]);
        assert_eq!(play(&[ask(1000, 0)], &used(24, 12)).0, ["small"], "a whole card that asks for no memory");
    }

    #[test]
    fn two_loads_in_the_gap_between_check_and_growth() {
        // Others use 3 GiB. The first has not begun to load: what is free would do for both, and must not.
        let (given, lack) = play(&[ask(0, 12), ask(0, 10)], &used(3, 12));
        assert_eq!(given, ["large"]);
        assert_eq!(
            lack.as_deref(),
            Some("needs 10 GiB of VRAM, 9 GiB are free on large: other programs use 3 GiB, running nodes may still take 12 GiB")
        );
        // Loaded, it is no longer counted twice.
        let mut live = used(15, 12);
        live.set_seen(Seen { memory: Bytes(0), vram: BTreeMap::from([("large".to_owned(), Bytes(12 * GIB))]) });
        assert_eq!(live.vram_room("large", Bytes(12 * GIB)).map(|room| (room.free, room.others)), Some((Bytes(9 * GIB), Bytes(3 * GIB))));
    }

    #[test]
    fn f62_a_lost_card_is_missing_and_not_a_mistake() {
        let mut reading = used(0, 0).reading().clone();
        reading.gpus.insert("large".to_owned(), GpuReading::Lost);
        let live = Live::new(reading, Seen::default());
        let lacks = unmet(&ask(0, 20), &capacity(), &Held::default(), &live);
        assert!(lacks[0].is_missing());
        assert_eq!(lacks[0].to_string(), "needs 20 GiB of VRAM on one GPU, 11 GiB of 11 GiB are free (a GPU does not answer)");
        assert_eq!(play(&[ask(0, 11)], &live).0, ["small"]);
        assert!(never_fits(&ask(0, 20), &capacity()).is_empty(), "it is still accepted");
    }

    #[test]
    fn shares_given_back_leave_nothing() {
        let mut held = Held::default();
        let devices = place(&ask(2000, 3), &capacity(), &held, &Live::default()).expect("room");
        let grant = Request { devices, ..ask(2000, 3) };
        held.take(&grant);
        assert_eq!(held.gpus.len(), 2);
        held.give_back(&grant);
        assert_eq!(held, Held::default());
    }
}
