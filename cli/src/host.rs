//! What this machine offers: PostgreSQL's programs, our own sibling programs, users, folders and free ports.

use std::fs::{OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User};
use rand::Rng;

/// Oldest PostgreSQL that shards run on.
const POSTGRES_MAJOR_MIN: u32 = 15;
/// Below Linux's ephemeral range, so that a recorded port is not lent to an outgoing connection while we are down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The OS user that is to own a cluster's files.
#[derive(Clone, Debug)]
pub struct Owner {
    pub uid: Uid,
    pub gid: Gid,
    /// Primary and supplementary groups.
    pub groups: Vec<Gid>,
    /// `postgres` when we are root and have to give up privileges; empty otherwise.
    pub run_as: String,
}

impl Owner {
    /// `postgres` when we are root, else ourselves.
    ///
    /// # Errors
    /// When we are root and there is no user `postgres`.
    pub fn of_cluster() -> anyhow::Result<Self> {
        let euid = Uid::effective();
        if !euid.is_root() {
            let groups = nix::unistd::getgroups().context("reading our groups")?;
            return Ok(Self { uid: euid, gid: Gid::effective(), groups, run_as: String::new() });
        }
        let name = "postgres";
        let Some(user) = User::from_name(name).context("looking up the user postgres")? else {
            bail!("PostgreSQL does not run as root, and there is no user `{name}` to run it (install postgresql)");
        };
        let groups = nix::unistd::getgrouplist(c"postgres", user.gid).context("reading the groups of postgres")?;
        Ok(Self { uid: user.uid, gid: user.gid, groups, run_as: name.to_owned() })
    }

    fn can_enter(&self, metadata: &std::fs::Metadata) -> bool {
        let mode = metadata.mode();
        if metadata.uid() == self.uid.as_raw() {
            mode & 0o100 != 0
        } else if metadata.gid() == self.gid.as_raw() || self.groups.iter().any(|g| g.as_raw() == metadata.gid()) {
            mode & 0o010 != 0
        } else {
            mode & 0o001 != 0
        }
    }

    /// # Errors
    /// Names the first existing folder on the way to `dir` (`dir` itself excluded) that the owner cannot enter.
    pub fn check_can_reach(&self, dir: &Path) -> anyhow::Result<()> {
        let mut parents: Vec<_> = dir.ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents.into_iter().filter(|parent| parent.exists()) {
            let metadata = parent.metadata().with_context(|| format!("folder {}", parent.display()))?;
            if !self.can_enter(&metadata) {
                bail!(
                    "the user that runs PostgreSQL ({}) cannot enter {} (mode {:o}), which {} lies under; \
                     choose another --dir",
                    self.name(),
                    parent.display(),
                    metadata.mode() & 0o7777,
                    dir.display()
                );
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        if self.run_as.is_empty() { format!("uid {}", self.uid) } else { self.run_as.clone() }
    }

    /// Gives a file or folder to the owner.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn own(&self, path: &Path) -> anyhow::Result<()> {
        if self.run_as.is_empty() {
            return Ok(());
        }
        lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .with_context(|| format!("giving {} to {}", path.display(), self.run_as))
    }

    /// Creates a folder with this mode unless it exists, and gives it to the owner.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make_dir(&self, path: &Path, mode: u32) -> anyhow::Result<()> {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => return self.own(path),
            Err(error) => return Err(error).with_context(|| format!("creating {}", path.display())),
        }
        std::fs::set_permissions(path, Permissions::from_mode(mode))
            .with_context(|| format!("setting the mode of {}", path.display()))?;
        self.own(path)
    }

    /// Replaces a file whole: a reader sees the old or the new text, never a part.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write_file(&self, path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
        let draft = path.with_added_extension("new");
        let write = || -> anyhow::Result<()> {
            let _ = std::fs::remove_file(&draft);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            self.own(&draft)?;
            std::fs::rename(&draft, path)?;
            Ok(())
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// Opens a log to append to, without following a link that someone put there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open_log(&self, path: &Path) -> anyhow::Result<std::fs::File> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)
            .with_context(|| format!("opening {}", path.display()))?;
        self.own(path)?;
        Ok(file)
    }
}

/// Creates `dir`'s missing parents so that everybody can enter them, whatever the umask.
///
/// # Errors
/// When the system refuses.
pub fn make_parents(dir: &Path) -> anyhow::Result<()> {
    let mut missing: Vec<_> = dir.ancestors().skip(1).take_while(|parent| !parent.exists()).collect();
    missing.reverse();
    for parent in missing {
        std::fs::create_dir(parent).with_context(|| format!("creating {}", parent.display()))?;
        std::fs::set_permissions(parent, Permissions::from_mode(0o755))
            .with_context(|| format!("setting the mode of {}", parent.display()))?;
    }
    Ok(())
}

/// The folder with PostgreSQL's server programs: the given one, `pg_config`'s, or Debian's newest.
///
/// # Errors
/// When none is found, or it is older than 15.
pub fn find_postgres(wanted: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = wanted {
        check_postgres(dir).with_context(|| format!("--pg-bindir {}", dir.display()))?;
        return Ok(std::path::absolute(dir)?);
    }
    if let Some(dir) = pg_config_bindir().filter(|dir| check_postgres(dir).is_ok()) {
        return Ok(dir);
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let major = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let dir = entry.path().join("bin");
        if let Some(major) = major
            && check_postgres(&dir).is_ok()
        {
            found.push((major, dir));
        }
    }
    found.sort();
    found.pop().map(|(_, dir)| dir).with_context(|| {
        format!(
            "no PostgreSQL {POSTGRES_MAJOR_MIN} or newer found (neither through pg_config nor in \
             /usr/lib/postgresql); install it or name its programs' folder with --pg-bindir"
        )
    })
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

fn check_postgres(dir: &Path) -> anyhow::Result<()> {
    for program in ["initdb", "postgres"] {
        if !dir.join(program).is_file() {
            bail!("there is no `{program}` in it");
        }
    }
    let output = Command::new(dir.join("postgres")).arg("--version").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match major_version(&text) {
        Some(major) if major >= POSTGRES_MAJOR_MIN => Ok(()),
        _ => bail!("PostgreSQL {POSTGRES_MAJOR_MIN} or newer is needed, this is `{}`", text.trim()),
    }
}

/// The number in `postgres (PostgreSQL) 15.18 (Debian ...)`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_whitespace().nth(2)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// One of our programs: in the folder of this one, else where cargo puts it.
///
/// # Errors
/// When it is in none of these places.
pub fn sibling(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("finding our own program")?;
    let mut folders: Vec<PathBuf> = own.parent().map(Path::to_owned).into_iter().collect();
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        folders.push(Path::new(&target).join(if cfg!(debug_assertions) { "debug" } else { "release" }));
    }
    folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file()).with_context(|| {
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("there is no `{program}` in {}", folders.join(" or in "))
    })
}

/// Yields loopback ports that are free now, each one once.
pub fn free_ports() -> impl FnMut() -> anyhow::Result<u16> {
    let mut given = Vec::new();
    move || {
        for _ in 0..10_000 {
            let port = rand::rng().random_range(PORTS);
            if !given.contains(&port) && is_free(port) {
                given.push(port);
                return Ok(port);
            }
        }
        bail!("no free TCP port between {} and {}", PORTS.start, PORTS.end)
    }
}

/// Whether a server could listen on this port of the loopback interface.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Processors, at least one.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(1024) as u32)
}

/// 256 random bits in hexadecimal.
pub fn random_secret() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last `lines` lines of what was appended to a log after `from` bytes.
pub fn tail(path: &Path, from: u64, lines: usize) -> Vec<String> {
    /// Enough for the lines wanted; a log may have grown large.
    const BYTES_MAX: u64 = 64 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.min(length).max(length.saturating_sub(BYTES_MAX))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_versions_are_read() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("nonsense"), None);
    }

    #[test]
    fn free_ports_differ_and_are_free() {
        let mut next = free_ports();
        let (a, b) = (next().unwrap(), next().unwrap());
        assert_ne!(a, b);
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, a)).unwrap();
        assert!(!is_free(a));
        drop(held);
    }

    #[test]
    fn secrets_have_256_bits() {
        assert_eq!(random_secret().len(), 64);
        assert_ne!(random_secret(), random_secret());
    }

    #[test]
    fn a_closed_parent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let stranger = Owner {
            uid: Uid::from_raw(54_321),
            gid: Gid::from_raw(54_321),
            groups: Vec::new(),
            run_as: "stranger".to_owned(),
        };
        stranger.check_can_reach(&closed).unwrap();
        let error = stranger.check_can_reach(&closed.join("x")).unwrap_err().to_string();
        assert!(error.contains("stranger") && error.contains("closed (mode 700)"), "{error}");
    }

    #[test]
    fn the_tail_starts_at_this_run() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "old\n").unwrap();
        std::fs::write(&log, "old\none\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 4, 15), ["one", "two", "three"]);
        assert_eq!(tail(&log, 4, 2), ["two", "three"]);
        assert!(tail(&dir.path().join("none"), 0, 15).is_empty());
    }
}
