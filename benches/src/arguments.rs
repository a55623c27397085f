//! Command lines of the form `--name value` and `--flag`, as all programs of this package take them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The parsed command line of a program.
///
/// ```
/// use ringgate_benches::arguments::Arguments;
/// let arguments = Arguments::parse(["--connections", "64", "--verbose"].map(String::from), &["verbose"]).unwrap();
/// assert_eq!(arguments.number("connections", 1usize).unwrap(), 64);
/// assert_eq!(arguments.number("pipeline", 1usize).unwrap(), 1);
/// assert!(arguments.flag("verbose"));
/// arguments.finish(&["connections", "pipeline"]).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct Arguments {
    values: BTreeMap<String, String>,
    flags: Vec<String>,
}

impl Arguments {
    /// Reads the command line of this process; names listed in `flags` take no value.
    ///
    /// # Errors
    /// A sentence for the user when a word is not an option, or an option lacks its value.
    pub fn from_environment(flags: &[&str]) -> Result<Self, String> {
        Self::parse(std::env::args().skip(1), flags)
    }

    /// Reads a command line from its words.
    ///
    /// # Errors
    /// A sentence for the user when a word is not an option, or an option lacks its value.
    pub fn parse(words: impl IntoIterator<Item = String>, flags: &[&str]) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                return Err(format!("unexpected word {word:?}: options are written --name value"));
            };
            if flags.contains(&name) {
                parsed.flags.push(name.to_owned());
            } else {
                let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                parsed.values.insert(name.to_owned(), value);
            }
        }
        Ok(parsed)
    }

    /// Whether the flag was given.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// The text given for an option.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The number given for an option, or `otherwise`.
    ///
    /// # Errors
    /// A sentence for the user when the value is not such a number.
    pub fn number<N: FromStr<Err: Display>>(&self, name: &str, otherwise: N) -> Result<N, String> {
        self.text(name).map_or(Ok(otherwise), |text| {
            text.parse().map_err(|error| format!("--{name} {text:?} is not a number that fits: {error}"))
        })
    }

    /// Refuses options that the program does not know: a misspelt option must not silently change a measurement.
    ///
    /// # Errors
    /// A sentence naming the first unknown option.
    pub fn finish(&self, known: &[&str]) -> Result<(), String> {
        match self.values.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("unknown option --{name}; known: --{}", known.join(" --"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    #[test]
    fn a_misspelt_option_is_refused() {
        let arguments = Arguments::parse(["--conections", "64"].map(String::from), &[]).unwrap();
        assert!(arguments.finish(&["connections"]).unwrap_err().contains("--conections"));
        assert!(Arguments::parse(["--connections"].map(String::from), &[]).is_err());
        assert!(Arguments::parse(["connections"].map(String::from), &[]).is_err());
    }
}
