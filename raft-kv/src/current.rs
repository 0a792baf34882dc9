//! The database that holds the state at present. A copy may replace the database while others read it.

use std::sync::{Arc, PoisonError, RwLock};

use redb::Database;

/// A handle to the present database, which the machine and its readers share.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    database: Arc<RwLock<Arc<Database>>>,
}

impl Current {
    pub(crate) fn new(database: Database) -> Self {
        Self { database: Arc::new(RwLock::new(Arc::new(database))) }
    }

    /// Replaces the database. Reads that have begun go on with the old database, which is closed after the last of them.
    pub(crate) fn replace(&self, database: Database) {
        let database = Arc::new(database);
        let old = {
            let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, database)
        };
        drop(old);
    }

    /// The present database. The caller must hold it for as long as a transaction of it lives: redb closes a database when
    /// its last holder is gone, and reads of a closed database fail.
    pub(crate) fn get(&self) -> Arc<Database> {
        // Nothing panics while it holds the lock.
        Arc::clone(&self.database.read().unwrap_or_else(PoisonError::into_inner))
    }
}
