//! The careful reader of a head: line by line, across pieces of input, and the only one that names faults.

use crate::http1::error::Fault;
use crate::limits::Limits;
use crate::scan;
use crate::scan::class::{ABSOLUTE, QUERY, TOKEN};

/// How far an incomplete head has been judged. All offsets are in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    /// Start of the first line that is not judged.
    pub(super) line_start: u32,
    /// No byte from `line_start` to here ends the line.
    pub(super) scanned: u32,
    /// Start of the first field line; 0 while the request line is not judged.
    pub(super) fields_start: u32,
    /// Field lines judged.
    pub(super) fields: u16,
}

impl Progress {
    /// Nothing is judged; the request line starts here.
    pub(crate) fn at_request_line(start: usize) -> Self {
        Self { line_start: start as u32, scanned: start as u32, ..Self::default() }
    }

    /// The start of a trailer section.
    pub(crate) fn at_trailers() -> Self {
        Self::default()
    }

    /// Makes all places count from `start`, because the bytes before it are consumed.
    pub(crate) fn forget(&mut self, start: usize) {
        let start = start as u32;
        self.line_start -= start;
        self.scanned -= start;
        self.fields_start = self.fields_start.saturating_sub(start);
    }

    /// True when something has been judged or looked at.
    pub(crate) fn has_begun(self) -> bool {
        self.scanned != 0
    }
}

/// The limits that one section of field lines has left.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) bytes: u32,
    pub(crate) fields: u32,
}

impl Budget {
    /// That of a head. The fields are counted in 16 bits.
    pub(crate) fn of_head(limits: &Limits) -> Self {
        Self { bytes: limits.header_bytes_max, fields: limits.field_count_max.min(u32::from(u16::MAX)) }
    }
}

/// Goes on judging a head line by line. `Ok(true)` when the empty line is there.
pub(crate) fn resume(
    input: &[u8],
    progress: &mut Progress,
    is_trailers: bool,
    limits: &Limits,
    budget: Budget,
) -> Result<bool, Fault> {
    loop {
        let start = progress.line_start as usize;
        let stop = scan::first_stop(input, progress.scanned as usize);
        let is_request_line = progress.fields_start == 0 && !is_trailers;
        if is_request_line {
            request_line_limits(&input[start..stop], limits)?;
        } else {
            field_line_limits(progress, stop, limits, budget)?;
        }
        progress.scanned = stop as u32;
        match &input[stop..] {
            [] | [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] => {}
            [b'\r', ..] => return Err(Fault::BareCarriageReturn),
            [b'\n', ..] => return Err(Fault::BareLineFeed),
            _ => return Err(Fault::ControlCharacter),
        }
        let line = &input[start..stop];
        let next = (stop + 2) as u32;
        if is_request_line {
            judge_request_line(line)?;
            progress.fields_start = next;
        } else if line.is_empty() {
            return Ok(true);
        } else {
            if u32::from(progress.fields) >= budget.fields {
                return Err(Fault::TooManyFields);
            }
            judge_field_line(line)?;
            progress.fields += 1;
        }
        progress.line_start = next;
        progress.scanned = next;
    }
}

/// Judges the lengths of a request line, as far as it is there.
fn request_line_limits(line: &[u8], limits: &Limits) -> Result<(), Fault> {
    let end_of_word = |line: &[u8]| line.iter().position(|&byte| byte == b' ');
    // Enough of the line to see each limit passed; so a byte is looked at a bounded number of times.
    let method_max = limits.method_bytes_max as usize;
    // A word beyond this is not a method that we do not know, but no request line.
    let word_max = method_max.saturating_mul(8);
    let Some(method_end) = end_of_word(&line[..line.len().min(word_max + 1)]) else {
        return if line.len() > word_max { Err(Fault::RequestLineInvalid) } else { Ok(()) };
    };
    if method_end > method_max {
        return Err(Fault::MethodTooLong);
    }
    let rest = &line[method_end + 1..];
    let target_max = limits.target_bytes_max as usize;
    // The target has no space in it, so only a line longer than target and version needs to be searched.
    if rest.len() <= target_max {
        return Ok(());
    }
    let Some(target_end) = end_of_word(&rest[..target_max + 1]) else {
        return Err(Fault::TargetTooLong);
    };
    if rest.len() - target_end - 1 > b"HTTP/1.1".len() { Err(Fault::VersionInvalid) } else { Ok(()) }
}

/// Judges a request line that is complete and within its limits.
fn judge_request_line(line: &[u8]) -> Result<(), Fault> {
    let Some(method_end) = line.iter().position(|&byte| byte == b' ') else {
        return Err(Fault::RequestLineInvalid);
    };
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    if method.is_empty() || !TOKEN.has_all(method) {
        return Err(Fault::MethodInvalid);
    }
    let Some(target_end) = rest.iter().position(|&byte| byte == b' ') else {
        return Err(Fault::RequestLineInvalid);
    };
    let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
    let is_target = match target {
        [] => return Err(Fault::RequestLineInvalid),
        [b'/', ..] => QUERY.has_all(target),
        _ => ABSOLUTE.has_all(target),
    };
    if !is_target {
        return Err(Fault::TargetInvalid);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Fault::VersionNotSupported)
        }
        _ => Err(Fault::VersionInvalid),
    }
}

/// Judges the lengths of a field line and of all of them, as far as they are there. Of two limits the one that the
/// bytes pass first is named.
fn field_line_limits(progress: &Progress, stop: usize, limits: &Limits, budget: Budget) -> Result<(), Fault> {
    let start = progress.line_start as usize;
    if stop == start {
        return Ok(());
    }
    let line_stop_max = start + limits.field_line_bytes_max as usize;
    let stop_max = progress.fields_start as usize + (budget.bytes as usize).saturating_sub(2);
    if stop <= line_stop_max.min(stop_max) {
        Ok(())
    } else if line_stop_max < stop_max {
        Err(Fault::FieldLineTooLong)
    } else {
        Err(Fault::HeaderTooLarge)
    }
}

/// Judges a field line that is complete and within its limits.
fn judge_field_line(line: &[u8]) -> Result<(), Fault> {
    let name_end = line.iter().position(|&byte| !TOKEN.has(byte));
    match name_end.map(|end| (end, line[end])) {
        Some((0, b' ' | b'\t')) => Err(Fault::FieldFolded),
        Some((1.., b':')) => Ok(()),
        _ => Err(Fault::FieldNameInvalid),
    }
}
