//! JSON Web Tokens that a manifest signs itself.
//!
//! Source: RFC 7515, RFC 7518, RFC 7519, and the token library behind airbyte-cdk for what its header and claims look like (measured):
//! the header's members are sorted, the claims stand as written with the times behind them, and texts are ASCII.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use ring::signature;
use ring::signature::EcdsaKeyPair;
use ring::signature::Ed25519KeyPair;
use ring::signature::RsaKeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::authenticator::JwtAlgorithm;
use crate::connector::component::authenticator::JwtAuthenticator;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Nested;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::reading::ReadingError;
use crate::ids::Entropy;
use crate::secret::Secret;

/// Members of the header that have fields of their own.
const HEADERS_RESERVED: &[&str] = &["kid", "alg", "typ", "cty"];
/// Claims that have fields of their own, or are made here.
const CLAIMS_RESERVED: &[&str] = &["iss", "sub", "aud", "iat", "exp", "nbf"];

/// A token but for its times.
#[derive(Debug)]
pub struct JwtPlan {
    header: BTreeMap<String, Value>,
    claims: Map<String, Value>,
    algorithm: JwtAlgorithm,
    key: Secret<String>,
    seconds: u32,
    prefix: Option<String>,
}

impl JwtPlan {
    /// The token that `jwt` describes. `scope` has `config` with its secrets.
    ///
    /// # Errors
    /// When an expression fails, or a reserved name is set.
    pub fn new(jwt: &JwtAuthenticator, scope: &Scope) -> Result<Self, ReadingError> {
        let value = |expression: &Option<Expression>, field| {
            expression.as_ref().map(|expression| expression.value(scope)).transpose().map_err(ReadingError::expression(field))
        };
        let mut header: BTreeMap<_, _> =
            more(&jwt.additional_jwt_headers, "additional_jwt_headers", HEADERS_RESERVED, scope)?.into_iter().collect();
        header.insert("typ".to_owned(), "JWT".into());
        header.insert("alg".to_owned(), jwt.algorithm.as_str().into());
        if let Some(own) = &jwt.jwt_headers {
            for (name, expression) in [("kid", &own.kid), ("typ", &own.typ), ("cty", &own.cty)] {
                if let Some(value) = value(expression, "jwt_headers")?.filter(|value| name != "typ" || !value.is_null() && value != "") {
                    header.insert(name.to_owned(), value);
                }
            }
        }
        let mut claims = more(&jwt.additional_jwt_payload, "additional_jwt_payload", CLAIMS_RESERVED, scope)?;
        if let Some(own) = &jwt.jwt_payload {
            for (name, expression) in [("iss", &own.iss), ("sub", &own.sub), ("aud", &own.aud)] {
                if let Some(value) = value(expression, "jwt_payload")? {
                    claims.insert(name.to_owned(), value);
                }
            }
        }
        let mut key = Secret::new(jwt.secret_key.text(scope).map_err(ReadingError::expression("secret_key"))?);
        let encodes = jwt.base64_encode_secret_key.as_ref().map(|encodes| encodes.truth(scope)).transpose();
        if encodes.map_err(ReadingError::expression("base64_encode_secret_key"))?.unwrap_or(false) {
            key = Secret::new(BASE64.encode(key.expose().as_bytes()));
        }
        let prefix = jwt.header_prefix.as_ref().map(|prefix| prefix.text(scope)).transpose();
        let prefix = prefix.map_err(ReadingError::expression("header_prefix"))?.filter(|prefix| !prefix.is_empty());
        Ok(JwtPlan { header, claims, algorithm: jwt.algorithm, key, seconds: jwt.token_duration, prefix })
    }

    /// The signed token, behind its prefix.
    ///
    /// # Errors
    /// When the key is none for the algorithm.
    pub fn sign(&self, now: Timestamp, entropy: &Entropy) -> Result<Secret<String>, ReadingError> {
        let mut claims = self.claims.clone();
        let at = now.as_second();
        claims.insert("iat".to_owned(), at.into());
        claims.insert("exp".to_owned(), (at + i64::from(self.seconds)).into());
        claims.insert("nbf".to_owned(), at.into());
        let part = |json: String| BASE64URL_NOPAD.encode(ascii(&json).as_bytes());
        let header = serde_json::to_string(&self.header).unwrap_or_default();
        let signed = format!("{}.{}", part(header), part(Value::Object(claims).to_string()));
        let unusable = |why| ReadingError::Signing { algorithm: self.algorithm.as_str(), why };
        let signature = signature(self.algorithm, self.key.expose(), signed.as_bytes(), entropy).map_err(unusable)?;
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        Ok(Secret::new(match &self.prefix {
            Some(prefix) => format!("{prefix} {token}"),
            None => token,
        }))
    }
}

/// Further members of the header or the claims; those without a value are null.
fn more(nested: &Option<Nested>, field: &'static str, reserved: &[&str], scope: &Scope) -> Result<Map<String, Value>, ReadingError> {
    let mut found = Map::new();
    let Some(Nested::Map(members)) = nested else { return Ok(found) };
    for (name, value) in members {
        let name = name.text(scope).map_err(ReadingError::expression(field))?;
        if reserved.contains(&name.as_str()) {
            return Err(ReadingError::Value { field, found: name, needs: "other names: this one has a field of its own" });
        }
        found.insert(name, value.value(scope, Literals::Any).map_err(ReadingError::expression(field))?);
    }
    Ok(found)
}

/// The signature of `message`; the reason when there can be none.
fn signature(algorithm: JwtAlgorithm, key: &str, message: &[u8], entropy: &Entropy) -> Result<Vec<u8>, &'static str> {
    const REFUSED: &str = "the key is no private key for it";
    let mac = |algorithm| Ok(hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), message).as_ref().to_vec());
    let rsa = |padding: &'static dyn signature::RsaEncoding| {
        let pair = match private_key(key)? {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            _ => return Err(REFUSED),
        };
        let pair = pair.map_err(|_| REFUSED)?;
        let mut signed = vec![0; pair.public().modulus_len()];
        pair.sign(padding, entropy.generator(), message, &mut signed).map_err(|_| REFUSED)?;
        Ok(signed)
    };
    let ecdsa = |algorithm, curve: &[u8]| {
        let pkcs8 = match private_key(key)? {
            PrivateKeyDer::Pkcs8(der) => der.secret_pkcs8_der().to_vec(),
            PrivateKeyDer::Sec1(der) => pkcs8_of_sec1(der.secret_sec1_der(), curve),
            _ => return Err(REFUSED),
        };
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, entropy.generator()).map_err(|_| REFUSED)?;
        Ok(pair.sign(entropy.generator(), message).map_err(|_| REFUSED)?.as_ref().to_vec())
    };
    match algorithm {
        JwtAlgorithm::Hs256 => mac(hmac::HMAC_SHA256),
        JwtAlgorithm::Hs384 => mac(hmac::HMAC_SHA384),
        JwtAlgorithm::Hs512 => mac(hmac::HMAC_SHA512),
        JwtAlgorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
        JwtAlgorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
        JwtAlgorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
        JwtAlgorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
        JwtAlgorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
        JwtAlgorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
        JwtAlgorithm::Es256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, CURVE_P256),
        JwtAlgorithm::Es384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, CURVE_P384),
        JwtAlgorithm::EdDsa => match private_key(key)? {
            PrivateKeyDer::Pkcs8(der) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| REFUSED)?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            _ => Err(REFUSED),
        },
    }
}

/// The private key in a PEM text.
fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    if pem.contains("ENCRYPTED") {
        return Err("the key is encrypted; give it without a passphrase");
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "the key is no PEM text with a private key")
}

/// The object identifier of the P-256 curve (RFC 5480, section 2.1.1.1), in DER.
const CURVE_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The object identifier of the P-384 curve, in DER.
const CURVE_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// The object identifier of elliptic curve keys, in DER.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A key of RFC 5915 in the envelope of RFC 5208.
fn pkcs8_of_sec1(sec1: &[u8], curve: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[EC_PUBLIC_KEY, curve].concat());
    der(0x30, &[&[0x02, 0x01, 0x00][..], &algorithm, &der(0x04, sec1)].concat())
}

/// A value in DER. Keys are shorter than 64 KiB.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let length: &[u8] = match content.len() {
        0..=0x7f => &[low],
        0x80..=0xff => &[0x81, low],
        _ => &[0x82, high, low],
    };
    [&[tag][..], length, content].concat()
}

/// A JSON text with every character beyond ASCII escaped. They stand in texts alone.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::component::authenticator::Authenticator;
    use crate::connector::reading::support::NOW;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    /// Keys that were made for these tests and are used nowhere else.
    const RSA_PKCS1: &str = include_str!("../../../tests/fixtures/keys/rsa_pkcs1.pem");
    const RSA_PKCS8: &str = include_str!("../../../tests/fixtures/keys/rsa_pkcs8.pem");
    const EC_SEC1: &str = include_str!("../../../tests/fixtures/keys/ec_sec1.pem");
    const EC_PKCS8: &str = include_str!("../../../tests/fixtures/keys/ec_pkcs8.pem");
    const ED25519: &str = include_str!("../../../tests/fixtures/keys/ed25519.pem");

    fn token(members: &str, config: Value) -> Result<String, ReadingError> {
        let jwt = component(&format!("{{type: JwtAuthenticator, {members}}}"), "HttpRequester", "authenticator");
        let Authenticator::JwtAuthenticator(jwt) = jwt else { panic!() };
        let plan = JwtPlan::new(&jwt, &scope(&config))?;
        assert!(!format!("{plan:?}").contains("s3cret"));
        Ok(plan.sign(NOW.parse().unwrap(), &Entropy::system())?.expose().clone())
    }

    /// Tokens are those of the reference engine, byte for byte (measured): sorted header, claims as written, ASCII, nulls kept.
    #[test]
    fn tokens_are_those_of_the_reference_engine() {
        let config = json!({"k": "secret", "kid": "k1", "j": "{\"k\":\"inner\"}"});
        let check = |members: &str, expected: &str| assert_eq!(token(members, config.clone()).unwrap(), expected);
        check(
            "algorithm: HS256, secret_key: \"{{ config['k'] }}\"",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3OTU1MTQ0MDAsImV4cCI6MTc5NTUxNTYwMCwibmJmIjoxNzk1NTE0NDAwfQ.OmUHlOXrlcCyRkzBoLMvMXnTzGuQ0ZrJk-9OhhB1jwE",
        );
        check(
            "algorithm: HS384, token_duration: 60, secret_key: \"{{ json_loads(config['j'])['k'] }}\"",
            "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3OTU1MTQ0MDAsImV4cCI6MTc5NTUxNDQ2MCwibmJmIjoxNzk1NTE0NDAwfQ.TKrUtTtMWw8sgtldl5ftqI4X_Wl_LDjL27jGJYIOcdyKQv_AN3fT-AxQ157hxfXK",
        );
        let full =
            "algorithm: HS512, base64_encode_secret_key: true, header_prefix: Bearer, token_duration: 0, secret_key: \"{{ config['k'] }}\",
            jwt_headers: {kid: \"{{ config['kid'] }}\"}, jwt_payload: {iss: a, sub: bé, aud: \"{{ ['x','y'] }}\"},
            additional_jwt_headers: {zz: \"{{ 1 }}\", aa: true, nn: \"{{ config['no'] }}\"},
            additional_jwt_payload: {n: \"{{ 5 }}\", none: \"{{ config['no'] }}\"}";
        let token = token(full, config.clone()).unwrap();
        let part =
            |index| String::from_utf8(BASE64URL_NOPAD.decode(token.split(['.', ' ']).nth(index).unwrap().as_bytes()).unwrap()).unwrap();
        assert_eq!(part(1), r#"{"aa":true,"alg":"HS512","kid":"k1","nn":null,"typ":"JWT","zz":1}"#);
        let times = r#""iat":1795514400,"exp":1795514400,"nbf":1795514400"#;
        assert_eq!(part(2), format!(r#"{{"n":5,"none":null,"iss":"a","sub":"b\u00e9","aud":["x","y"],{times}}}"#));
        assert!(token.starts_with("Bearer "));
    }

    /// Reserved names, keys of another kind and encrypted keys are refused by what is wrong with them.
    #[test]
    fn unusable_keys_are_refused() {
        let refused = |members: &str| token(members, json!({"k": "s3cret"})).unwrap_err().to_string();
        assert!(refused("algorithm: HS256, secret_key: k, additional_jwt_payload: {iss: x}").contains("`iss`"));
        assert!(refused("algorithm: HS256, secret_key: k, additional_jwt_headers: {alg: none}").contains("`alg`"));
        let not_pem = refused("algorithm: RS256, secret_key: \"{{ config['k'] }}\"");
        assert!(not_pem.contains("no PEM text") && !not_pem.contains("s3cret"), "{not_pem}");
        assert!(refused("algorithm: ES256, secret_key: '-----BEGIN ENCRYPTED PRIVATE KEY-----'").contains("passphrase"));
        let of_other_kind = token("algorithm: ES256, secret_key: \"{{ config['k'] }}\"", json!({ "k": RSA_PKCS8 }));
        assert!(of_other_kind.is_err());
    }

    /// Private keys are read in every envelope, and what they sign is verified by their public half.
    #[test]
    fn private_keys_sign() {
        let signed = |algorithm: &str, key: &str| {
            let token = token(&format!("algorithm: {algorithm}, secret_key: \"{{{{ config['k'] }}}}\""), json!({ "k": key })).unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            (message.to_owned(), BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap())
        };
        let verify = |algorithm: &'static dyn signature::VerificationAlgorithm, public: &[u8], (message, signed): (String, Vec<u8>)| {
            signature::UnparsedPublicKey::new(algorithm, public).verify(message.as_bytes(), &signed).unwrap();
        };
        let PrivateKeyDer::Pkcs1(der) = private_key(RSA_PKCS1).unwrap() else { panic!() };
        let rsa = RsaKeyPair::from_der(der.secret_pkcs1_der()).unwrap();
        let public = signature::KeyPair::public_key(&rsa).as_ref();
        for key in [RSA_PKCS1, RSA_PKCS8] {
            verify(&signature::RSA_PKCS1_2048_8192_SHA256, public, signed("RS256", key));
            verify(&signature::RSA_PSS_2048_8192_SHA512, public, signed("PS512", key));
        }
        let PrivateKeyDer::Pkcs8(der) = private_key(EC_PKCS8).unwrap() else { panic!() };
        let ec =
            EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), Entropy::system().generator());
        let ec = ec.unwrap();
        for key in [EC_SEC1, EC_PKCS8] {
            verify(&signature::ECDSA_P256_SHA256_FIXED, signature::KeyPair::public_key(&ec).as_ref(), signed("ES256", key));
        }
        let PrivateKeyDer::Pkcs8(der) = private_key(ED25519).unwrap() else { panic!() };
        let ed = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).unwrap();
        verify(&signature::ED25519, signature::KeyPair::public_key(&ed).as_ref(), signed("EdDSA", ED25519));
    }
}
