//! Where executors sit: a wish, laid against a machine, gives one CPU (or none) to each executor. Pure: no system call.

use std::{cmp::Reverse, collections::HashMap, fmt};

use crate::sys::machine::{Cpu, Machine};

/// Where executors sit, and how many there are.
///
/// ```
/// use ringgate_runtime::sys::{machine::{Cpu, Machine}, placement::{Placement, assign}};
/// // Two cores with two SMT siblings each.
/// let cpu = |number, core| Cpu { number, core, node: 0, package: 0 };
/// let machine = Machine { cpus: vec![cpu(0, 0), cpu(1, 1), cpu(2, 0), cpu(3, 1)], quota_millicpus: None };
/// assert_eq!(assign(&Placement::Auto, &machine), Ok(vec![Some(0), Some(1)]));
/// assert_eq!(assign(&Placement::Pack { count: 2 }, &machine), Ok(vec![Some(0), Some(2)]));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// One executor for each physical core we may use, pinned to its first CPU: SMT siblings share the caches and the
    /// arithmetic, and a second executor there mostly evicts the first one's lines. With a CPU quota that pays for
    /// fewer cores, as many executors as it pays for, *unpinned*: other containers with such a quota would pin
    /// themselves to the same first CPUs.
    #[default]
    Auto,
    /// One executor on each of these CPUs, in this order.
    Cores(Vec<usize>),
    /// Pinned as far from each other as possible: packages and nodes in turn, one for each physical core, and only then
    /// their SMT siblings. The most cache and memory bandwidth for each.
    Spread {
        /// How many executors.
        count: usize,
    },
    /// Pinned as close to each other as possible: a physical core's CPUs, then the next core of the same node. The
    /// cheapest way to talk to each other, and the rest of the machine left alone.
    Pack {
        /// How many executors.
        count: usize,
    },
    /// Not pinned: the kernel decides.
    Unpinned {
        /// How many executors.
        count: usize,
    },
}

/// Why a placement does not fit a machine. Told when a pool is started, as the reason of an [`io::Error`](std::io::Error).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlacementError {
    /// No executor at all was asked for.
    Nothing,
    /// We may not use this CPU: it does not exist, or affinity or cpuset exclude it.
    NotAllowed {
        /// Its number.
        cpu: usize,
    },
    /// The same CPU was named twice.
    Twice {
        /// Its number.
        cpu: usize,
    },
    /// More pinned executors than CPUs.
    TooMany {
        /// How many were asked for.
        count: usize,
        /// How many CPUs we may use.
        cpus: usize,
    },
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("at least one executor is needed"),
            Self::NotAllowed { cpu } => write!(f, "this process may not use CPU {cpu}"),
            Self::Twice { cpu } => write!(f, "CPU {cpu} is named twice"),
            Self::TooMany { count, cpus } => write!(f, "{count} pinned executors do not fit on {cpus} CPUs"),
        }
    }
}

impl std::error::Error for PlacementError {}

/// Gives each executor its CPU; `None`: not pinned. The length of the answer is the number of executors.
///
/// # Errors
/// When the wish does not fit the machine. An explicit wish is not cut down in silence; quotas bind `Auto` only.
pub fn assign(placement: &Placement, machine: &Machine) -> Result<Vec<Option<usize>>, PlacementError> {
    let executors = match placement {
        Placement::Auto => auto(machine),
        Placement::Cores(cpus) => listed(cpus, machine)?,
        Placement::Spread { count } => first(*count, spread_order(machine))?,
        Placement::Pack { count } => first(*count, pack_order(machine))?,
        Placement::Unpinned { count } => vec![None; *count],
    };
    if executors.is_empty() { Err(PlacementError::Nothing) } else { Ok(executors) }
}

fn auto(machine: &Machine) -> Vec<Option<usize>> {
    let cores = machine.core_count();
    if machine.quota_threads() < cores {
        return vec![None; machine.quota_threads()];
    }
    let mut firsts: Vec<Cpu> = machine.cpus.clone();
    firsts.sort_by_key(|cpu| (cpu.core, cpu.number));
    firsts.dedup_by_key(|cpu| cpu.core);
    firsts.iter().map(|cpu| Some(cpu.number)).collect()
}

fn listed(cpus: &[usize], machine: &Machine) -> Result<Vec<Option<usize>>, PlacementError> {
    for (position, &cpu) in cpus.iter().enumerate() {
        if !machine.has_cpu(cpu) {
            return Err(PlacementError::NotAllowed { cpu });
        }
        if cpus[..position].contains(&cpu) {
            return Err(PlacementError::Twice { cpu });
        }
    }
    Ok(cpus.iter().copied().map(Some).collect())
}

fn first(count: usize, order: Vec<Cpu>) -> Result<Vec<Option<usize>>, PlacementError> {
    if count > order.len() {
        return Err(PlacementError::TooMany { count, cpus: order.len() });
    }
    Ok(order.iter().take(count).map(|cpu| Some(cpu.number)).collect())
}

/// Siblings side by side, cores of a node side by side; the fullest node first, so that the fewest are touched.
fn pack_order(machine: &Machine) -> Vec<Cpu> {
    let mut sizes: HashMap<(usize, usize), usize> = HashMap::new();
    machine.cpus.iter().for_each(|cpu| *sizes.entry((cpu.package, cpu.node)).or_default() += 1);
    let mut cpus = machine.cpus.clone();
    cpus.sort_by_key(|cpu| {
        let node = (cpu.package, cpu.node);
        (Reverse(sizes[&node]), node, cpu.core, cpu.number)
    });
    cpus
}

/// Each CPU is ranked within its core (first sibling, second …), its core within the node, the node within the package:
/// sorted by these ranks, neighbours of the answer are as far apart as they can be.
fn spread_order(machine: &Machine) -> Vec<Cpu> {
    let mut cpus = machine.cpus.clone();
    cpus.sort_by_key(|cpu| (cpu.package, cpu.node, cpu.core, cpu.number));
    let mut ranked = Vec::with_capacity(cpus.len());
    for package in cpus.chunk_by(|a, b| a.package == b.package) {
        for (node_rank, node) in package.chunk_by(|a, b| a.node == b.node).enumerate() {
            for (core_rank, core) in node.chunk_by(|a, b| a.core == b.core).enumerate() {
                let rank =
                    |(sibling_rank, &cpu): (usize, &Cpu)| ((sibling_rank, core_rank, node_rank, cpu.package), cpu);
                ranked.extend(core.iter().enumerate().map(rank));
            }
        }
    }
    ranked.sort_by_key(|&(rank, _)| rank);
    ranked.into_iter().map(|(_, cpu)| cpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `packages` × `cores` × 2 siblings, numbered as Linux does: all first siblings, then all second ones.
    fn machine(packages: usize, cores: usize) -> Machine {
        let half = packages * cores;
        let cpu = |number: usize| {
            let core = number % half;
            Cpu { number, core, node: core / cores, package: core / cores }
        };
        Machine { cpus: (0..2 * half).map(cpu).collect(), quota_millicpus: None }
    }

    fn pinned(placement: &Placement, machine: &Machine) -> Vec<usize> {
        assign(placement, machine).unwrap().into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn auto_takes_each_physical_core_once() {
        let mut machine = machine(2, 2);
        assert_eq!(pinned(&Placement::Auto, &machine), [0, 1, 2, 3]);
        // Core 1 is left to us only by its second sibling.
        machine.cpus.retain(|cpu| cpu.number != 1);
        assert_eq!(pinned(&Placement::Auto, &machine), [0, 5, 2, 3]);
    }

    #[test]
    fn auto_obeys_the_quota() {
        let mut machine = machine(1, 4);
        machine.quota_millicpus = Some(2500);
        assert_eq!(assign(&Placement::Auto, &machine), Ok(vec![None, None]));
        machine.quota_millicpus = Some(100);
        assert_eq!(assign(&Placement::Auto, &machine), Ok(vec![None]));
        machine.quota_millicpus = Some(4000);
        assert_eq!(pinned(&Placement::Auto, &machine), [0, 1, 2, 3]);
    }

    #[test]
    fn spread_goes_far_and_pack_stays_near() {
        let machine = machine(2, 2);
        assert_eq!(pinned(&Placement::Spread { count: 8 }, &machine), [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(pinned(&Placement::Pack { count: 8 }, &machine), [0, 4, 1, 5, 2, 6, 3, 7]);
    }

    #[test]
    fn spread_alternates_nodes_of_one_package() {
        let cpu = |number| Cpu { number, core: number, node: number / 2, package: 0 };
        let machine = Machine { cpus: (0..4).map(cpu).collect(), quota_millicpus: None };
        assert_eq!(pinned(&Placement::Spread { count: 4 }, &machine), [0, 2, 1, 3]);
    }

    #[test]
    fn pack_takes_the_node_with_the_most_room() {
        let mut machine = machine(2, 2);
        machine.cpus.retain(|cpu| cpu.number != 0);
        assert_eq!(pinned(&Placement::Pack { count: 4 }, &machine), [2, 6, 3, 7]);
    }

    #[test]
    fn a_list_is_taken_as_it_stands_or_refused() {
        let machine = machine(1, 2);
        assert_eq!(pinned(&Placement::Cores(vec![3, 0]), &machine), [3, 0]);
        assert_eq!(assign(&Placement::Cores(vec![0, 9]), &machine), Err(PlacementError::NotAllowed { cpu: 9 }));
        assert_eq!(assign(&Placement::Cores(vec![1, 1]), &machine), Err(PlacementError::Twice { cpu: 1 }));
    }

    #[test]
    fn counts_are_checked() {
        let machine = machine(1, 2);
        let too_many = Err(PlacementError::TooMany { count: 5, cpus: 4 });
        assert_eq!(assign(&Placement::Spread { count: 5 }, &machine), too_many);
        assert_eq!(assign(&Placement::Pack { count: 5 }, &machine), too_many);
        assert_eq!(assign(&Placement::Unpinned { count: 5 }, &machine), Ok(vec![None; 5]));
        for nothing in [Placement::Spread { count: 0 }, Placement::Unpinned { count: 0 }, Placement::Cores(vec![])] {
            assert_eq!(assign(&nothing, &machine), Err(PlacementError::Nothing));
        }
        assert_eq!(assign(&Placement::Auto, &Machine::default()), Err(PlacementError::Nothing));
    }

    #[test]
    fn every_placement_names_allowed_cpus_once() {
        let machine = machine(2, 3);
        for count in 1..=12 {
            for placement in [Placement::Spread { count }, Placement::Pack { count }] {
                let mut cpus = pinned(&placement, &machine);
                assert!(cpus.iter().all(|&cpu| machine.has_cpu(cpu)));
                cpus.sort_unstable();
                cpus.dedup();
                assert_eq!(cpus.len(), count);
            }
        }
    }
}
