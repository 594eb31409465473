//! `traceparent`: the trace that a caller has begun (W3C Trace Context, level 2, section 3.2).

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The length of what version 00 says; later versions may add to it.
const LENGTH: usize = 55;
/// The flags that level 2 knows: sampled, and that the trace's id is random.
const KNOWN_FLAGS: u8 = 0b11;

/// A caller's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl Parent {
    /// `None` for whatever is not well-formed: then a trace begins here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (known, rest) = bytes.split_at_checked(LENGTH)?;
        let hyphens = [2, 35, 52].iter().all(|place| known[*place] == b'-');
        let version = hex(&known[..2])?;
        // 00 ends here; what later versions add begins with a hyphen. There is no version ff.
        let ends_well = if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|next| *next == b'-') };
        if !hyphens || version == 0xff || !ends_well {
            return None;
        }
        let trace = TraceId::from(hex(&known[3..35])?);
        let span = SpanId::from(u64::try_from(hex(&known[36..52])?).ok()?);
        let flags = TraceFlags::new(u8::try_from(hex(&known[53..])?).ok()? & KNOWN_FLAGS);
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self { trace, span, flags })
    }

    pub(super) fn trace_id(self) -> TraceId {
        self.trace
    }

    pub(super) fn is_sampled(self) -> bool {
        self.flags.is_sampled()
    }

    pub(super) fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, TraceState::NONE)
    }
}

/// A number in hexadecimal digits, of which only the small ones count.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The header for the one who is called next.
pub(super) fn write(context: &SpanContext) -> String {
    let flags = context.trace_flags().to_u8() & KNOWN_FLAGS;
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_well_formed_parent_is_read_and_written_again() {
        for flags in ["00", "01", "02", "03"] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            let parent = Parent::parse(&text).unwrap();
            assert_eq!(write(&parent.context()), text);
            assert_eq!(parent.is_sampled(), flags.ends_with(['1', '3']));
            assert!(parent.context().is_remote());
        }
    }

    #[test]
    fn of_later_versions_the_part_that_is_known_counts() {
        for text in [
            format!("01-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!("fe-{TRACE}-{SPAN}-ff"),
        ] {
            let parent = Parent::parse(&text).unwrap();
            assert_eq!((parent.trace_id().to_string(), parent.is_sampled()), (TRACE.to_owned(), true), "{text}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_no_parent() {
        for text in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("0g-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            "é".repeat(40),
            "-".repeat(55),
        ] {
            assert_eq!(Parent::parse(&text), None, "{text}");
        }
    }
}
