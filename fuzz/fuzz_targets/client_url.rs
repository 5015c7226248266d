//! Any path of a client's URL: every other reader finds the same client.
#![no_main]

use http::Uri;
use libfuzzer_sys::fuzz_target;
use tower_dcr::ClientUrl;
use tower_dcr::UrlTarget;
use url::Url;

fn is_unreserved(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fuzz_target!(|target: &[u8]| {
    let target = [b"/register/", target].concat();
    let Ok(uri) = Uri::try_from(target.as_slice()) else { return };
    if let UrlTarget::Client(id) = ClientUrl::new().read(&uri) {
        assert!(is_unreserved(&id), "{id:?}");
        assert!(id != "." && id != ".." && uri.path().ends_with(&format!("/{id}")), "{uri} is {id:?}");
        // The URL standard takes `.`, `..`, `%2e` and `\` out first.
        let url = Url::parse(&format!("http://as.example{uri}")).expect("it was a URI");
        assert_eq!(url.path(), uri.path(), "read otherwise by the URL standard");
        assert_eq!(url.path_segments().and_then(Iterator::last), Some(&*id));
        assert!(url.query_pairs().all(|(name, value)| name != "client_id" || value == id), "{uri} names two");
    }
    let mut in_query = ClientUrl::new();
    in_query.in_query = true;
    if let UrlTarget::Client(id) = in_query.read(&uri) {
        let url = Url::parse(&format!("http://as.example{uri}")).expect("it was a URI");
        let named: Vec<_> = url.query_pairs().filter(|(name, _)| name == "client_id").collect();
        assert!(named.len() == 1 && named[0].1 == id, "{uri} is {id:?}");
    }
});
