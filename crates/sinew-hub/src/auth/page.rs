//! People, by the session that they have signed in to.

use std::convert::Infallible;

use axum::extract::{FromRequestParts as _, Query, Request};
use axum::http::request::Parts;
use axum::http::uri::{PathAndQuery, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sinew::Tenant;
use sinew::session::Session;
use sinew::session::http::CSRF_HEADER;
use tower::{Layer as _, ServiceExt as _};

use super::Auth;
use super::actor::Actor;
use super::guard::keep_to_oneself;
use super::refusal::{Asked, Refusal, is_read};
use super::routes::Reach;
use super::scope::{Role, Verb};
use super::shell::{Viewer, seen_by};
use crate::hub::Hub;

/// Where whoever sees one tenant only begins.
const HOME_OF_A_TENANT: &str = "/caches";

/// Lets a request pass of someone who may do that, with their session. Where nothing is needed, of anyone.
pub(super) async fn admit(
    hub: &Hub,
    needed: Option<(Verb, Reach)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(auth) = hub.auth() else { return next.run(request).await };
    let layer = if came_by_tls(&request) { &auth.secure } else { &auth.plain };
    let hub = hub.clone();
    let inner = tower::service_fn(move |request: Request| {
        let (hub, next) = (hub.clone(), next.clone());
        async move { Ok::<_, Infallible>(with_session(&hub, needed, request, next).await) }
    });
    match layer.layer(inner).oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

/// As the proxy in front says. Whoever says so without one keeps themselves out.
fn came_by_tls(request: &Request) -> bool {
    let said = request.headers().get("x-forwarded-proto").and_then(|said| said.to_str().ok());
    let first = said.and_then(|said| said.split(',').next());
    first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

async fn with_session(
    hub: &Hub,
    needed: Option<(Verb, Reach)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let (Some(auth), Some((verb, reach))) = (hub.auth(), needed) else {
        let mut response =
            seen_by(Viewer::Nobody, next.run(Request::from_parts(parts, body))).await;
        keep_to_oneself(&mut response);
        return response;
    };
    let asked = Asked::by(&parts);
    let mut viewer = Viewer::Nobody;
    match judge(auth, verb, reach, &asked, &mut parts, &mut viewer).await {
        Ok(()) => {
            let mut response = seen_by(viewer, next.run(Request::from_parts(parts, body))).await;
            keep_to_oneself(&mut response);
            response
        }
        Err(refusal) => asked.refused(refusal, viewer),
    }
}

/// Leaves who it is in `viewer`, also where they are refused.
async fn judge(
    auth: &Auth,
    verb: Verb,
    reach: Reach,
    asked: &Asked,
    parts: &mut Parts,
    viewer: &mut Viewer,
) -> Result<(), Refusal> {
    // The layer around has left it.
    let session = Session::from_request_parts(parts, &()).await.map_err(|_| Refusal::SignIn)?;
    let user = auth.signed_in(&session).await.map_err(Refusal::Away)?.ok_or(Refusal::SignIn)?;
    let actor = Actor::named(&user.name, user.tenant.as_ref());
    let csrf = match asked.is_for_a_whole_page() {
        true => Some(session.csrf_token().await.map_err(Refusal::Away)?),
        false => None,
    };
    *viewer = Viewer::SignedIn { actor: actor.clone(), role: user.role, csrf };
    if !user.role.may(verb) {
        return Err(Refusal::Forbidden(format!(
            "Your role is {}. This takes the role {}.",
            user.role.name(),
            Role::that_may(verb).name()
        )));
    }
    if let Some(own) = &user.tenant {
        hold_to(own, reach, parts)?;
    }
    if !is_read(&parts.method) {
        expect_our_page(&session, parts).await?;
    }
    parts.extensions.insert(actor);
    Ok(())
}

/// Keeps a request to the tenant of whoever sends it, also where it names none.
fn hold_to(own: &Tenant, reach: Reach, parts: &mut Parts) -> Result<(), Refusal> {
    if reach == Reach::All {
        return Err(match parts.uri.path() {
            "/" => Refusal::Elsewhere(HOME_OF_A_TENANT),
            _ => Refusal::Forbidden(
                "This is about all tenants, and you see one of them only.".to_owned(),
            ),
        });
    }
    let uri = of_tenant(&parts.uri, own)
        .ok_or_else(|| Refusal::Forbidden(format!("You see the tenant {} only.", own.as_str())))?;
    parts.uri = uri;
    Ok(())
}

/// The address with this tenant in its query. `None` where it names another.
fn of_tenant(uri: &Uri, own: &Tenant) -> Option<Uri> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let written = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut query = String::new();
    for (pair, (name, value)) in written.zip(&pairs) {
        if name != "tenant" {
            query.push_str(pair);
            query.push('&');
        } else if !["", own.as_str()].contains(&value.trim()) {
            return None;
        }
    }
    // Letters, digits, dots and hyphens.
    let path = format!("{}?{query}tenant={}", uri.path(), own.as_str());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// What changes something comes from a page that was made for this session.
async fn expect_our_page(session: &Session, parts: &Parts) -> Result<(), Refusal> {
    let token = parts.headers.get(CSRF_HEADER).and_then(|token| token.to_str().ok());
    let is_ours = match token {
        Some(token) => session.verify_csrf(token).await.map_err(Refusal::Away)?,
        None => false,
    };
    match is_ours {
        true => Ok(()),
        false => Err(Refusal::Forbidden(
            "This page is from before you signed in, or not of this hub: reload it.".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_own_tenant_whatever_it_left_out_and_never_of_another() {
        let own = Tenant::new("acme").unwrap();
        let of = |uri: &str| of_tenant(&uri.parse().unwrap(), &own).map(|uri| uri.to_string());
        for (uri, expected) in [
            ("/locks", "/locks?tenant=acme"),
            ("/locks?", "/locks?tenant=acme"),
            ("/locks?tenant=", "/locks?tenant=acme"),
            ("/locks?tenant=acme", "/locks?tenant=acme"),
            ("/locks?t%65nant=+&&name=a%26b", "/locks?name=a%26b&tenant=acme"),
            ("/caches/a%2Fb?key=x&tenant=acme&n", "/caches/a%2Fb?key=x&n&tenant=acme"),
        ] {
            assert_eq!(of(uri).as_deref(), Some(expected), "{uri}");
        }
        for other in
            ["/locks?tenant=other", "/locks?tenant=acme&tenant=other", "/locks?t%65nant=other"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
