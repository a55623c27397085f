//! What the cgroups of this process leave it of the machine: CPU time (`cpu.max`, or `cpu.cfs_quota_us` in v1), CPUs
//! (`cpuset.cpus.effective`, or `cpuset.effective_cpus`), and memory (`memory.max`, or `memory.limit_in_bytes`).
//!
//! `/proc/self/cgroup` says which group we are in, `/proc/self/mountinfo` where that hierarchy is mounted. Every group
//! between ours and the mount may limit, so all of them are read and the tightest wins. In a container the path may
//! not exist below the mount (another namespace's path); then the mount itself is our group.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::sys::cpu_list::CpuList;

/// What the control groups allow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CgroupLimits {
    /// CPU time, in thousandths of one CPU (2500: two and a half CPUs); `None` without a limit.
    pub quota_millicpus: Option<u64>,
    /// The CPUs of the cpuset; `None` if no cpuset says anything.
    pub cpus: Option<CpuList>,
    /// Bytes of memory, page cache and all; `None` without a limit.
    pub memory_bytes: Option<u64>,
}

impl CgroupLimits {
    /// Reads the limits of this process, with `root` for `/` (another directory in tests). What is missing or not
    /// understood limits nothing: a gateway starts on any system.
    pub fn read_under(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        let mut limits = Self::default();
        for (controllers, group) in groups.lines().filter_map(parse_group) {
            for mount in mounts.iter().filter(|mount| mount.carries(controllers)) {
                limits.tighten(&mount.chain(root, group), mount.unified);
            }
        }
        limits
    }

    /// Applies one hierarchy: its groups from ours up to the mount.
    fn tighten(&mut self, chain: &[PathBuf], unified: bool) {
        let quota = if unified { quota_unified } else { quota_v1 };
        let quota = chain.iter().filter_map(|group| quota(group)).min();
        self.quota_millicpus = [self.quota_millicpus, quota].into_iter().flatten().min();
        let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
        let memory =
            chain.iter().filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min();
        self.memory_bytes = [self.memory_bytes, memory].into_iter().flatten().min();
        // "Effective" includes the ancestors already: the nearest group that has the file knows all.
        let file = if unified { "cpuset.cpus.effective" } else { "cpuset.effective_cpus" };
        let cpus = chain.iter().find_map(|group| fs::read_to_string(group.join(file)).ok()?.parse::<CpuList>().ok());
        if let Some(cpus) = cpus.filter(|list| !list.cpus().is_empty()) {
            self.cpus = Some(cpus);
        }
    }
}

/// A line of `/proc/self/cgroup`: `hierarchy:controllers:path`.
fn parse_group(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

/// `cpu.max`: `200000 100000`, or `max 100000`.
fn quota_unified(group: &Path) -> Option<u64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let mut words = text.split_ascii_whitespace();
    millicpus(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
}

/// `cpu.cfs_quota_us` (−1: no limit) and `cpu.cfs_period_us`.
fn quota_v1(group: &Path) -> Option<u64> {
    let read = |file| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    millicpus(read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
}

fn millicpus(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1000)?.checked_div(period_us)
}

/// A mounted cgroup hierarchy: a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount {
    /// The group that the mount point shows.
    group: String,
    point: PathBuf,
    unified: bool,
    /// v1 only: names the controllers, among other options.
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (group, point) = (unescape(place.next()?), unescape(place.next()?));
        let mut kind = kind.split(' ');
        let unified = match kind.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        Some(Self { group, point: point.into(), unified, options: kind.nth(1)?.to_owned() })
    }

    /// Whether a group of these controllers (none: the unified hierarchy) lives here, and its limits concern us.
    fn carries(&self, controllers: &str) -> bool {
        if self.unified || controllers.is_empty() {
            return self.unified && controllers.is_empty();
        }
        controllers.split(',').any(|name| {
            matches!(name, "cpu" | "cpuset" | "memory") && self.options.split(',').any(|option| option == name)
        })
    }

    /// The directories from our group up to the mount point.
    fn chain(&self, root: &Path, group: &str) -> Vec<PathBuf> {
        let point = root.join(self.point.strip_prefix("/").unwrap_or(&self.point));
        let below = Path::new(group).strip_prefix(&self.group).unwrap_or_else(|_| Path::new(""));
        let named = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let ours = if named { point.join(below) } else { point.clone() };
        let ours = if ours.is_dir() { ours } else { point.clone() };
        ours.ancestors().take_while(|directory| directory.starts_with(&point)).map(Path::to_path_buf).collect()
    }
}

/// Blanks, tabs, line ends and backslashes stand in mountinfo as `\040` and the like.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::machine::tests::Tree;

    const V2: &str = "30 20 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn nothing_known_limits_nothing() {
        assert_eq!(CgroupLimits::read_under(Tree::new().path()), CgroupLimits::default());
    }

    #[test]
    fn the_tightest_group_on_the_way_up_wins() {
        let tree = Tree::new();
        tree.write("proc/self/cgroup", "0::/app.slice/gate\n");
        tree.write("proc/self/mountinfo", V2);
        tree.write("sys/fs/cgroup/app.slice/gate/cpu.max", "max 100000\n");
        tree.write("sys/fs/cgroup/app.slice/cpu.max", "250000 100000\n");
        tree.write("sys/fs/cgroup/cpu.max", "400000 100000\n");
        tree.write("sys/fs/cgroup/app.slice/cpuset.cpus.effective", "2-5\n");
        tree.write("sys/fs/cgroup/cpuset.cpus.effective", "0-7\n");
        let limits = CgroupLimits::read_under(tree.path());
        assert_eq!(limits, CgroupLimits { quota_millicpus: Some(2500), cpus: "2-5".parse().ok(), memory_bytes: None });
    }

    #[test]
    fn a_group_of_another_namespace_falls_back_to_the_mount() {
        let tree = Tree::new();
        tree.write("proc/self/cgroup", "0::/../../kubepods/pod1\n");
        tree.write("proc/self/mountinfo", V2);
        tree.write("sys/fs/cgroup/cpu.max", "50000 100000\n");
        assert_eq!(CgroupLimits::read_under(tree.path()).quota_millicpus, Some(500));
    }

    #[test]
    fn version_1_with_the_container_as_the_root_of_the_mount() {
        let tree = Tree::new();
        tree.write("proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n1:name=systemd:/docker/abc\n");
        tree.write(
            "proc/self/mountinfo",
            "31 20 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
             32 20 0:29 /docker/abc /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n\
             33 20 0:30 /docker/abc /sys/fs/cgroup/systemd ro - cgroup cgroup rw,name=systemd\n",
        );
        tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
        tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        tree.write("sys/fs/cgroup/cpuset/cpuset.effective_cpus", "1,3\n");
        let limits = CgroupLimits::read_under(tree.path());
        assert_eq!(limits, CgroupLimits { quota_millicpus: Some(1500), cpus: "1,3".parse().ok(), memory_bytes: None });
        tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        assert_eq!(CgroupLimits::read_under(tree.path()).quota_millicpus, None);
    }

    #[test]
    fn nonsense_limits_nothing() {
        let tree = Tree::new();
        tree.write("proc/self/cgroup", "0::/\n:\nx\n");
        tree.write("proc/self/mountinfo", &format!("x\n - cgroup2\n{V2}"));
        for text in ["", "max", "100000 0", "99999999999999999999 1", "-1 100000", "a b"] {
            tree.write("sys/fs/cgroup/cpu.max", text);
            tree.write("sys/fs/cgroup/cpuset.cpus.effective", "\n");
            assert_eq!(CgroupLimits::read_under(tree.path()), CgroupLimits::default(), "{text:?}");
        }
    }

    #[test]
    fn a_mount_point_may_hold_a_blank() {
        let mount = Mount::parse(r"30 20 0:27 / /cgroup\040two rw - cgroup2 cgroup2 rw").unwrap();
        assert_eq!(mount.point, Path::new("/cgroup two"));
    }
}
