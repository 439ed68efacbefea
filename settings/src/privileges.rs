//! Giving up root.

use std::ffi::CString;

use nix::unistd::{User, geteuid, initgroups, setgid, setuid};

/// Why root could not be given up. The process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error("run_as: there is no OS user \"{name}\"")]
    NoSuchUser { name: String },
    #[error("run_as: cannot become \"{name}\": {source}")]
    Refused { name: String, source: nix::Error },
}

/// Becomes the OS user `run_as`, with its groups, for good. Does nothing when the process is not root's or `run_as` is
/// empty. To be called before any thread is started and any file made.
///
/// # Errors
/// When there is no such user, or the kernel refuses.
pub fn drop_privileges(run_as: &str) -> Result<(), PrivilegeError> {
    if run_as.is_empty() || !geteuid().is_root() {
        return Ok(());
    }
    let refused = |source| PrivilegeError::Refused { name: run_as.to_owned(), source };
    let user =
        User::from_name(run_as).map_err(refused)?.ok_or_else(|| PrivilegeError::NoSuchUser { name: run_as.into() })?;
    let name = CString::new(run_as).map_err(|_| PrivilegeError::NoSuchUser { name: run_as.into() })?;
    initgroups(&name, user.gid).map_err(refused)?;
    setgid(user.gid).map_err(refused)?;
    setuid(user.uid).map_err(refused)?;
    Ok(())
}
