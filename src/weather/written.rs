//! The parameters of a question while they are put together: which place is meant, and all in one spelling and order.

use std::borrow::Cow;
use std::collections::HashMap;

use arrayvec::ArrayVec;

use super::endpoint::{Endpoint, Place};
use super::location::{Hundredths, ten_thousandths};
use super::{Location, LocationError, Refused};

/// Parameters of one question at most; further ones of an endpoint that answers in pages are dropped.
pub(super) const MAX_PARAMETERS: usize = 16;
/// Longest name and value of a parameter that is passed on unread, in bytes.
const MAX_UNREAD: (usize, usize) = (32, 512);
/// Of all of them together, percent-encoded: questions are remembered in many places, by their thousands, also those that
/// were never answered.
const MAX_UNREAD_IN_ALL: usize = 2_048;

/// The parameters of a question while they are put together.
#[derive(Debug, Clone, Default)]
pub(super) struct Written<'a>(ArrayVec<(Cow<'a, str>, Cow<'a, str>), MAX_PARAMETERS>);

impl<'a> Written<'a> {
    fn add(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        let _ = self.0.try_push((Cow::Borrowed(name), value.into()));
    }

    pub(super) fn add_some(&mut self, name: &'a str, value: Option<Cow<'a, str>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// What its links continue by: of the names only plain ones, of the values anything that can be written down. What a
    /// value says, an opaque cursor say, is OpenWeatherMap's own business.
    pub(super) fn add_others(&mut self, endpoint: &Endpoint, values: &HashMap<Cow<'a, str>, Cow<'a, str>>) {
        let is_name = |text: &str| {
            text.len() <= MAX_UNREAD.0
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        let is_value = |text: &str| text.len() <= MAX_UNREAD.1 && !text.chars().any(char::is_control);
        let mut others: Vec<_> = values
            .iter()
            .filter(|(name, value)| !endpoint.reads(name) && !name.is_empty() && is_name(name) && is_value(value))
            .collect();
        others.sort();
        let mut room = MAX_UNREAD_IN_ALL;
        for (name, value) in others {
            let length =
                name.len() + form_urlencoded::byte_serialize(value.as_bytes()).map(str::len).sum::<usize>() + 2;
            if length <= room {
                room -= length;
                let _ = self.0.try_push((name.clone(), value.clone()));
            }
        }
    }

    /// Says which place is meant; `None` if the endpoint cannot be told in this form.
    pub(super) fn locate(&mut self, place: Place, location: &Location) -> Option<()> {
        match (place, location) {
            (Place::Any | Place::NameOrPoint | Place::Name, Location::Name(name)) => self.add("q", name.clone()),
            (Place::Any | Place::NameOrPoint | Place::Point, Location::Coordinates { latitude, longitude }) => {
                self.add("lat", Hundredths(*latitude).to_string());
                self.add("lon", Hundredths(*longitude).to_string());
            }
            (Place::Any, Location::Id(id)) => self.add("id", id.to_string()),
            (Place::Any | Place::Zip, Location::Zip { code, country }) => self.add("zip", format!("{code},{country}")),
            _ => return None,
        }
        Some(())
    }

    /// Reads which place is meant.
    pub(super) fn read_place<'v>(
        &mut self,
        place: Place,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<(), Refused> {
        let named = |forms: &[Place]| forms.contains(&place);
        let location = if place == Place::Other {
            return Ok(());
        } else if let (Some(name), true) = (value("q"), named(&[Place::Any, Place::NameOrPoint, Place::Name])) {
            Location::from_q(name).map_err(|error| match error {
                LocationError::Empty => Refused::NothingToGeocode,
                _ => Refused::UnknownPlace,
            })?
        } else if let (Some(id), true) = (value("id"), named(&[Place::Any])) {
            Location::from_id(id).map_err(|_| Refused::Id)?
        } else if let (Some(zip), true) = (value("zip"), named(&[Place::Any, Place::Zip])) {
            Location::from_zip(zip).map_err(|_| Refused::UnknownPlace)?
        } else if let (Some(latitude), Some(longitude)) = (value("lat"), value("lon")) {
            let degrees = |text: &str, most: f64| text.parse().ok().filter(|degrees| (-most..=most).contains(degrees));
            let latitude = degrees(latitude, 90.0).ok_or(Refused::Latitude)?;
            let longitude = degrees(longitude, 180.0).ok_or(Refused::Longitude)?;
            if place == Place::ExactPoint {
                self.add("lat", ten_thousandths(latitude));
                self.add("lon", ten_thousandths(longitude));
                return Ok(());
            }
            Location::point(latitude, longitude)
        } else {
            return Err(Refused::NothingToGeocode);
        };
        self.locate(place, &location).ok_or(Refused::NothingToGeocode)
    }

    /// All of it, sorted by name and percent-encoded.
    pub(super) fn into_text(mut self) -> Box<str> {
        self.0.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        let length = self.0.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        let mut text = String::with_capacity(length);
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        }
        text.into_boxed_str()
    }
}
