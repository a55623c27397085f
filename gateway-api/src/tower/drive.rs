//! An executor on somebody else's loop.

use crate::site::Site;
use ringgate_runtime::executor::{Executor, Turn};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::Duration,
};

impl Site {
    /// Drives the executor of this site from a loop that is not ours, so that everything its handlers can do works there:
    /// timers, spawned tasks, sockets, listeners of the site's own. To be spawned on the loop's local tasks; it ends only
    /// when the driver of the executor fails. Dropped, it ends the executor's tasks, and who waits for the executor waits in
    /// vain: it should live as long as connections of the host do.
    ///
    /// Each time the host has polled a handler or a body, one turn follows; what was polled in the same round of its loop
    /// shares it. That holds for every site on this executor, whichever of them drives.
    ///
    /// `wait` is that loop's way to wait: it is done when [`Executor::readiness`] is readable, or after the time given,
    /// whichever is first, or for any other reason.
    ///
    /// ```
    /// use ringgate::{App, Config, Request, Site};
    /// use ringgate_runtime::executor::{Executor, ExecutorConfig};
    /// use std::time::Duration;
    /// use tokio::io::unix::AsyncFd;
    ///
    /// /// Waits as tokio does.
    /// async fn drive(site: Site, executor: Executor) -> std::io::Result<()> {
    ///     #[allow(deprecated, reason = "what replaces it is unsafe; with a descriptor that it owns this one is sound")]
    ///     let ready = AsyncFd::new(executor.readiness()?)?;
    ///     site.drive(executor, async |timeout: Option<Duration>| {
    ///         let readable = async {
    ///             if let Ok(mut guard) = ready.readable().await {
    ///                 guard.clear_ready();
    ///             }
    ///         };
    ///         let _ = tokio::time::timeout(timeout.unwrap_or(Duration::MAX), readable).await;
    ///     })
    ///     .await
    /// }
    ///
    /// let executor = Executor::new(ExecutorConfig::default())?;
    /// let site = Site::new(&executor.handle(), Config::default(), |_| {
    ///     App::new().route("/slow", async |request: Request| {
    ///         request.handle().sleep(Duration::from_millis(5)).await;
    ///         "done\n"
    ///     })
    /// });
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// tokio::task::LocalSet::new().block_on(&runtime, async {
    ///     tokio::task::spawn_local(drive(site.clone(), executor));
    ///     let request = http::Request::get("/slow").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    ///     let response = tower_service::Service::call(&mut site.clone(), request).await.unwrap();
    ///     assert_eq!(response.status(), 200);
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Executor::turn`].
    pub async fn drive<W>(&self, mut executor: Executor, mut wait: W) -> io::Result<()>
    where
        W: AsyncFnMut(Option<Duration>),
    {
        let handle = executor.handle();
        // Between turns other threads write the descriptor only for a loop that is known to wait for it.
        drop(executor.readiness()?);
        loop {
            let timeout = match executor.turn(Some(Duration::ZERO))? {
                Turn::Again => {
                    handle.yield_now().await;
                    continue;
                }
                Turn::Until(deadline) => Some(deadline.since(handle.now())),
                Turn::Idle => None,
            };
            let mut waiting = pin!(wait(timeout));
            poll_fn(|cx| match handle.poll_nudge(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => waiting.as_mut().poll(cx),
            })
            .await;
        }
    }
}
