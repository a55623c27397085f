//! Extensible priorities, RFC 9218.

/// Urgency and incremental flag of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priority {
    /// 0 (first) to 7 (last); 3 unless said otherwise.
    pub urgency: u8,
    /// The response is useful in pieces, so it shares the connection with others of its urgency.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

impl Priority {
    /// Reads the value of a `priority` field or of PRIORITY_UPDATE: a dictionary of structured fields (RFC 8941), of which
    /// `u` and `i` count and later members win. A value that does not parse is ignored as a whole, never an error. The lines
    /// of a field that comes more than once are one value, joined by commas (RFC 8941 section 4.2).
    ///
    /// ```
    /// use ringgate_protocols::http2::priority::Priority;
    /// assert_eq!(Priority::parse(b"u=1, i"), Priority { urgency: 1, incremental: true });
    /// assert_eq!(Priority::parse(b"u=9"), Priority::default());
    /// ```
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        Self::parse_dictionary(Input(value)).unwrap_or_default()
    }

    /// RFC 8941 section 4.2.2.
    fn parse_dictionary(mut input: Input<'_>) -> Option<Self> {
        let mut priority = Self::default();
        input.take_while(|byte| byte == b' ');
        while !input.0.is_empty() {
            let key = input.key()?;
            let item = if !input.eat(b'=') {
                Item::Boolean(true)
            } else if input.eat(b'(') {
                input.inner_list()?
            } else {
                input.bare_item()?
            };
            input.parameters()?;
            // A value of another type or out of range counts as none (RFC 9218 section 4), be it behind a better one.
            match (key, item) {
                (b"u", Item::Integer(urgency)) if urgency < 8 => priority.urgency = urgency as u8,
                (b"u", _) => priority.urgency = Self::default().urgency,
                (b"i", item) => priority.incremental = item == Item::Boolean(true),
                _ => {}
            }
            input.white_space();
            if input.0.is_empty() {
                break;
            }
            if !input.eat(b',') {
                return None;
            }
            input.white_space();
            if input.0.is_empty() {
                return None;
            }
        }
        Some(priority)
    }
}

/// What a member or a parameter is, as far as it can say something to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Boolean(bool),
    /// Not negative.
    Integer(u64),
    Other,
}

/// What is left of a value: the parts of RFC 8941 sections 4.2.1 to 4.2.8. Each gives `None` where its algorithm fails.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take_while(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().position(|&byte| !is_part(byte)).unwrap_or(self.0.len());
        let (part, rest) = self.0.split_at(length);
        self.0 = rest;
        part
    }

    fn white_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let is_part = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*');
        matches!(self.0.first(), Some(b'a'..=b'z' | b'*')).then(|| self.take_while(is_part))
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.take_while(|byte| byte == b' ');
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// Behind its opening parenthesis.
    fn inner_list(&mut self) -> Option<Item> {
        loop {
            self.take_while(|byte| byte == b' ');
            if self.eat(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn bare_item(&mut self) -> Option<Item> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
                self.take_while(is_part);
                Some(Item::Other)
            }
            b':' => {
                self.eat(b':');
                self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
                self.eat(b':').then_some(Item::Other)
            }
            b'?' => {
                self.eat(b'?');
                let is_true = self.eat(b'1');
                (is_true || self.eat(b'0')).then_some(Item::Boolean(is_true))
            }
            _ => None,
        }
    }

    /// At most fifteen digits, or twelve, a point, and three.
    fn number(&mut self) -> Option<Item> {
        let is_negative = self.eat(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if self.eat(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let fits = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
            return fits.then_some(Item::Other);
        }
        let number =
            digits.iter().fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
        let item = if is_negative && number > 0 { Item::Other } else { Item::Integer(number) };
        (1..=15).contains(&digits.len()).then_some(item)
    }

    fn string(&mut self) -> Option<Item> {
        self.eat(b'"');
        loop {
            self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            if self.eat(b'"') {
                return Some(Item::Other);
            }
            if !self.eat(b'\\') || !(self.eat(b'"') || self.eat(b'\\')) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Priority;

    #[test]
    fn q1_urgency_and_incremental_errors_ignored() {
        let at = |value: &str| {
            let priority = Priority::parse(value.as_bytes());
            (priority.urgency, priority.incremental)
        };
        assert_eq!(at("u=0"), (0, false));
        assert_eq!(at("u=7,i"), (7, true));
        assert_eq!(at(" i=?1 ,u=5;x=1, foo=bar"), (5, true));
        assert_eq!(at("i, i=?0"), (3, false));
        assert_eq!(at("u=02 \t,\ti  "), (2, true));
        for ignored in
            ["", "u", "u=8", "u=-1", "u=3.0", "U=1", "u=1,,i", "=", "u=", "u=1,", "i=1", "u=\x01", "\u{fc}=1"]
        {
            assert_eq!(at(ignored), (3, false), "{ignored}");
        }
        // What is wrong anywhere is wrong as a whole; what merely says nothing hides nothing.
        for odd in [
            "a=",
            "a=(1",
            "a=(1,2)",
            "a=(1\"x\")",
            "a=\"x",
            "a=\"\\x\"",
            "a=:x",
            "a=?2",
            "a=-",
            "a=1.",
            "a=@1",
            "a;",
            "a b",
        ] {
            assert_eq!(at(&format!("u=1, {odd}")), (3, false), "{odd}");
            assert_eq!(at(&format!("{odd}, i")), (3, false), "{odd}");
        }
        let digits = "1".repeat(16);
        assert_eq!(
            (at(&format!("u=1, a={digits}")), at(&format!("u=1, a={}", &digits[1..]))),
            ((3, false), (1, false))
        );
        for said in [
            "a",
            "a=()",
            "a=( 1 x;y \",u=7\" );z=1.5",
            "a=\", u=7, \\\"\"",
            "a=:aGk=:",
            "a=*t/x:y",
            "a=-12.125",
            "a;b=?0; c",
        ] {
            assert_eq!(
                (at(&format!("u=1, {said}, i")), at(&format!("{said},i,u=1"))),
                ((1, true), (1, true)),
                "{said}"
            );
        }
    }

    #[test]
    fn q1_of_members_that_come_twice_the_last_counts() {
        let at = |value: &str| Priority::parse(value.as_bytes());
        assert_eq!(at("u=1, i, u=5, i=?0"), Priority { urgency: 5, incremental: false });
        // Also when it says nothing.
        assert_eq!(at("u=1, i, u=9, i=3"), Priority::default());
    }
}
