//! How callers show who they are.

use utoipa::openapi::ComponentsBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};

use super::Keys;

const BEARER: &str = "bearer";
const X_API_KEY: &str = "apiKey";
const APPID: &str = "appid";

pub(super) fn add(components: ComponentsBuilder, keys: Keys) -> ComponentsBuilder {
    let who = match keys {
        Keys::None => "Nobody needs a key here, and none is looked at.",
        Keys::Optional => "A key of this service is not needed, but has a limit of its own.",
        Keys::Required => "A key of this service is needed; its operator gives it out.",
    };
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(who)).build();
    let key = ApiKeyValue::with_description("X-API-Key", &*format!("{who} The same key as for Authorization: Bearer."));
    let appid = format!(
        "{who} On OpenWeatherMap's own paths only, where its clients put their key, in any case of letters. Proxies and \
         histories see addresses, so a header is better, and counts more."
    );
    components
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .security_scheme(X_API_KEY, SecurityScheme::ApiKey(ApiKey::Header(key)))
        .security_scheme(APPID, SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(APPID, &*appid))))
}

/// What one of them is enough for.
pub(super) fn requirements(keys: Keys, openweathermap: bool) -> Vec<SecurityRequirement> {
    let none = (keys != Keys::Required).then(SecurityRequirement::default);
    let appid = openweathermap.then_some(APPID);
    let schemes = [BEARER, X_API_KEY].into_iter().chain(appid);
    none.into_iter().chain(schemes.map(|scheme| SecurityRequirement::new(scheme, [""; 0]))).collect()
}
