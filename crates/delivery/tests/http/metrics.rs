//! What is counted of requests and streams, through the whole application.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use deed_delivery::metrics::HttpMetrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::support::*;

/// The lines of samples that are not 0, without buckets and sums.
fn counted(metrics: &HttpMetrics) -> Vec<String> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let is_count = |line: &&str| {
        let is_noise = line.starts_with('#') || line.contains("_bucket{") || line.contains("_sum");
        !is_noise && !line.ends_with(" 0")
    };
    let mut lines: Vec<String> = text.lines().filter(is_count).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Sends the requests one after the other and compares what was counted.
async fn check(fakes: Fakes, requests: Vec<TestRequest>, expected: &[&str]) {
    let metrics = fakes.metrics.clone();
    let api = fakes.into_api();
    for request in requests {
        answer(&api, request).await;
    }
    assert_eq!(counted(&metrics), expected);
}

#[actix_web::test]
async fn a_request_is_counted_by_the_pattern_of_its_route() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    let path = |n| format!("/users/{}", user_id(n));
    let head = TestRequest::with_uri(&path(4)).method(Method::HEAD);
    let requests = vec![
        get(&path(2)),
        get(&path(3)),
        get("/users/x"),
        head.insert_header(KEY),
    ];
    check(
        fakes,
        requests,
        &[
            "http_request_duration_seconds_count{method=\"GET\",route=\"/users/{id}\"} 3",
            "http_request_duration_seconds_count{method=\"HEAD\",route=\"/users/{id}\"} 1",
            "http_requests_total{method=\"GET\",route=\"/users/{id}\",status=\"2xx\"} 2",
            "http_requests_total{method=\"GET\",route=\"/users/{id}\",status=\"4xx\"} 1",
            "http_requests_total{method=\"HEAD\",route=\"/users/{id}\",status=\"2xx\"} 1",
        ],
    )
    .await;
}

#[actix_web::test]
async fn what_no_route_has_is_one_label() {
    let requests = (0..100)
        .flat_map(|n| {
            let method = Method::from_bytes(format!("BREW{n}").as_bytes()).unwrap();
            [
                get(&format!("/{n}/{n}?a={n}")),
                get("/livez").method(method),
                get(&format!("/docs/{n}")),
            ]
        })
        .collect();
    check(
        fakes(),
        requests,
        &[
            "http_request_duration_seconds_count{method=\"GET\",route=\"/docs/{file}\"} 100",
            "http_request_duration_seconds_count{method=\"GET\",route=\"unknown\"} 100",
            "http_request_duration_seconds_count{method=\"other\",route=\"/livez\"} 100",
            "http_requests_total{method=\"GET\",route=\"/docs/{file}\",status=\"4xx\"} 100",
            "http_requests_total{method=\"GET\",route=\"unknown\",status=\"4xx\"} 100",
            "http_requests_total{method=\"other\",route=\"/livez\",status=\"4xx\"} 100",
        ],
    )
    .await;
}

#[actix_web::test]
async fn panics_are_counted_wherever_they_happen() {
    let mut in_a_use_case = with_scopes(&["users:read"]);
    in_a_use_case.users.expect_find().returning(|_| panic!());
    check(
        in_a_use_case,
        vec![get(&format!("/users/{}", user_id(2)))],
        &[
            "http_panics_total 1",
            "http_request_duration_seconds_count{method=\"GET\",route=\"/users/{id}\"} 1",
            "http_requests_total{method=\"GET\",route=\"/users/{id}\",status=\"5xx\"} 1",
        ],
    )
    .await;
    let mut in_a_handler = with_scopes(&["actions:write"]);
    in_a_handler.ids = deed_domain::ports::MockIds::new();
    in_a_handler
        .ids
        .expect_time_ordered()
        .returning(|| panic!());
    let request = post("/actions", "{\"type\":\"echo\",\"input\":{}}");
    let request = request.insert_header(("X-Request-Id", "r"));
    let metrics = in_a_handler.metrics.clone();
    answer(&in_a_handler.into_api(), request).await;
    assert!(counted(&metrics).contains(&"http_panics_total 1".to_owned()));
}

#[actix_web::test]
async fn streams_and_their_events_are_counted() {
    let mut fakes = with_scopes(&["actions:read"]);
    serve_log(&mut fakes, log());
    sleep_soundly(&mut fakes);
    let path = format!("/actions/{}/events", action_id(1));
    let resumed = get(&path).insert_header(("Last-Event-ID", "3"));
    let at_its_end = get(&path).insert_header(("Last-Event-ID", "5"));
    let headers_alone = get(&path).method(Method::HEAD);
    check(
        fakes,
        vec![get(&path), resumed, at_its_end, headers_alone],
        &[
            "http_request_duration_seconds_count{method=\"GET\",route=\"/actions/{id}/events\"} 3",
            "http_request_duration_seconds_count{method=\"HEAD\",route=\"/actions/{id}/events\"} 1",
            "http_requests_total{method=\"GET\",route=\"/actions/{id}/events\",status=\"2xx\"} 3",
            "http_requests_total{method=\"HEAD\",route=\"/actions/{id}/events\",status=\"2xx\"} 1",
            "stream_events_sent_total 7",
            "streams_ended_total{reason=\"done\"} 2",
            "streams_opened_total 2",
            "streams_resumed_total 1",
        ],
    )
    .await;
}
