//! What the document says to people (CommonMark).

pub(super) const INFO: &str = "\
Stratus answers for OpenWeatherMap: from memory, from a Redis in which nothing can be read, and only when it must from \
OpenWeatherMap itself. The bodies are OpenWeatherMap's, byte for byte.

**Start here:** open `GET /weather/{location}`, press *Try it out*, then *Execute*.

- **Two ways to ask.** `/weather/London` and its neighbours are strict and say what is wrong with a question. \
OpenWeatherMap's own paths (`/data/…`, `/geo/…`) take what OpenWeatherMap takes, so an app that speaks to it needs another \
host and nothing else.
- **Every path answers `GET` and `HEAD`;** `HEAD` gives the same headers without a body. Any other method is 405.
- **Ask again cheaply:** send the `ETag` of your last answer in `If-None-Match`, and the answer is an empty 304 while \
nothing has changed.
- **Errors** are problem details (RFC 9457) with a stable `code`; on OpenWeatherMap's paths they are in its own form. With a \
`Retry-After`, wait that many seconds.
- **Compression:** gzip, br and zstd, for those who ask (`Accept-Encoding`).
- What is no HTTP, or has a head that is too long (400, 431), is refused before any path is looked at, with an empty body. \
An error of OpenWeatherMap's with a status that is not listed here is passed on as it is.

Weather data provided by [OpenWeather](https://openweathermap.org/).";

pub(super) const OWN: &str = "Weather, forecast and air of a place, by whatever you have: a name, coordinates, a city id, a \
                              postal code.";

pub(super) const OPENWEATHERMAP: &str = "\
The same questions and answers under OpenWeatherMap's paths, with its parameters and its errors, for apps that speak to it \
already. Parameters that a path does not have are ignored, as there. `mode=xml`, `mode=html` and `callback` are refused. An \
answer with status 200 can be an error of OpenWeatherMap's, as there: look at its `cod`.";

pub(super) const PAGES: &str = "Pages for people, and this description for programs.";

/// How a place is written in our own paths.
pub(super) const LOCATION: &str = "\
The place, percent-encoded UTF-8, up to 200 characters: `London`, `London,GB`, `Portland,OR,US`; latitude and longitude in \
degrees, `51.51,-0.13`; a city id of OpenWeatherMap's, `id:2643743`; a postal code with its country, `zip:94040,US`.";

pub(super) const IF_NONE_MATCH: &str = "The `ETag` of an answer that you have, such as `\"RBNvo1WzZ4oRRq0W9-hknQ\"`; `*` is any. \
                                        If it is still that, the answer is 304 without a body.";

pub(super) const X_REQUEST_ID: &str = "A name for this request, to find it again in the log: 1 to 128 letters, digits and \
                                       `-_.:/+=`. Without one, or with another, it gets a new one.";
