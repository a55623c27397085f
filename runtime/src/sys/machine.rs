//! The CPUs this process may use, where they sit, and how much of their time is ours.

use std::{fs, io, path::Path};

use crate::sys::{affinity::current_thread_cpus, cgroup::CgroupLimits, cpu_list::CpuList};

/// One logical CPU: what a thread can be pinned to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// Its number in the kernel.
    pub number: usize,
    /// Its physical core, named by the lowest CPU number on it. SMT siblings share it.
    pub core: usize,
    /// Its NUMA node.
    pub node: usize,
    /// Its package (socket).
    pub package: usize,
}

/// What there is to place executors on. All fields are plain: tests make up machines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    /// The CPUs this process may use, ascending by number.
    pub cpus: Vec<Cpu>,
    /// Limit on CPU time, in thousandths of one CPU; `None` without one.
    pub quota_millicpus: Option<u64>,
}

impl Machine {
    /// Reads the machine: affinity of the calling thread, cgroup limits, topology. Call it before threads are pinned.
    ///
    /// # Errors
    /// Only if the affinity cannot be read. Without `/sys` every CPU counts as a core of its own on one node.
    pub fn read() -> io::Result<Self> {
        Ok(Self::read_under(Path::new("/"), &current_thread_cpus()?))
    }

    /// The same with a directory that stands for `/`, and a given affinity.
    pub fn read_under(root: &Path, affinity: &[usize]) -> Self {
        let limits = CgroupLimits::read_under(root);
        let in_cpuset = |cpu: &usize| limits.cpus.as_ref().is_none_or(|list| list.cpus().contains(cpu));
        let mut numbers: Vec<usize> = affinity.iter().copied().filter(in_cpuset).collect();
        if numbers.is_empty() {
            // A cpuset read from the wrong place; the kernel itself keeps the affinity within the right one.
            numbers = affinity.to_vec();
        }
        numbers.sort_unstable();
        numbers.dedup();
        let directory = root.join("sys/devices/system/cpu");
        let cpus = numbers.into_iter().map(|number| Cpu::read(&directory, number)).collect();
        Self { cpus, quota_millicpus: limits.quota_millicpus }
    }

    /// Whether this process may use a CPU.
    pub fn has_cpu(&self, number: usize) -> bool {
        self.cpus.iter().any(|cpu| cpu.number == number)
    }

    /// The numbers of all CPUs this process may use.
    pub fn cpu_numbers(&self) -> Vec<usize> {
        self.cpus.iter().map(|cpu| cpu.number).collect()
    }

    /// Number of physical cores that this process may use at least one CPU of.
    pub fn core_count(&self) -> usize {
        let mut cores: Vec<usize> = self.cpus.iter().map(|cpu| cpu.core).collect();
        cores.sort_unstable();
        cores.dedup();
        cores.len()
    }

    /// How many threads the CPU time suffices for: the quota rounded *down*, at least 1. Rounded up, all threads
    /// together would run into the limit under load and be stopped for the rest of a period (tens of ms), which is the
    /// worst a server's tail latency can meet. `usize::MAX` without a quota.
    pub fn quota_threads(&self) -> usize {
        self.quota_millicpus.map_or(usize::MAX, |quota| usize::try_from(quota / 1000).unwrap_or(usize::MAX).max(1))
    }
}

impl Cpu {
    fn read(directory: &Path, number: usize) -> Self {
        let own = directory.join(format!("cpu{number}"));
        let read = |file: &str| fs::read_to_string(own.join("topology").join(file)).ok();
        let siblings = read("core_cpus_list").or_else(|| read("thread_siblings_list"));
        let core = siblings.and_then(|list| list.parse::<CpuList>().ok()?.cpus().iter().copied().min());
        let package = read("physical_package_id").and_then(|text| text.trim().parse().ok());
        Self { number, core: core.unwrap_or(number), node: node_of(&own), package: package.unwrap_or(0) }
    }
}

/// A CPU's directory holds a link `node<n>` to its NUMA node; without one there is a single node.
fn node_of(cpu: &Path) -> usize {
    let Ok(entries) = fs::read_dir(cpu) else { return 0 };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok();
    entries.flatten().find_map(number).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        path::PathBuf,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// A directory that stands for `/`, removed on drop.
    pub(crate) struct Tree(PathBuf);

    impl Tree {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("ringgate-sys-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn topology(tree: &Tree, number: usize, siblings: &str, node: usize, package: usize) {
        let own = format!("sys/devices/system/cpu/cpu{number}");
        tree.write(&format!("{own}/topology/thread_siblings_list"), siblings);
        tree.write(&format!("{own}/topology/physical_package_id"), &format!("{package}\n"));
        fs::create_dir_all(tree.path().join(format!("{own}/node{node}"))).unwrap();
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read().unwrap();
        assert!(!machine.cpus.is_empty());
        assert!(machine.core_count() <= machine.cpus.len());
        assert!(current_thread_cpus().unwrap().iter().all(|&cpu| machine.has_cpu(cpu)));
    }

    #[test]
    fn topology_is_read_for_the_allowed_cpus() {
        let tree = Tree::new();
        topology(&tree, 0, "0,2\n", 0, 0);
        topology(&tree, 1, "1,3\n", 1, 1);
        topology(&tree, 2, "0,2\n", 0, 0);
        topology(&tree, 3, "1,3\n", 1, 1);
        let machine = Machine::read_under(tree.path(), &[1, 2, 3]);
        assert_eq!(
            machine.cpus,
            [
                Cpu { number: 1, core: 1, node: 1, package: 1 },
                Cpu { number: 2, core: 0, node: 0, package: 0 },
                Cpu { number: 3, core: 1, node: 1, package: 1 },
            ]
        );
        assert_eq!(machine.core_count(), 2);
    }

    #[test]
    fn affinity_is_cut_by_the_cpuset_but_never_to_nothing() {
        let tree = Tree::new();
        tree.write("proc/self/cgroup", "0::/\n");
        tree.write("proc/self/mountinfo", "30 20 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        tree.write("sys/fs/cgroup/cpuset.cpus.effective", "1-2\n");
        assert_eq!(Machine::read_under(tree.path(), &[0, 1, 2, 3]).cpu_numbers(), [1, 2]);
        assert_eq!(Machine::read_under(tree.path(), &[4, 5]).cpu_numbers(), [4, 5]);
    }

    #[test]
    fn quota_is_rounded_down_to_threads() {
        for (quota, threads) in [(None, usize::MAX), (Some(100), 1), (Some(1999), 1), (Some(2000), 2), (Some(3500), 3)]
        {
            assert_eq!(Machine { cpus: vec![], quota_millicpus: quota }.quota_threads(), threads);
        }
    }
}
