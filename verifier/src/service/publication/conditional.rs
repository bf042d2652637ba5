//! HTTP dates and conditional requests (RFC 9110 §5.6.7, §13).

use std::sync::LazyLock;

use hyper::{
    HeaderMap,
    header::{IF_MODIFIED_SINCE, IF_NONE_MATCH},
};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::OwnedFormatItem};

use super::shelf::Item;
use crate::store::Seconds;

static IMF_FIXDATE: LazyLock<OwnedFormatItem> = LazyLock::new(|| {
    time::format_description::parse_owned::<2>(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT",
    )
    .expect("a format that a test runs")
});

/// `Sun, 06 Nov 1994 08:49:37 GMT`; none for a time that has no such form.
pub(super) fn http_date(at: Seconds) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(at)
        .ok()?
        .format(&*IMF_FIXDATE)
        .ok()
}

fn parse_http_date(text: &str) -> Option<Seconds> {
    PrimitiveDateTime::parse(text, &*IMF_FIXDATE)
        .ok()
        .map(|at| at.assume_utc().unix_timestamp())
}

/// Whether the client has this very item. `If-None-Match` decides where it is
/// there; a date that cannot be read is no condition (§13.1.3).
pub(super) fn is_known(headers: &HeaderMap, item: &Item) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(IF_NONE_MATCH) {
        return text(IF_NONE_MATCH).is_some_and(|tags| {
            tags.split(',').map(str::trim).any(|tag| {
                // Weak comparison (§8.8.3.2).
                tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == item.etag
            })
        });
    }
    text(IF_MODIFIED_SINCE)
        .and_then(parse_http_date)
        .is_some_and(|since| item.last_modified <= since)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const AT: Seconds = 784_111_777;

    fn item() -> Item {
        Item::new(vec![1], "text/plain", AT, AT + 60)
    }

    fn known(name: hyper::header::HeaderName, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        is_known(&headers, &item())
    }

    #[test]
    fn dates_are_those_of_rfc_9110() {
        assert_eq!(
            http_date(AT).as_deref(),
            Some("Sun, 06 Nov 1994 08:49:37 GMT")
        );
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(AT));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn a_client_that_has_it_is_told_so() {
        let tag = item().etag;
        assert!(known(IF_NONE_MATCH, &tag));
        assert!(known(IF_NONE_MATCH, &format!("\"x\", W/{tag}")));
        assert!(known(IF_NONE_MATCH, "*"));
        assert!(!known(IF_NONE_MATCH, "\"x\""));
        assert!(known(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!known(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT"));
        assert!(!known(IF_MODIFIED_SINCE, "never"));
    }

    #[test]
    fn the_tag_decides_before_the_date() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
        headers.insert(
            IF_MODIFIED_SINCE,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        );
        assert!(!is_known(&headers, &item()));
    }
}
