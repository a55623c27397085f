//! The two halves of an exchange as tables: what is read, and what is written.
//!
//! ```text
//! reading   Head ──request──▶ Sized ───────────────────┐            RFC 9112 section 6
//!            ▲  └──────────▶ Chunked ──▶ Trailers ─────┤
//!            │  └──────────────── no body ─────────▶ Done
//!            └──────── the response has ended ────────┘     any ──fault, close──▶ Closed
//!
//! writing   Idle ──request──▶ Head ──final head──▶ Empty ────┐      RFC 9110 section 15
//!            ▲               ↺ interim     └─────▶ Sized ────┤      (Sized, Chunked, UntilClose:
//!            │                             └─────▶ Chunked ──┤       ↺ data)
//!            │                             └▶ UntilClose ────┤
//!            │                 └─ switch, tunnel ─▶ Switched │
//!            └────── the request has ended ────────── Done ◀─┘
//! ```

use crate::http1::chunked::Place;
use crate::http1::encode::BodyFraming;

/// Where the machine is in the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// Before or in a request head.
    Head,
    /// In a body of known length.
    Sized,
    /// In a body of chunks.
    Chunked(Place),
    /// Behind the last chunk.
    Trailers,
    /// The request is whole; the next one is not read before the response has ended.
    Done,
    /// Nothing is read any more.
    Closed,
}

/// Where the machine is in the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writing {
    /// There is no request to answer.
    Idle,
    /// The final head is due.
    Head,
    /// The head was sent; a body does not belong to it.
    Empty,
    /// The head was sent with a length.
    Sized,
    /// The head was sent; the body goes in chunks.
    Chunked,
    /// The head was sent; the body ends with the connection.
    UntilClose,
    /// The response has ended.
    Done,
    /// The connection belongs to another protocol.
    Switched,
}

/// What the driver asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Request,
    Interim,
    Head(BodyFraming),
    Data,
    End,
    Switch,
}

impl Writing {
    /// The table of the writing half. A pair that is not in it is a misuse.
    #[inline]
    pub(crate) const fn after(self, action: Action) -> Option<Self> {
        Some(match (self, action) {
            (Self::Idle, Action::Request) => Self::Head,
            (Self::Head, Action::Interim) => Self::Head,
            (Self::Head, Action::Head(BodyFraming::None)) => Self::Empty,
            (Self::Head, Action::Head(BodyFraming::Sized(_))) => Self::Sized,
            (Self::Head, Action::Head(BodyFraming::Chunked)) => Self::Chunked,
            (Self::Head, Action::Head(BodyFraming::UntilClose)) => Self::UntilClose,
            (Self::Head, Action::Head(BodyFraming::Tunnel) | Action::Switch) => Self::Switched,
            (Self::Sized | Self::Chunked | Self::UntilClose, Action::Data) => self,
            (Self::Empty | Self::Sized | Self::Chunked | Self::UntilClose, Action::End) => Self::Done,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, BodyFraming, Writing};

    #[test]
    fn every_pair_of_the_writing_table() {
        use Writing as W;
        let states = [W::Idle, W::Head, W::Empty, W::Sized, W::Chunked, W::UntilClose, W::Done, W::Switched];
        let actions = [
            Action::Request,
            Action::Interim,
            Action::Head(BodyFraming::None),
            Action::Head(BodyFraming::Sized(1)),
            Action::Head(BodyFraming::Chunked),
            Action::Head(BodyFraming::UntilClose),
            Action::Head(BodyFraming::Tunnel),
            Action::Data,
            Action::End,
            Action::Switch,
        ];
        let o = None;
        let s = Some;
        let table = [
            [s(W::Head), o, o, o, o, o, o, o, o, o],
            [
                o,
                s(W::Head),
                s(W::Empty),
                s(W::Sized),
                s(W::Chunked),
                s(W::UntilClose),
                s(W::Switched),
                o,
                o,
                s(W::Switched),
            ],
            [o, o, o, o, o, o, o, o, s(W::Done), o],
            [o, o, o, o, o, o, o, s(W::Sized), s(W::Done), o],
            [o, o, o, o, o, o, o, s(W::Chunked), s(W::Done), o],
            [o, o, o, o, o, o, o, s(W::UntilClose), s(W::Done), o],
            [o; 10],
            [o; 10],
        ];
        for (state, row) in states.into_iter().zip(table) {
            for (action, expected) in actions.into_iter().zip(row) {
                assert_eq!(state.after(action), expected, "{state:?} {action:?}");
            }
        }
    }
}
