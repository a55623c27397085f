//! Conversations with the `h2` crate: an HTTP/2 written by other people, and with it the judge of our HPACK in both
//! directions.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request as Head, StatusCode, Version};
use proptest::prelude::*;
use ringgate::{App, Gateway, Request, Response, RunningGateway, post};
use ringgate_runtime::driver::DriverChoice;
use ringgate_runtime::sys::placement::Placement;
use ringgate_tests::gateway::drivers;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// What came as fields goes back as fields.
fn mirror(request: &Request) -> Response {
    let mut response = Response::text("mirrored");
    for (name, value) in request.fields() {
        let name = HeaderName::from_bytes(name).expect("the machine has checked it");
        let value = HeaderValue::from_bytes(value).expect("the machine has checked it");
        response = response.header_value(name, value);
    }
    response
}

async fn echo(mut request: Request) -> Response {
    request.body_mut().set_bytes_max(u64::MAX);
    Response::stream(request.into_body())
}

async fn trailers(mut request: Request) -> Response {
    let body = request.body_mut().collect().await.unwrap();
    let mut fields = request.body_mut().trailers().unwrap_or_default();
    fields.insert("x-length", HeaderValue::from(body.len()));
    Response::channel_with(body, fields)
}

/// A body and trailers, pushed.
trait ChannelWith {
    fn channel_with(body: Bytes, trailers: HeaderMap) -> Response;
}

impl ChannelWith for Response {
    fn channel_with(body: Bytes, trailers: HeaderMap) -> Self {
        Self::bytes(body).trailers(trailers)
    }
}

fn start(driver: DriverChoice) -> RunningGateway {
    let app = || App::new().route("/mirror", mirror).route("/echo", post(echo)).route("/trailers", post(trailers));
    Gateway::builder(move |_| app())
        .listen("127.0.0.1:0".parse().unwrap())
        .cores(Placement::Unpinned { count: 1 })
        .driver(driver)
        .start()
        .unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(gateway: &RunningGateway) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(gateway.addresses()[0].to_string()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

fn head(method: Method, path: &str) -> http::request::Builder {
    Head::builder().method(method).version(Version::HTTP_2).uri(format!("http://a.example{path}"))
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn bodies_go_both_ways_through_both_windows() {
    for driver in drivers() {
        let gateway = start(driver);
        runtime().block_on(async {
            let client = connect(&gateway).await;
            let exchanges = (0..20_usize).map(|number| {
                let mut client = client.clone();
                async move {
                    let whole: Vec<u8> = (0..number * 40_001).map(|byte| (byte * 31 + number) as u8).collect();
                    let request = head(Method::POST, "/echo").body(()).unwrap();
                    let (response, mut send) = client.send_request(request, false).unwrap();
                    let uploaded = whole.clone();
                    let upload = tokio::spawn(async move {
                        let mut rest = Bytes::from(uploaded);
                        while !rest.is_empty() {
                            send.reserve_capacity(rest.len());
                            let capacity = std::future::poll_fn(|context| send.poll_capacity(context)).await;
                            let granted = capacity.expect("the stream lives").unwrap();
                            send.send_data(rest.split_to(granted.min(rest.len())), false).unwrap();
                        }
                        send.send_data(Bytes::new(), true).unwrap();
                    });
                    let response = response.await.unwrap();
                    assert_eq!(response.status(), StatusCode::OK);
                    let mut body = response.into_body();
                    let mut received = Vec::new();
                    while let Some(piece) = body.data().await {
                        let piece = piece.unwrap();
                        received.extend_from_slice(&piece);
                        body.flow_control().release_capacity(piece.len()).unwrap();
                    }
                    upload.await.unwrap();
                    assert!(received == whole, "stream {number}");
                }
            });
            let tasks: Vec<_> = exchanges.map(|exchange| timeout(PATIENCE, exchange)).collect();
            let mut running = Vec::new();
            for task in tasks {
                running.push(tokio::spawn(task));
            }
            for task in running {
                task.await.unwrap().expect("in time");
            }
        });
        assert_eq!(gateway.stop(Duration::from_secs(5)).unwrap().cut, 0);
    }
}

#[test]
fn trailers_go_both_ways() {
    let gateway = start(DriverChoice::Auto);
    runtime().block_on(async {
        let mut client = connect(&gateway).await;
        let request = head(Method::POST, "/trailers").body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        send.send_data(Bytes::from_static(b"body"), false).unwrap();
        send.send_trailers(HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from(7))])).unwrap();
        let mut body = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
        let mut received = Vec::new();
        while let Some(piece) = body.data().await {
            received.extend_from_slice(&piece.unwrap());
        }
        let trailers = body.trailers().await.unwrap().expect("trailers");
        assert_eq!(
            (&received[..], &trailers["x-sum"], &trailers["x-length"]),
            (&b"body"[..], &HeaderValue::from(7), &HeaderValue::from(4))
        );
    });
    gateway.stop(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_drain_lets_streams_finish_and_tells_with_goaway() {
    let gateway = start(DriverChoice::Auto);
    let runtime = runtime();
    let (mut send, response) = runtime.block_on(async {
        let mut client = connect(&gateway).await;
        let (response, mut send) = client.send_request(head(Method::POST, "/echo").body(()).unwrap(), false).unwrap();
        send.send_data(Bytes::from_static(b"before "), false).unwrap();
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        (send, response)
    });
    let stop = std::thread::spawn(move || gateway.stop(Duration::from_secs(10)).unwrap());
    runtime.block_on(async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        send.send_data(Bytes::from_static(b"and after"), true).unwrap();
        let mut body = response.into_body();
        let mut received = Vec::new();
        while let Some(piece) = timeout(PATIENCE, body.data()).await.unwrap() {
            received.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(received, b"before and after");
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    assert_eq!(stop.join().unwrap().cut, 0);
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "x-[a-z0-9-]{1,30}",
        Just("user-agent".to_owned()),
        Just("accept".to_owned()),
        Just("authorization".to_owned()),
        Just("cache-control".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[!-~]([ -~]{0,60}[!-~])?", Just(String::new()), "[0-9]{1,4}"]
}

#[test]
fn any_head_survives_the_way_there_and_back() {
    let gateway = start(DriverChoice::Auto);
    let runtime = runtime();
    // One connection for all cases: the tables of both sides fill, evict and are indexed into.
    let client = RefCell::new(runtime.block_on(connect(&gateway)));
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(fields in proptest::collection::vec((name(), value()), 0..20))| {
        let mut request = head(Method::GET, "/mirror");
        let mut expected = HeaderMap::new();
        for (name, value) in &fields {
            request = request.header(name, value);
            expected.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        let response = runtime.block_on(async {
            let request = request.body(()).unwrap();
            let (response, _) = client.borrow_mut().send_request(request, true).unwrap();
            timeout(PATIENCE, response).await.unwrap().unwrap()
        });
        prop_assert_eq!(response.status(), StatusCode::OK);
        for name in expected.keys() {
            let sent: Vec<_> = expected.get_all(name).iter().collect();
            let received: Vec<_> = response.headers().get_all(name).iter().collect();
            prop_assert_eq!(sent, received);
        }
    });
    drop(client);
    gateway.stop(Duration::from_secs(5)).unwrap();
}
