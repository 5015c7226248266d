//! An issuer that signs tokens with its own key.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower_dcr::rules::Issuer;

pub(crate) struct Signer {
    name: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub(crate) fn new(name: &'static str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self { name, pair }
    }

    pub(crate) fn jwk_set(&self) -> Value {
        let (_, point) = self.pair.public_key().as_ref().split_first().unwrap();
        let (x, y) = point.split_at(32);
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": encode(x), "y": encode(y) }] })
    }

    pub(crate) fn issuer(&self) -> Issuer {
        Issuer::new(self.name, &self.jwk_set().to_string(), ["ES256"]).unwrap()
    }

    /// Returns a token with these claims, in addition to issuer and expiry.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut all = json!({ "iss": self.name, "exp": 4_000_000_000_u64 });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.sign_text(r#"{"alg":"ES256","kid":"k1"}"#, &all.to_string())
    }

    /// A token of exactly this header and payload.
    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}
