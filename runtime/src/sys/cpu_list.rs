//! Lists of CPU numbers as the kernel and people write them: `0-3,5`.

use std::{fmt, str::FromStr};

/// CPU numbers are below this: the width of the mask that `sched_setaffinity` takes (1024). Bounds what a list such as
/// `0-4000000000` may allocate.
pub const CPUS_MAX: usize = rustix::thread::CpuSet::MAX_CPU;

/// CPU numbers in the order they were written, each at most once. Parses `0-3,5` (the kernel's format, and that of a
/// `--cores` option); an empty text is the empty list.
///
/// ```
/// use ringgate_runtime::sys::cpu_list::CpuList;
/// let list: CpuList = "4,0-2".parse().unwrap();
/// assert_eq!(list.cpus(), [4, 0, 1, 2]);
/// assert_eq!(list.to_string(), "4,0-2");
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpuList {
    cpus: Vec<usize>,
}

impl CpuList {
    /// The numbers.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// The numbers, owned.
    pub fn into_vec(self) -> Vec<usize> {
        self.cpus
    }

    fn push(&mut self, cpu: usize) -> Result<(), CpuListError> {
        if cpu >= CPUS_MAX {
            return Err(CpuListError::TooLarge);
        }
        if self.cpus.contains(&cpu) {
            return Err(CpuListError::Twice(cpu));
        }
        self.cpus.push(cpu);
        Ok(())
    }
}

/// Why a text is no list of CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuListError {
    /// Neither a number nor a range of two numbers.
    Syntax,
    /// A range whose end is before its start.
    Backwards,
    /// A number not below [`CPUS_MAX`].
    TooLarge,
    /// A number that was there already.
    Twice(usize),
}

impl fmt::Display for CpuListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not a list of CPUs such as 0-3,5"),
            Self::Backwards => f.write_str("a range of CPUs ends before it starts"),
            Self::TooLarge => write!(f, "a CPU number is not below {CPUS_MAX}"),
            Self::Twice(cpu) => write!(f, "CPU {cpu} is listed twice"),
        }
    }
}

impl std::error::Error for CpuListError {}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let mut list = Self::default();
        if text.trim().is_empty() {
            return Ok(list);
        }
        for part in text.split(',') {
            match part.split_once('-') {
                None => list.push(number(part)?)?,
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if last < first {
                        return Err(CpuListError::Backwards);
                    }
                    (first..=last).try_for_each(|cpu| list.push(cpu))?;
                }
            }
        }
        Ok(list)
    }
}

fn number(text: &str) -> Result<usize, CpuListError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuListError::Syntax);
    }
    text.parse().map_err(|_| CpuListError::TooLarge)
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, run) in self.cpus.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match run {
                [only] => write!(f, "{comma}{only}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        for (text, cpus) in [
            ("0\n", vec![0]),
            ("0-3,5", vec![0, 1, 2, 3, 5]),
            ("", vec![]),
            ("\n", vec![]),
            (" 7 , 1-2 ", vec![7, 1, 2]),
            ("1023", vec![1023]),
        ] {
            assert_eq!(text.parse::<CpuList>().map(CpuList::into_vec), Ok(cpus), "{text:?}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        use CpuListError::*;
        for (text, error) in [
            (",", Syntax),
            ("1,", Syntax),
            ("-1", Syntax),
            ("1-", Syntax),
            ("1-2-3", Syntax),
            ("+1", Syntax),
            ("0x1", Syntax),
            ("3-1", Backwards),
            ("1024", TooLarge),
            ("0-4294967295", TooLarge),
            ("99999999999999999999999", TooLarge),
            ("0-3,2", Twice(2)),
        ] {
            assert_eq!(text.parse::<CpuList>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn display_reads_back() {
        for text in ["", "0", "0-3,5", "5,0-1", "9,8,7"] {
            assert_eq!(text.parse::<CpuList>().unwrap().to_string(), text);
        }
    }
}
