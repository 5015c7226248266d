//! Evaluations in the extensions of responses.

use http::Response;

use crate::rules::Evaluation;

/// Puts an evaluation before those of the layers further in.
pub(crate) fn attach<B>(response: &mut Response<B>, evaluation: Evaluation) {
    match response.extensions_mut().get_mut::<Evaluation>() {
        Some(inner) => *inner = std::mem::take(inner).after(evaluation),
        None => drop(response.extensions_mut().insert(evaluation)),
    }
}
