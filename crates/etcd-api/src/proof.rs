//! The credentials of a call: its token, or else the certificate of its connection;
//! and the user that they identify.
//!
//! A token takes precedence over a certificate, and an invalid token is rejected
//! rather than ignored. What the user may do is decided in `access`.

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};
use t4_auth_rbac::{AuthState, Identity, PresentedToken};
use t4_node::{Caller, Node};

use crate::api::Api;
use crate::caller;
use crate::config::Tokens;
use crate::errors::ApiError;

/// Marks a call that the JSON gateway makes on behalf of a client: the connection's
/// certificate is the gateway's own.
const GATEWAY: &str = "grpcgateway-accept";

/// The credentials of a call. Clones are cheap, and having none costs nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof(Option<Arc<Shown>>);

struct Shown {
    /// The metadata `token`, else `authorization`. Not to be logged.
    token: Option<HeaderValue>,
    common_name: Option<Arc<str>>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("common_name", &self.common_name)
            .finish()
    }
}

impl Proof {
    /// The credentials of a call with these headers, on a connection of `caller`.
    pub(crate) fn read(headers: &HeaderMap, caller: &caller::Caller) -> Proof {
        let token = headers.get("token").or_else(|| headers.get(http::header::AUTHORIZATION));
        let by_gateway = headers.contains_key(GATEWAY);
        let common_name = caller.common_name.as_ref().filter(|_| !by_gateway);
        if token.is_none() && common_name.is_none() {
            return Proof(None);
        }
        Proof(Some(Arc::new(Shown { token: token.cloned(), common_name: common_name.cloned() })))
    }

    /// The user that the certificate names, whatever the token says.
    fn by_certificate(&self) -> Option<Caller> {
        let user = self.0.as_ref()?.common_name.clone()?;
        Some(Caller { user, auth_revision: 0, pinned: false })
    }

    /// The token's text; `Err` if it is not readable as a token.
    fn token(&self) -> Option<Result<&str, ApiError>> {
        let token = self.0.as_ref()?.token.as_ref()?;
        let text = std::str::from_utf8(token.as_bytes()).map_err(|_| ApiError::InvalidAuthToken);
        Some(text.map(|text| text.strip_prefix("Bearer ").unwrap_or(text)))
    }
}

/// The node, as it serves one call.
pub(crate) enum Acting<'a> {
    /// Authentication is off: on behalf of no particular user.
    Anybody(&'a Node),
    /// On behalf of the caller.
    Caller(Node, Identity),
}

impl Acting<'_> {
    /// Whether it is for a user, if that matters now.
    pub(crate) fn check_user(&self) -> Result<(), ApiError> {
        match self {
            Acting::Anybody(_) => Ok(()),
            Acting::Caller(node, who) => Ok(node.auth().authorize_user(who)?),
        }
    }
}

impl Deref for Acting<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        match self {
            Acting::Anybody(node) => node,
            Acting::Caller(node, _) => node,
        }
    }
}

impl Api {
    /// The node, acting on behalf of the caller: it checks each write, and each read
    /// of keys and leases, where it takes place. This renews a valid token.
    ///
    /// # Errors
    /// [`ApiError::InvalidAuthToken`].
    pub(crate) fn acting(&self, proof: &Proof) -> Result<Acting<'_>, ApiError> {
        if !self.node.auth_is_on() {
            return Ok(Acting::Anybody(&self.node));
        }
        let caller = self.caller(proof)?;
        let who = caller.clone().map_or(Identity::Anonymous, Identity::from);
        Ok(Acting::Caller(self.node.as_caller(caller), who))
    }

    /// The user that a call acts as in `state`. While authentication is off there
    /// are no tokens, but certificates still name users.
    ///
    /// # Errors
    /// [`ApiError::InvalidAuthToken`].
    pub(crate) fn who(&self, state: &AuthState, proof: &Proof) -> Result<Identity, ApiError> {
        let caller = if state.is_enabled() { self.caller(proof)? } else { proof.by_certificate() };
        Ok(caller.map_or(Identity::Anonymous, Identity::from))
    }

    fn caller(&self, proof: &Proof) -> Result<Option<Caller>, ApiError> {
        let Some(token) = proof.token() else { return Ok(proof.by_certificate()) };
        let token = token?;
        match &self.config.auth.tokens {
            Tokens::Simple => {
                let presented = PresentedToken::parse(token).ok_or(ApiError::InvalidAuthToken)?;
                Ok(Some(self.node.use_token(&presented.hash)?))
            }
            Tokens::Jwt(keys) => match keys.verify(SystemTime::now(), token) {
                Ok(claims) => Ok(Some(Caller {
                    user: claims.user.into(),
                    auth_revision: claims.revision,
                    pinned: true,
                })),
                Err(refused) => {
                    tracing::debug!(%refused, "a token was refused");
                    Err(ApiError::InvalidAuthToken)
                }
            },
            Tokens::None => Err(ApiError::InvalidAuthToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&'static str, &'static str)], common_name: Option<&str>) -> Proof {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let common_name = common_name.map(Into::into);
        Proof::read(&headers, &caller::Caller { common_name, address: None })
    }

    fn token(entries: &[(&'static str, &'static str)]) -> Option<String> {
        read(entries, None).token().map(|token| token.unwrap().to_owned())
    }

    #[test]
    fn the_first_token_counts() {
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("token", "a.1"), ("authorization", "b.2")]).unwrap(), "a.1");
        assert_eq!(token(&[("token", "a.1"), ("token", "b.2")]).unwrap(), "a.1");
        assert_eq!(token(&[("authorization", "Bearer b.2")]).unwrap(), "b.2");
        assert_eq!(token(&[("authorization", "b.2")]).unwrap(), "b.2");
        assert_eq!(token(&[("token", "Bearer c.3")]).unwrap(), "c.3");
        assert_eq!(token(&[("token", "")]).unwrap(), "");
    }

    #[test]
    fn a_gateway_has_no_name_of_its_own() {
        let name = |proof: Proof| proof.by_certificate().map(|caller| caller.user.to_string());
        assert_eq!(name(read(&[], Some("alice"))).as_deref(), Some("alice"));
        assert_eq!(name(read(&[("token", "x")], Some("alice"))).as_deref(), Some("alice"));
        assert_eq!(name(read(&[("grpcgateway-accept", "*/*")], Some("alice"))), None);
        assert_eq!(name(read(&[], None)), None);
    }

    #[test]
    fn tokens_are_not_shown() {
        let shown = format!("{:?}", read(&[("token", "verysecret.1")], Some("alice")));
        assert!(!shown.contains("secret") && shown.contains("alice"), "{shown}");
    }

    #[test]
    fn bytes_that_are_no_text_are_no_token() {
        let mut headers = HeaderMap::new();
        headers.insert("token", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        let proof = Proof::read(&headers, &caller::Caller::default());
        assert_eq!(proof.token(), Some(Err(ApiError::InvalidAuthToken)));
    }
}
