//! On which kinds of file system the state may lie.
//!
//! The lock and the journal need a lock that every process sees, a rename that happens whole, and a sync that means it. Shared storage
//! gives one or another of these by its server's grace, so it is refused by name. Attempt folders may lie there (`host.runs_dir`).

use std::path::Path;

/// The kind of file system under a path if the state must not lie there.
pub(super) fn unsuitable(path: &Path) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let magic = rustix::fs::statfs(path).ok()?.f_type;
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // The type is signed on some machines and shorter on others; the numbers are those of 32 bits.
        unsuitable_kind(u32::try_from(magic & 0xffff_ffff).unwrap_or_default(), || mount_kind(&mounts(), path))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

/// What `statfs` calls file systems that are not this machine's own.
#[cfg(any(target_os = "linux", test))]
const SHARED: [(u32, &str); 14] = [
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    // Also what Windows' drives are inside its Linux.
    (0x0102_1997, "9p"),
    // Folders of the machine around a virtual one, whose programs see none of our locks.
    (0x786f_4256, "vboxsf"),
    (0x564c, "ncp"),
    (0x7375_7245, "coda"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "kafs"),
    (0x00c3_6400, "ceph"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x7461_636f, "ocfs2"),
];

/// All programs that are file systems, and what speaks their language without being one.
#[cfg(any(target_os = "linux", test))]
const FUSE: u32 = 0x6573_5546;

/// Of those, the ones that reach over a network or out of a virtual machine. Others, such as encrypted folders and foreign disks, are as good
/// as what they lie on.
#[cfg(any(target_os = "linux", test))]
const SHARED_FUSE: [&str; 13] = [
    "virtiofs",
    "fuse.vmhgfs-fuse",
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.davfs2",
    "fuse.curlftpfs",
    "fuse.glusterfs",
    "fuse.ceph-fuse",
    "fuse.gvfsd-fuse",
    "fuse.juicefs",
];

#[cfg(any(target_os = "linux", test))]
fn unsuitable_kind(magic: u32, mounted: impl FnOnce() -> Option<String>) -> Option<String> {
    if magic == FUSE {
        return mounted().filter(|kind| SHARED_FUSE.contains(&kind.as_str()));
    }
    SHARED.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).to_owned())
}

/// The kind of the mount that a path lies on, from the text of `/proc/self/mountinfo`.
#[cfg(any(target_os = "linux", test))]
fn mount_kind(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        Some((point, kind.split(' ').next()?.to_owned()))
    });
    // The deepest one, and of several on one folder the last.
    mounts.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:40 / /home/a/my\\040server rw,nosuid - fuse.sshfs me@host:/data rw,user_id=1000
31 22 0:41 / /home/a/vault rw - fuse.gocryptfs /home/a/.vault rw
32 22 0:42 / /home rw - tmpfs tmpfs rw
33 22 0:43 / /home rw - btrfs /dev/vdb rw
34 22 0:44 / /mnt/of\\040mine rw - virtiofs shared rw
";

    #[test]
    fn f18_shared_file_systems_are_named() {
        let plain = |magic| unsuitable_kind(magic, || None);
        for (magic, name) in [(0x6969, "nfs"), (0xff53_4d42, "cifs"), (0xfe53_4d42, "smb2"), (0x0102_1997, "9p"), (0x786f_4256, "vboxsf")] {
            assert_eq!(plain(magic).as_deref(), Some(name));
        }
        // ext4, tmpfs, btrfs, xfs, zfs, overlayfs
        for magic in [0xef53, 0x0102_1994, 0x9123_683e, 0x5846_5342, 0x2fc1_2fc1, 0x794c_7630] {
            assert_eq!(plain(magic), None, "{magic:#x}");
        }
    }

    #[test]
    fn f18_of_programs_that_are_file_systems_the_mount_says_which() {
        let kind = |path: &str| mount_kind(MOUNTS, Path::new(path));
        assert_eq!(kind("/home/a/my server/work/.prismq").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind("/home/a/vault/x").as_deref(), Some("fuse.gocryptfs"));
        assert_eq!(kind("/home/b").as_deref(), Some("btrfs"));
        assert_eq!(kind("/homely").as_deref(), Some("ext4"));
        let fuse = |path: &'static str| unsuitable_kind(FUSE, || mount_kind(MOUNTS, Path::new(path)));
        assert_eq!(fuse("/home/a/my server/work").as_deref(), Some("fuse.sshfs"));
        assert_eq!(fuse("/home/a/vault"), None);
        assert_eq!(fuse("/mnt/of mine/work").as_deref(), Some("virtiofs"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn f18_where_tests_run_is_a_good_place() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(unsuitable(folder.path()), None);
    }
}
