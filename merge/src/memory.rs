//! What merges may hold in memory.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// One query's share of the engine's memory: half for operators that spill, which divide it fairly; half kept from them for
/// what cannot spill (a merge of sorted runs needs about as much as the runs it holds). All queries together stay within
/// the engine's limit.
#[derive(Debug)]
pub struct QueryPool {
    spilling: FairSpillPool,
    resident: GreedyMemoryPool,
    bytes: usize,
    shared: Arc<dyn MemoryPool>,
}

impl QueryPool {
    /// A share of `bytes` of `shared`.
    pub fn new(bytes: usize, shared: Arc<dyn MemoryPool>) -> Self {
        let resident = bytes / 2;
        Self {
            spilling: FairSpillPool::new(bytes - resident),
            resident: GreedyMemoryPool::new(resident),
            bytes,
            shared,
        }
    }

    fn own(&self, consumer: &MemoryConsumer) -> &dyn MemoryPool {
        if consumer.can_spill() { &self.spilling } else { &self.resident }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "merge of at most {} bytes within {}", self.bytes, self.shared)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "merge"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own(consumer).register(consumer);
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own(consumer).unregister(consumer);
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own(reservation.consumer()).grow(reservation, additional);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own(reservation.consumer()).shrink(reservation, shrink);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let own = self.own(reservation.consumer());
        own.try_grow(reservation, additional)?;
        self.shared.try_grow(reservation, additional).inspect_err(|_| own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.spilling.reserved() + self.resident.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}
