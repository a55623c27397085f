//! What goes out: one send at a time, of what windows and priorities allow.

use crate::{
    conn::{
        http2::Driver,
        wire::{Gone, Wire},
    },
    core::Core,
    error::BodyError,
};
use ringgate_runtime::net::ByteStream;
use std::task::{Context, Poll};

impl Driver {
    /// Sends what windows and priorities allow: one send at a time, and then the next.
    pub(super) fn send<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Result<(), Gone> {
        let output_bytes_max = wire.core().shared.config.limits.output_bytes_max;
        // What the protocol has to say waits for the send in flight too, also where no stream does.
        self.machine.poll_output(self.buf.tail());
        loop {
            if wire.stream.is_sending() {
                if self.live == 0 && self.buf.is_empty() {
                    // Nothing waits for it: no need to be woken.
                    return Ok(());
                }
                match wire.stream.poll_sent(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Err(_)) => return Err(Gone),
                    Poll::Ready(Ok(())) => {}
                }
            }
            let is_full = self.fill(&wire.link.core, output_bytes_max);
            if self.buf.is_empty() {
                return Ok(());
            }
            self.send_begun = wire.now();
            self.send_deadline = wire.send_allowance(self.buf.len());
            wire.stream.start_send(std::mem::replace(&mut self.buf, wire.core().handle().take_send_buf()));
            if !is_full {
                return Ok(());
            }
        }
    }

    /// Collects what is to go out; true when there is more than may wait at once.
    fn fill(&mut self, core: &Core, output_bytes_max: usize) -> bool {
        self.machine.poll_output(self.buf.tail());
        let mut room = output_bytes_max.saturating_sub(self.buf.len());
        while let Some(grant) = self.machine.next_data(self.buf.tail(), room) {
            room -= grant.length;
            let live = self.streams.get_mut(grant.stream.slot()).and_then(Option::as_mut);
            let Some(transfer) = live.and_then(|live| live.transfer.as_mut()) else {
                unreachable!("what was offered stays until it is granted");
            };
            transfer.pieces.send(grant.length, &mut self.buf);
            if let Some(outbound) = &transfer.outbound {
                outbound.sent(grant.length);
            }
            if grant.end_stream {
                self.end(core, grant.stream, BodyError::Disconnected);
            } else if transfer.pieces.len() == 0 && transfer.trailers.is_some() {
                self.trailers(core, grant.stream);
            }
        }
        room == 0
    }
}
