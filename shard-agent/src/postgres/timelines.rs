//! Which number a promotion gives its timeline.
//!
//! PostgreSQL takes the next one of which it has no history file. Two nodes that are promoted one after the other, the second without
//! having heard of the first, would take the same: nothing would then tell their logs apart, and the first would follow
//! the second from within a different past. So a promotion can be told the least number to take: empty history files
//! occupy those below. They stay, for replicas ask a primary for every history file between their timeline and its own; those
//! that a copied node has never had are made up for the same reason (each genuine file has all of its own past in it).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::PostgresError;
use super::data_dir::file;

/// A gap above this is not made by leaderships.
const GAP_MAX: u32 = 100_000;

/// Occupies the timelines above `current` and below `min`, and those of which there is no file below.
pub(super) fn occupy(data_dir: &Path, current: u32, min: u32) -> Result<(), PostgresError> {
    let folder = data_dir.join("pg_wal");
    if min.saturating_sub(current) > GAP_MAX {
        return Err(PostgresError::Timeline { timeline: current, timeline_min: min });
    }
    for timeline in 2..min.max(current + 1) {
        let path = history_file(&folder, timeline);
        if !path.exists() {
            File::create_new(&path).map_err(|source| file("create", &path, source))?;
        }
    }
    sync(&folder)
}

/// Gives back what a promotion occupied that did not come about: PostgreSQL would want to go there.
pub(super) fn release(data_dir: &Path) -> Result<(), PostgresError> {
    let folder = data_dir.join("pg_wal");
    let entries = fs::read_dir(&folder).map_err(|source| file("read", &folder, source))?;
    let histories: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let digits = name.to_str()?.strip_suffix(".history").filter(|digits| digits.len() == 8)?;
            Some((u32::from_str_radix(digits, 16).ok()?, entry.path()))
        })
        .collect();
    let is_empty = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.len() == 0);
    let newest = histories.iter().filter(|(_, path)| !is_empty(path)).map(|(timeline, _)| *timeline).max();
    for (_, path) in histories.iter().filter(|(timeline, path)| Some(*timeline) > newest && is_empty(path)) {
        fs::remove_file(path).map_err(|source| file("remove", path, source))?;
    }
    Ok(())
}

fn history_file(folder: &Path, timeline: u32) -> PathBuf {
    folder.join(format!("{timeline:08X}.history"))
}

fn sync(folder: &Path) -> Result<(), PostgresError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| file("sync", folder, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_occupied_is_released_unless_a_timeline_lies_above() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("pg_wal");
        fs::create_dir(&folder).unwrap();
        let there = |timeline| history_file(&folder, timeline).exists();
        fs::write(history_file(&folder, 2), "1\t0/3000060\tno recovery target specified\n").unwrap();
        occupy(data.path(), 2, 12).unwrap();
        assert!((3..12).all(there) && !there(12));
        release(data.path()).unwrap();
        assert!(there(2) && !(3..12).any(there));

        occupy(data.path(), 2, 5).unwrap();
        fs::write(history_file(&folder, 5), "2\t0/4000060\tno recovery target specified\n").unwrap();
        release(data.path()).unwrap();
        assert!((2..=5).all(there));
        assert!(occupy(data.path(), 5, u32::MAX).is_err());
        fs::remove_file(history_file(&folder, 2)).unwrap();
        occupy(data.path(), 5, 0).unwrap();
        assert!((2..=5).all(there) && !there(6));
    }
}
