//! What merges may hold in memory.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// One query's share: its operators divide it fairly and spill when they reach their part; all queries together stay
/// within the engine's limit.
#[derive(Debug)]
pub struct QueryPool {
    own: FairSpillPool,
    own_bytes: usize,
    shared: Arc<dyn MemoryPool>,
}

impl QueryPool {
    pub fn new(own_bytes: usize, shared: Arc<dyn MemoryPool>) -> Self {
        Self { own: FairSpillPool::new(own_bytes), own_bytes, shared }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "merge of at most {} bytes within {}", self.own_bytes, self.shared)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "merge"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        self.shared.try_grow(reservation, additional).inspect_err(|_| self.own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.own_bytes)
    }
}
