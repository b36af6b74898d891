//! Which HTTP requests are answered: their host, against DNS rebinding
//! (CVE-2018-5702), and their origin (reference: etcd's `accessController`).
//! gRPC is not concerned: it is served on HTTP/2 alone, which a browser does not
//! speak without TLS.

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::body::{PLAIN, ResponseBody, text};
use crate::security::Security;

/// The rules of one server.
pub(crate) struct Access {
    /// Empty: all.
    hosts: Vec<String>,
    /// Empty: all.
    origins: Vec<HeaderValue>,
}

const CORS_METHODS: &str = "POST, GET, OPTIONS, PUT, DELETE";
const CORS_HEADERS: &str = "accept, content-type, authorization";

impl Access {
    pub(crate) fn new(security: &Security) -> Self {
        // An origin that is no header can come in none.
        let origin = |origin: &String| HeaderValue::from_str(origin).ok();
        Access {
            hosts: security.host_whitelist.clone(),
            origins: security.cors.iter().filter_map(origin).collect(),
        }
    }

    /// The answer to a request that is not let through, or that asks for
    /// nothing but these rules.
    pub(crate) fn answer<B>(
        &self,
        request: &Request<B>,
        tls: bool,
    ) -> Option<Response<ResponseBody>> {
        if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
            let why = "400 Bad Request: too many Host headers";
            return Some(text(StatusCode::BAD_REQUEST, PLAIN, why));
        }
        if !tls && !self.allows_host(request) {
            return Some(misdirected(request));
        }
        (request.method() == Method::OPTIONS).then(|| text(StatusCode::OK, PLAIN, ""))
    }

    fn allows_host<B>(&self, request: &Request<B>) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|host| host == host_of(request))
    }

    /// The origin that a browser may be told; `None`: none.
    pub(crate) fn origin<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        if self.origins.is_empty() {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = request.headers().get(header::ORIGIN)?;
        self.origins.contains(origin).then(|| origin.clone())
    }
}

/// Lets browsers show the answer to pages of `origin`.
pub(crate) fn allow_origin<B>(response: &mut Response<B>, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(CORS_METHODS)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(CORS_HEADERS)),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (Some(name), value)));
}

/// The host that a request names, without its port.
fn host_of<B>(request: &Request<B>) -> &str {
    let from_header = || request.headers().get(header::HOST)?.to_str().ok();
    let named = request.uri().authority().map(http::uri::Authority::as_str).or_else(from_header);
    let named = named.unwrap_or_default();
    let without_user = named.rsplit_once('@').map_or(named, |(_, host)| host);
    match without_user.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => without_user.split_once(':').map_or(without_user, |(host, _)| host),
    }
}

fn misdirected<B>(request: &Request<B>) -> Response<ResponseBody> {
    let host = host_of(request);
    tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
    let why = format!(
        "The request reached this server under the host name {host:?}, which it does not know.\n\n\
         A web page can point a name of its own at this address and have your browser send \
         requests here (DNS rebinding, CVE-2018-5702); so plain HTTP is answered under known names \
         only. Either\n\
         - use HTTPS, where every name is taken, or\n\
         - add the name to the list: --host-whitelist={host}\n"
    );
    text(StatusCode::MISDIRECTED_REQUEST, PLAIN, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(hosts: &[&str], origins: &[&str]) -> Access {
        let own = |all: &[&str]| all.iter().map(|&it| it.to_owned()).collect();
        let security =
            Security { host_whitelist: own(hosts), cors: own(origins), ..Security::default() };
        Access::new(&security)
    }

    fn get(host: &str) -> Request<()> {
        Request::get("/version").header(header::HOST, host).body(()).expect("a request")
    }

    fn refused(access: &Access, request: &Request<()>, tls: bool) -> bool {
        let answer = access.answer(request, tls);
        answer.is_some_and(|answer| answer.status() == StatusCode::MISDIRECTED_REQUEST)
    }

    #[test]
    fn hosts_that_are_not_listed_are_refused_without_tls() {
        let some = access(&["a.example", "127.0.0.1", "::1"], &[]);
        for known in ["a.example", "a.example:2379", "127.0.0.1:1", "[::1]:2379", "[::1]"] {
            assert!(!refused(&some, &get(known), false), "{known}");
        }
        for strange in
            ["b.example", "a.example.b", "", "localhost:2379", "[::2]:1", "[", "a.example@b"]
        {
            assert!(refused(&some, &get(strange), false), "{strange}");
            assert!(!refused(&some, &get(strange), true), "{strange} over TLS");
        }
        let nobody = Request::get("/version").body(()).expect("a request");
        assert!(refused(&some, &nobody, false));
        assert!(!refused(&access(&[], &[]), &get("anything"), false));
    }

    #[test]
    fn a_request_has_one_host() {
        let request = Request::get("/version").header(header::HOST, "a").header(header::HOST, "b");
        let request = request.body(()).expect("a request");
        let answer = access(&["a"], &[]).answer(&request, false).expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn the_authority_of_http2_counts() {
        let request = Request::get("http://b.example:1/x").body(()).expect("a request");
        assert!(refused(&access(&["a.example"], &[]), &request, false));
        assert!(!refused(&access(&["b.example"], &[]), &request, false));
    }

    #[test]
    fn origins_are_told_back() {
        let told = |access: &Access, origin: Option<&str>| {
            let mut request = Request::get("/");
            if let Some(origin) = origin {
                request = request.header(header::ORIGIN, origin);
            }
            let mut response = text(StatusCode::OK, PLAIN, "");
            allow_origin(&mut response, access.origin(&request.body(()).expect("a request")));
            let name = header::ACCESS_CONTROL_ALLOW_ORIGIN;
            response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(told(&access(&[], &[]), None).as_deref(), Some("*"));
        let some = access(&[], &["https://a.example"]);
        assert_eq!(told(&some, Some("https://a.example")).as_deref(), Some("https://a.example"));
        assert_eq!(told(&some, Some("https://b.example")), None);
        assert_eq!(told(&some, None), None);
    }

    #[test]
    fn a_question_about_the_rules_is_answered_with_nothing() {
        let request = Request::options("/v3/kv/put").body(()).expect("a request");
        let answer = access(&[], &[]).answer(&request, false).expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
