//! How much room a disk has.

use std::path::Path;

/// Bytes that this user can still write to the file system of a folder; `None` where it is unknown.
#[cfg(unix)]
pub(crate) fn free_space(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: all-zero bytes are a valid statvfs, the path ends with a zero, and both outlive the call.
    let (found, code) = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        let code = libc::statvfs(path.as_ptr(), &mut found);
        (found, code)
    };
    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields have other widths on other systems"
    )]
    let free = (found.f_bavail as u64).checked_mul(found.f_frsize as u64);
    free.filter(|_| code == 0)
}

/// Unknown.
#[cfg(not(unix))]
pub(crate) fn free_space(_: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_room_and_nothing_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space(folder.path()).is_some());
        assert_eq!(free_space(Path::new("/proc/self/none")), None);
    }
}
