//! WebSocket handlers that do with each message what it says, in every way that there is to receive and to send.

use futures_core::Stream;
use futures_sink::Sink;
use ringgate::{
    blocking,
    websocket::{CloseCode, Kind, Message, SocketError, WebSocket},
};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    thread,
    time::Duration,
};

/// What a message asks for: `number think_ms replies manner`.
struct Order {
    number: usize,
    think: Duration,
    replies: usize,
    manner: char,
}

impl Order {
    fn of(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        Self {
            number: words[0].parse().expect("an order"),
            think: Duration::from_millis(words[1].parse().expect("an order")),
            replies: words[2].parse().expect("an order"),
            manner: words[3].chars().next().expect("an order"),
        }
    }

    fn reply(&self, part: usize) -> String {
        format!("{}.{part}", self.number)
    }
}

/// Does as it is told.
pub async fn obeys(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    while let Some(message) = socket.recv().await {
        let message = message?;
        let order = Order::of(message.to_text().expect("an order"));
        core.handle().sleep(order.think).await;
        for part in 0..order.replies {
            let reply = order.reply(part);
            match order.manner {
                'f' => {
                    let mut writer = socket.begin(Kind::Text)?;
                    writer.write(&reply[..1]).await?;
                    core.handle().sleep(Duration::from_millis(1)).await;
                    writer.write(&reply[1..]).await?;
                    writer.finish().await?;
                }
                's' => {
                    poll_fn(|cx| Pin::new(&mut socket).poll_ready(cx)).await?;
                    Pin::new(&mut socket).start_send(Message::from(reply))?;
                    poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await?;
                }
                _ => socket.send(reply).await?,
            }
        }
        if order.manner == 'c' {
            socket.close(CloseCode::new(4999).expect("a code"), "enough")?;
        }
    }
    Ok(())
}

/// The same with halves: one task listens, and thinks, and the other way to receive.
pub async fn obeys_in_a_task(socket: WebSocket) -> Result<(), SocketError> {
    let handle = socket.core().handle().clone();
    let (mut sender, mut receiver) = socket.split();
    let task = handle.clone().spawn("obeys", async move {
        while let Some(message) = poll_fn(|cx| Pin::new(&mut receiver).poll_next(cx)).await {
            let message = message?;
            let order = Order::of(message.to_text().expect("an order"));
            handle.sleep(order.think).await;
            for part in 0..order.replies {
                sender.send(order.reply(part)).await?;
            }
            if order.manner == 'c' {
                sender.close(CloseCode::new(4999).expect("a code"), "enough")?;
            }
        }
        Ok(())
    });
    task.await.expect("an order")
}

/// Takes pieces, and gives up each wait after a moment.
pub async fn obeys_by_pieces(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    let mut whole = Vec::new();
    loop {
        let piece = {
            let (mut wait, mut sleep) =
                (pin!(socket.recv_piece()), pin!(core.handle().sleep(Duration::from_millis(1))));
            poll_fn(|cx| match wait.as_mut().poll(cx) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
            })
            .await
        };
        let Some(piece) = piece else { continue };
        let Some(piece) = piece else { return Ok(()) };
        let piece = piece?;
        whole.extend_from_slice(&piece.bytes);
        if piece.last {
            let order = Order::of(std::str::from_utf8(&whole).expect("an order"));
            whole.clear();
            core.handle().sleep(order.think).await;
            for part in 0..order.replies {
                socket.send(order.reply(part)).await?;
            }
            if order.manner == 'c' {
                socket.close(CloseCode::new(4999).expect("a code"), "enough")?;
            }
        }
    }
}

/// On a thread.
pub fn obeys_blocking(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.next() {
        let message = message?;
        let order = Order::of(message.to_text().expect("an order"));
        thread::sleep(order.think);
        for part in 0..order.replies {
            let reply = order.reply(part);
            if order.manner == 'f' {
                let mut writer = socket.begin(Kind::Text)?;
                writer.write(&reply[..1])?;
                writer.write(&reply[1..])?;
                writer.finish()?;
            } else {
                socket.send(reply)?;
            }
        }
        if order.manner == 'c' {
            socket.close(CloseCode::new(4999).expect("a code"), "enough")?;
        }
    }
    Ok(())
}

/// The same on a thread of its own, by pieces.
pub fn obeys_in_a_thread(socket: blocking::WebSocket) {
    let (mut sender, mut receiver) = socket.split();
    thread::spawn(move || {
        let mut whole = Vec::new();
        while let Some(piece) = receiver.recv_piece() {
            let piece = piece?;
            whole.extend_from_slice(&piece.bytes);
            if piece.last {
                let order = Order::of(std::str::from_utf8(&whole).expect("an order"));
                whole.clear();
                thread::sleep(order.think);
                for part in 0..order.replies {
                    sender.send(order.reply(part))?;
                }
                if order.manner == 'c' {
                    sender.close(CloseCode::new(4999).expect("a code"), "enough")?;
                }
            }
        }
        Ok::<_, SocketError>(())
    });
}
