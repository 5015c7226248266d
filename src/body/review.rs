//! Reviews on their way out.

use http::Response;

use crate::policy::Review;

/// Puts a review before those of the layers further in.
pub(crate) fn attach<B>(response: &mut Response<B>, review: Review) {
    match response.extensions_mut().get_mut::<Review>() {
        Some(inner) => *inner = std::mem::take(inner).after(review),
        None => drop(response.extensions_mut().insert(review)),
    }
}
