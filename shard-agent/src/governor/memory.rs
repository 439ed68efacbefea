//! What a node must remember whatever dies: one small file beside the data directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// This node is the only member of its group, and serves under this epoch: it needs no lease. Forgotten before anybody else is
    /// let in.
    pub alone: Option<u64>,
    /// The data have been a primary's since they were made or copied.
    pub led: Option<Led>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Led {
    pub epoch: u64,
    pub timeline: u32,
}

/// The file, and what it says.
pub struct Memory {
    path: PathBuf,
    remembered: Remembered,
}

impl Memory {
    /// `data.group.json` beside a data directory `data`; nothing is remembered while there is no file.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(data_dir: &Path) -> io::Result<Self> {
        let mut path = data_dir.as_os_str().to_owned();
        path.push(".group.json");
        let path = PathBuf::from(path);
        let remembered = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Remembered::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, remembered })
    }

    pub fn get(&self) -> &Remembered {
        &self.remembered
    }

    /// Changes what is remembered; it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; then nothing has changed.
    pub fn change(&mut self, change: impl FnOnce(&mut Remembered)) -> io::Result<()> {
        let mut next = self.remembered.clone();
        change(&mut next);
        if next == self.remembered {
            return Ok(());
        }
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(&next)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.remembered = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let mut memory = Memory::load(&data_dir).unwrap();
        assert_eq!(memory.get(), &Remembered::default());
        memory.change(|remembered| remembered.led = Some(Led { epoch: 7, timeline: 3 })).unwrap();
        assert_eq!(Memory::load(&data_dir).unwrap().get().led, Some(Led { epoch: 7, timeline: 3 }));
        fs::write(folder.path().join("data.group.json"), "{").unwrap();
        assert!(Memory::load(&data_dir).is_err());
    }
}
