//! How much memory this process holds, and how much it may.
//!
//! # The unsafe of this room
//! One call of the C library, `malloc_trim`. It takes no pointer and gives none; the allocator locks itself, so any thread
//! may call it at any time.

use std::{fs, path::Path};

use crate::sys::cgroup::CgroupLimits;

/// Bytes that this process holds and that only it can give back: pages that belong to no file. Pages of files, the page
/// cache among them, do not count: the kernel takes those back by itself before it runs short. What the kernel holds on
/// the process's behalf (buffers of sockets, page tables) is not in it either.
///
/// From `RssAnon` in `/proc/self/status` (Linux 4.5): one short read that is answered from counters, whatever the process
/// maps, and in a unit of its own. A cgroup's `memory.current` would count its page cache and its other processes, and
/// `memory.stat`, which tells them apart, has to be summed up by the kernel for every look.
///
/// `None` without `/proc`.
pub fn held_bytes() -> Option<u64> {
    parse_line(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// Bytes that this process may hold before somebody is killed: the tightest of its cgroups, or the machine itself.
/// `None` if neither is known.
pub fn limit_bytes() -> Option<u64> {
    limit_bytes_under(Path::new("/"))
}

/// The same with a directory that stands for `/`.
pub fn limit_bytes_under(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| parse_line(&text, "MemTotal:"));
    [CgroupLimits::read_under(root).memory_bytes, machine].into_iter().flatten().min()
}

/// `MemTotal:       16303428 kB`
fn parse_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Gives the kernel back what the allocator keeps of freed memory, as far as it is the C library's and that is glibc,
/// whose heaps otherwise shrink from their ends only. It can take a tenth of a second for a heap of some hundred MiB:
/// not to be called on a core.
pub fn release_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: see the top of this file; the argument is the number of bytes to leave at the end of the heap.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::machine::tests::Tree;

    #[test]
    fn a_line_is_found_by_its_name() {
        let text = "VmRSS:\t    5000 kB\nRssAnon:\t     900 kB\nRssFile:\t    4100 kB\n";
        assert_eq!(parse_line(text, "RssAnon:"), Some(900 << 10));
        for text in ["", "RssAnon:", "RssAnon: 5 MB", "RssAnon: x kB", "Rss: 5 kB", "RssAnon: 99999999999999999999 kB"]
        {
            assert_eq!(parse_line(text, "RssAnon:"), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_to_is_held() {
        const BYTES: usize = 64 << 20;
        let before = held_bytes().unwrap();
        let block = vec![1_u8; BYTES];
        let held = held_bytes().unwrap() - before;
        assert!(held >= BYTES as u64 * 3 / 4, "{held} of {}", block.len());
        drop(block);
    }

    #[test]
    fn the_machine_is_the_last_limit() {
        let tree = Tree::new();
        assert_eq!(limit_bytes_under(tree.path()), None);
        tree.write("proc/meminfo", "MemFree:  17 kB\nMemTotal:       16303428 kB\n");
        assert_eq!(limit_bytes_under(tree.path()), Some(16_303_428 << 10));
        tree.write("proc/self/cgroup", "0::/a/b\n");
        tree.write("proc/self/mountinfo", "30 20 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        tree.write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(limit_bytes_under(tree.path()), Some(16_303_428 << 10));
        tree.write("sys/fs/cgroup/a/memory.max", "536870912\n");
        assert_eq!(limit_bytes_under(tree.path()), Some(512 << 20));
    }

    #[test]
    fn a_limit_of_version_1() {
        let tree = Tree::new();
        tree.write("proc/self/cgroup", "7:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n");
        tree.write(
            "proc/self/mountinfo",
            "31 20 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
             32 20 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
        );
        tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
        assert_eq!(limit_bytes_under(tree.path()), Some(256 << 20));
        // Without a limit the kernel writes the largest number of pages there is: the machine is less than that.
        tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        tree.write("proc/meminfo", "MemTotal: 1024 kB\n");
        assert_eq!(limit_bytes_under(tree.path()), Some(1 << 20));
    }
}
