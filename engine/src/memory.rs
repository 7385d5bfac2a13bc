//! Memory of running statements: one pool for all of them, of which a share is set aside for each, and a bounded place
//! on disk where they spill.
//!
//! Half of the pool is shared out in advance, evenly among as many statements as may run at once. The other half goes to
//! whoever asks first. So one alone gets more than half, and one that comes late finds its share.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, FILTER_FAILED};

/// What DataFusion says, as an error of input and output, when the spilled files take all they may.
const DISK_EXHAUSTED: &str = "exceeded the allowable limit";

/// How DataFusion names the operators that merge what a sort spilled; nothing else tells them from others.
const MERGES: &str = "ExternalSorterMerge";

/// Less than this part of a statement's memory is next to nothing.
const LITTLE: usize = 64;

/// The memory of all statements. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Whole>);

#[derive(Debug)]
struct Whole {
    limit: usize,
    /// Bytes set aside for each statement.
    share: usize,
    /// Bytes for whoever asks first, and how many are taken.
    common: usize,
    taken: AtomicUsize,
    reserved: AtomicUsize,
}

impl Memory {
    /// `limit` bytes for at most `statements` that run at once.
    pub fn new(limit: usize, statements: usize) -> Self {
        let statements = statements.max(1);
        let share = limit / 2 / statements;
        Self(Arc::new(Whole {
            limit,
            share,
            common: limit - share * statements,
            taken: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
        }))
    }

    /// The same bytes for as many statements at once; those that run go on with what they had.
    pub(crate) fn shared_among(&self, statements: usize) -> Self {
        Self::new(self.0.limit, statements)
    }

    /// Bytes that a statement has however many run.
    pub(crate) fn least(&self) -> usize {
        self.0.share
    }

    /// The memory of one more statement.
    pub fn share(&self) -> StatementMemory {
        StatementMemory(Arc::new(Share {
            whole: self.0.clone(),
            used: Mutex::default(),
        }))
    }

    /// Bytes that all statements together hold.
    pub fn reserved(&self) -> usize {
        self.0.reserved.load(Ordering::Relaxed)
    }
}

/// The memory of one statement. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StatementMemory(Arc<Share>);

impl StatementMemory {
    /// Bytes that the statement holds.
    pub fn reserved(&self) -> usize {
        self.0.used.lock().total()
    }

    /// The same environment, in which the statement's operators take their memory from here.
    pub(crate) fn environment(&self, shared: &RuntimeEnv) -> DataFusionResult<Arc<RuntimeEnv>> {
        RuntimeEnvBuilder::from_runtime_env(shared)
            .with_memory_pool(self.0.clone())
            .build_arc()
    }
}

/// Says in our words that memory or the disk for spilling ran out, where it did.
pub(crate) fn exhausted(error: &DataFusionError) -> Option<Error> {
    if let DataFusionError::ResourcesExhausted(_) = error.find_root() {
        return Some(no_memory());
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let said = error.to_string();
        let in_a_reader = said.contains(FILTER_FAILED) && said.contains("ResourcesExhausted(");
        if in_a_reader {
            return Some(no_memory());
        }
        let full = error.downcast_ref::<io::Error>().is_some_and(is_full);
        if full || said.contains(DISK_EXHAUSTED) {
            let message = "the statement spills more to the disk than there is room for";
            return Some(
                Error::new(ErrorKind::ResourceExhausted, message).hint(
                    "Ask for fewer rows, columns or groups, or raise read.spill_limit_bytes.",
                ),
            );
        }
        cause = error.source();
    }
    None
}

/// Whether a file of a running statement finds no room: what it spills takes all it may, or its disk is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) || error.to_string().contains(DISK_EXHAUSTED)
}

fn no_memory() -> Error {
    let message = "the statement needs more memory than there is for it";
    Error::new(ErrorKind::ResourceExhausted, message).hint(
        "Ask for fewer rows, columns or groups, try again when fewer statements run, or raise read.memory_limit_bytes.",
    )
}

#[derive(Debug)]
struct Share {
    whole: Arc<Whole>,
    used: Mutex<Used>,
}

/// The operators of a statement, by their numbers.
#[derive(Debug, Default)]
struct Used(BTreeMap<usize, Operator>);

#[derive(Debug)]
struct Operator {
    kind: Kind,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Writes what it holds to the disk when it gets no more.
    Spills,
    /// Reads that again: as many files at once as it gets memory for, two at least.
    Merges,
    /// Fails when it gets no more.
    Holds,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        if consumer.can_spill() {
            Self::Spills
        } else if consumer.name().starts_with(MERGES) {
            Self::Merges
        } else {
            Self::Holds
        }
    }
}

impl Used {
    fn total(&self) -> usize {
        self.0.values().map(|operator| operator.bytes).sum()
    }

    fn of(&mut self, consumer: &MemoryConsumer) -> &mut Operator {
        self.0.entry(consumer.id()).or_insert_with(|| Operator {
            kind: Kind::of(consumer),
            bytes: 0,
        })
    }

    /// What an operator may hold of `most` bytes that there are for the statement.
    ///
    /// Those that spill have equal parts of half of what the others leave, and of a quarter whatever they took: nothing
    /// can be spilled that was never held. One that holds next to nothing, as those between partitions do, takes no part
    /// from the others. Three quarters are for what merges, in equal parts, since the first would take all and who reads
    /// it find nothing; a sort holds half of such a part, for it merges that before it spills it.
    fn part(&mut self, consumer: &MemoryConsumer, most: usize) -> usize {
        let kind = self.of(consumer).kind;
        let quarter = most / 4;
        let merges = self.0.values().filter(|other| other.kind == Kind::Merges);
        let merged = (most - quarter) / merges.count().max(1);
        match kind {
            Kind::Spills => {
                let others = self.0.iter().filter(|(id, other)| {
                    other.kind == kind && **id != consumer.id() && other.bytes > most / LITTLE
                });
                let kept = self.0.values().filter(|other| other.kind != kind);
                let left = most.saturating_sub(kept.map(|other| other.bytes).sum());
                let part = (left / 2).max(quarter) / (others.count() + 1);
                part.min(merged / 2)
            }
            Kind::Merges => merged,
            Kind::Holds => most,
        }
    }
}

impl Whole {
    /// What a statement that holds `before` bytes has of the common half.
    fn common_of(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.share)
    }

    /// Bytes that a statement with `used` may hold in all at this moment.
    fn most(&self, used: usize) -> usize {
        let free = self
            .common
            .saturating_sub(self.taken.load(Ordering::Relaxed));
        used.max(self.share) + free
    }

    /// Takes what a statement needs beyond its share to grow from `before` bytes; nothing where that is not there.
    fn take(&self, before: usize, additional: usize) -> bool {
        let needed = self.common_of(before + additional) - self.common_of(before);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                let after = taken.checked_add(needed)?;
                (needed == 0 || after <= self.common).then_some(after)
            });
        if taken.is_ok() {
            self.reserved.fetch_add(additional, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn give_back(&self, before: usize, bytes: usize) {
        let common = self.common_of(before) - self.common_of(before - bytes);
        self.taken.fetch_sub(common, Ordering::Relaxed);
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.used.lock().of(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.used.lock().0.remove(&consumer.id());
    }

    /// For what an operator holds already and only tells.
    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut used = self.used.lock();
        let before = used.total();
        let common = self.whole.common_of(before + additional) - self.whole.common_of(before);
        self.whole.taken.fetch_add(common, Ordering::Relaxed);
        self.whole.reserved.fetch_add(additional, Ordering::Relaxed);
        used.of(reservation.consumer()).bytes += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut used = self.used.lock();
        self.whole.give_back(used.total(), shrink);
        used.of(reservation.consumer()).bytes -= shrink;
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        let mut used = self.used.lock();
        let consumer = reservation.consumer();
        let before = used.total();
        let most = self.whole.most(before);
        let is_within = used.of(consumer).bytes + additional <= used.part(consumer, most);
        if !is_within || !self.whole.take(before, additional) {
            return Err(refused(reservation, additional));
        }
        used.of(consumer).bytes += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used.lock().total()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.whole.share + self.whole.common)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement({} bytes)", self.used.lock().total())
    }
}

/// Operators that can spill do so at this error, so it has to be of this kind.
fn refused(reservation: &MemoryReservation, additional: usize) -> DataFusionError {
    let consumer = reservation.consumer().name();
    DataFusionError::ResourcesExhausted(format!(
        "no memory for {additional} more bytes of {consumer}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(memory: &StatementMemory, can_spill: bool) -> MemoryReservation {
        let pool: Arc<dyn MemoryPool> = memory.0.clone();
        MemoryConsumer::new("operator")
            .with_can_spill(can_spill)
            .register(&pool)
    }

    #[test]
    fn one_statement_cannot_take_what_is_set_aside_for_another() {
        let memory = Memory::new(1000, 5);
        let (greedy, late) = (memory.share(), memory.share());
        let taking = reservation(&greedy, false);
        taking.try_grow(600).expect("its share and the common half");
        taking.try_grow(1).expect_err("the others' shares");
        let modest = reservation(&late, false);
        modest.try_grow(100).expect("its share");
        modest.try_grow(1).expect_err("nothing is left in common");
        assert_eq!((memory.reserved(), greedy.reserved()), (700, 600));
        taking.shrink(50);
        modest.try_grow(50).expect("what was given back");
        drop((taking, modest));
        assert_eq!((memory.reserved(), late.reserved()), (0, 0));
        assert_eq!(memory.0.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn operators_that_can_spill_have_equal_parts() {
        let memory = Memory::new(1000, 1);
        let statement = memory.share();
        let fixed = reservation(&statement, false);
        fixed.try_grow(400).expect("there");
        let (one, other) = (reservation(&statement, true), reservation(&statement, true));
        let between = reservation(&statement, true);
        between.try_grow(1).expect("next to nothing");
        one.try_grow(300).expect("half of the rest");
        one.try_grow(1).expect_err("more than half of it");
        other.try_grow(151).expect_err("the part of one");
        other.try_grow(150).expect("its part");
        drop((one, other));
        fixed.try_grow(349).expect("as it fails otherwise");
        let late = reservation(&statement, true);
        late.try_grow(250).expect("a quarter, whatever others took");
        late.try_grow(1).expect_err("there is no more");
    }

    #[test]
    fn what_merges_takes_no_more_than_its_part() {
        let memory = Memory::new(1000, 1);
        let statement = memory.share();
        let pool: Arc<dyn MemoryPool> = statement.0.clone();
        let merge = |partition: usize| {
            MemoryConsumer::new(format!("{MERGES}[{partition}]")).register(&pool)
        };
        let first = merge(0);
        first.try_grow(750).expect("alone");
        first.try_grow(1).expect_err("more than three quarters");
        first.shrink(375);
        let second = merge(1);
        first.try_grow(1).expect_err("the part of the second");
        let sort = reservation(&statement, true);
        sort.try_grow(187).expect("what it can merge");
        sort.try_grow(1).expect_err("half of what it may merge");
        drop(sort);
        second.try_grow(375).expect("its part");
        let reader = reservation(&statement, false);
        reader.try_grow(250).expect("the last quarter");
    }

    #[test]
    fn what_is_only_told_counts_too() {
        let memory = Memory::new(1000, 2);
        let statement = memory.share();
        let told = reservation(&statement, false);
        told.grow(2000);
        assert_eq!(memory.reserved(), 2000);
        reservation(&statement, true)
            .try_grow(1)
            .expect_err("more than all is taken");
        reservation(&memory.share(), false)
            .try_grow(250)
            .expect("the share of another is untouched");
        drop(told);
        assert_eq!(memory.reserved(), 0);
    }

    #[test]
    fn a_full_disk_and_full_memory_are_told_with_a_hint() {
        let disk =
            DataFusionError::IoError(io::Error::other(format!("x {DISK_EXHAUSTED} of 1 MB")));
        let memory = DataFusionError::ResourcesExhausted("x".to_owned());
        for error in [disk, memory] {
            let told = exhausted(&error).expect("told");
            assert_eq!(told.kind(), ErrorKind::ResourceExhausted);
            assert!(told.hint_text().is_some());
        }
        assert!(exhausted(&DataFusionError::Plan("x".to_owned())).is_none());
    }
}
