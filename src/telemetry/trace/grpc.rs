//! OTLP's one call as gRPC, which is the body that HTTP has in a frame, and a status behind it
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
//!
//! So one exporter serves both protocols, and there is one place to see what the collector has rejected.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Request, Response, StatusCode, Uri};

/// The call that takes spans.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";

/// What carries the same message over gRPC.
///
/// # Errors
/// It is too long for a frame, or goes nowhere.
pub fn request(request: Request<Bytes>) -> Result<Request<Bytes>, http::Error> {
    let (mut head, message) = request.into_parts();
    let mut uri = head.uri.into_parts();
    uri.path_and_query = Some(http::uri::PathAndQuery::from_static(EXPORT));
    head.uri = Uri::from_parts(uri)?;
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(TE, HeaderValue::from_static("trailers"));
    head.headers.remove(http::header::CONTENT_LENGTH);
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put(message);
    Ok(Request::from_parts(head, frame.freeze()))
}

/// The answer as HTTP would have it. Its status says whether another try may help, as OTLP has it for either
/// protocol.
pub fn response(
    head: &http::response::Parts,
    body: &Bytes,
    trailers: Option<&HeaderMap>,
) -> Answer {
    if head.status != StatusCode::OK {
        return answer(head.status, Bytes::new());
    }
    // One that has nothing to say has its status in the head.
    let told = |name| {
        let behind = trailers.and_then(|trailers| trailers.get(name));
        behind.or_else(|| head.headers.get(name)).and_then(|value| value.to_str().ok())
    };
    match told(STATUS) {
        Some("0") => match message(body) {
            Some(message) => answer(StatusCode::OK, message),
            None => answer(StatusCode::NOT_IMPLEMENTED, Bytes::new()),
        },
        status => {
            let again = matches!(status, Some("1" | "4" | "10" | "11" | "14" | "15"));
            let code =
                if again { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
            let status = status.unwrap_or("none");
            let said = told(MESSAGE).unwrap_or_default();
            answer(code, format!("grpc-status {status} {said}").into())
        }
    }
}

type Answer = Response<Bytes>;

fn answer(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// The one message of a body.
fn message(body: &Bytes) -> Option<Bytes> {
    let (prefix, _) = body.split_first_chunk::<PREFIX>()?;
    let [0, length @ ..] = *prefix else { return None };
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    (body.len() - PREFIX == length).then(|| body.slice(PREFIX..))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(status: u16) -> http::response::Parts {
        Response::builder().status(status).body(()).unwrap().into_parts().0
    }

    fn status(of: &str) -> HeaderMap {
        HeaderMap::from_iter([(STATUS.parse().unwrap(), of.parse().unwrap())])
    }

    #[test]
    fn a_status_says_whether_to_try_again() {
        let empty = Bytes::from_static(&[0; PREFIX]);
        for (code, expected) in
            [("0", 200), ("14", 503), ("4", 503), ("8", 400), ("16", 400), ("x", 400)]
        {
            let answer = response(&head(200), &empty, Some(&status(code)));
            assert_eq!(answer.status(), expected, "{code}");
        }
        assert_eq!(response(&head(404), &empty, None).status(), 404);
        assert_eq!(response(&head(200), &empty, None).status(), 400, "no status");
        let mut alone = head(200);
        alone.headers = status("14");
        assert_eq!(response(&alone, &Bytes::new(), None).status(), 503);
        let compressed = Bytes::from_static(&[1, 0, 0, 0, 0]);
        assert_eq!(response(&head(200), &compressed, Some(&status("0"))).status(), 501);
    }

    proptest! {
        #[test]
        fn what_is_framed_is_found_again(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let plain = Request::post("http://collector:4317/v1/traces").body(body.clone().into());
            let framed = request(plain.unwrap()).unwrap();
            prop_assert_eq!(framed.uri().path(), EXPORT);
            let answer = response(&head(200), framed.body(), Some(&status("0")));
            prop_assert_eq!(answer.body(), &Bytes::from(body));
        }

        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..40), code in "[ -~]{0,3}") {
            response(&head(200), &body.into(), Some(&status(&code)));
        }
    }
}
