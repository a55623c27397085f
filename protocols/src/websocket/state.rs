//! The life of a WebSocket after the handshake, RFC 6455 sections 5.5.1 and 7.1, as a table.
//!
//! ```text
//!            peer's Close              answer written
//!   Open ───────────────────▶ Answering ──────────────▶ Closed
//!    │ ╲  violation                     answer written    ▲ ▲
//!    │  ╲─────────────────▶ Failing ──────────────────────╯ │
//!    │ our Close             peer's Close, violation, time  │
//!    ╰────────────────────▶ Closing ────────────────────────╯
//! ```

/// Where the connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// Both sides may speak.
    Open,
    /// Our Close is written, the peer's has not come. What it sent before is still delivered.
    Closing,
    /// The peer's Close has come; ours is still to be written.
    Answering,
    /// The peer broke the protocol; our Close is still to be written.
    Failing,
    /// Nothing is read or written any more. The server closes the transport now (section 7.1.1).
    Closed,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Occurrence {
    /// A data frame, a ping or a pong came.
    Receive,
    /// A Close came.
    ReceiveClose,
    /// Something came, or did not come in time, that ends the connection.
    Violation,
    /// The application sends data, a ping or a pong.
    Send,
    /// The application sends a Close.
    SendClose,
    /// The machine has written the Close it owed.
    Answered,
    /// The time for the peer's Close is over.
    Expired,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Verdict {
    /// It counts, and the connection stands here afterwards.
    To(State),
    /// It is ignored: input is discarded, neither delivered nor answered.
    Discard,
    /// It is refused: a `Misuse`.
    Refuse,
    /// It cannot happen.
    Never,
}

/// All states, in the order of the table.
pub const STATES: [State; 5] = [State::Open, State::Closing, State::Answering, State::Failing, State::Closed];

impl State {
    /// The table.
    #[must_use]
    #[inline]
    pub const fn on(self, occurrence: Occurrence) -> Verdict {
        use Occurrence as O;
        use Verdict::{Discard, Never, Refuse, To};
        match (self, occurrence) {
            (Self::Open, O::Receive | O::Send) => To(Self::Open),
            // 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint
            // MUST send a Close frame in response."
            (Self::Open, O::ReceiveClose) => To(Self::Answering),
            // 7.1.7: fail the connection, with a Close where that is possible.
            (Self::Open, O::Violation) => To(Self::Failing),
            (Self::Open, O::SendClose) => To(Self::Closing),
            (Self::Open, O::Answered | O::Expired) => Never,

            (Self::Closing, O::Receive) => To(Self::Closing),
            // 7.1.4: both Close frames are exchanged. What breaks the protocol now cannot be answered any more.
            (Self::Closing, O::ReceiveClose | O::Violation | O::Expired) => To(Self::Closed),
            // 5.5.1: "The application MUST NOT send any more data frames after sending a Close frame."
            (Self::Closing, O::Send | O::SendClose) => Refuse,
            (Self::Closing, O::Answered) => Never,

            // 1.4, 5.5.1: "any further data received is discarded."
            (Self::Answering | Self::Failing, O::Receive | O::ReceiveClose | O::Violation) => Discard,
            (Self::Answering | Self::Failing, O::Send) => Refuse,
            // The application may choose the code and reason of the answer itself.
            (Self::Answering, O::SendClose) => To(Self::Closed),
            (Self::Failing, O::SendClose) => Refuse,
            (Self::Answering | Self::Failing, O::Answered) => To(Self::Closed),
            (Self::Answering | Self::Failing, O::Expired) => Never,

            (Self::Closed, O::Receive | O::ReceiveClose | O::Violation) => Discard,
            (Self::Closed, O::Send | O::SendClose) => Refuse,
            (Self::Closed, O::Answered | O::Expired) => Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Occurrence, STATES, State, Verdict};

    const OCCURRENCES: [Occurrence; 7] = [
        Occurrence::Receive,
        Occurrence::ReceiveClose,
        Occurrence::Violation,
        Occurrence::Send,
        Occurrence::SendClose,
        Occurrence::Answered,
        Occurrence::Expired,
    ];

    /// The table as a drawing, every state against every occurrence in the order above.
    #[test]
    fn every_state_against_every_occurrence() {
        let drawing: Vec<String> = STATES
            .iter()
            .map(|state| {
                OCCURRENCES
                    .iter()
                    .map(|&occurrence| match state.on(occurrence) {
                        Verdict::To(State::Open) => 'O',
                        Verdict::To(State::Closing) => 'g',
                        Verdict::To(State::Answering) => 'A',
                        Verdict::To(State::Failing) => 'F',
                        Verdict::To(State::Closed) => 'C',
                        Verdict::Discard => 'd',
                        Verdict::Refuse => 'x',
                        Verdict::Never => '-',
                    })
                    .collect()
            })
            .collect();
        assert_eq!(drawing, ["OAFOg--", "gCCxx-C", "dddxCC-", "dddxxC-", "dddxx--"]);
    }

    /// No way leads back to Open, and from every state Closed is within reach.
    #[test]
    fn the_way_leads_to_closed() {
        for state in STATES {
            let mut reached = vec![state];
            let mut at = 0;
            while at < reached.len() {
                for occurrence in OCCURRENCES {
                    if let Verdict::To(next) = reached[at].on(occurrence) {
                        assert!(next != State::Open || reached[at] == State::Open);
                        if !reached.contains(&next) {
                            reached.push(next);
                        }
                    }
                }
                at += 1;
            }
            assert!(reached.contains(&State::Closed));
        }
    }
}
