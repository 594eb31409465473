//! The framing of replies, followed byte by byte: RESP2 and RESP3
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). A frame that announces more than what we ever ask
//! for is known by its first line, long before there is anything to keep.

use arrayvec::ArrayVec;

/// Bytes of a line: a status, an error, a number, a length. Redis' errors quote 128 bytes of a command at most.
const LONGEST_LINE: usize = 4096;
/// Elements of one aggregate. The answer to HELLO has 7 pairs, and as many modules as Redis has loaded; that to CLUSTER
/// SLOTS has one for each range of the 16 384 slots.
const MOST_ELEMENTS: u64 = 16_384;
/// Aggregates in one another. The answer to COMMAND INFO is 8 deep in Redis 7.0 and 8.0, and may become deeper.
const DEEPEST: usize = 32;
/// Bytes of one reply beside the longest value: all of the answer to COMMAND INFO, for one, of which Redis 7.0 has 90 000,
/// and those with modules several times that.
const BESIDE_VALUE: usize = 1024 * 1024;
/// Digits of a length, with its sign. More than these no limit allows.
const LENGTH_DIGITS: usize = 20;

/// What is wrong with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unacceptable {
    /// It is larger than what we ever ask for.
    Excess,
    /// It is no reply.
    NotResp,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The type of a value.
    Type,
    /// A line whose text is the value.
    Line { read: usize },
    /// A line that gives a length.
    Length(Announced),
    /// The line feed that ends the line of a value.
    LineEnd,
    /// The line feed that ends a length.
    LengthEnd(Announced),
    /// Bytes of a string, so many to come.
    String { left: usize },
    /// The line end after a string.
    StringEnd { carriage_return: bool },
}

/// What a length is the length of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    /// Bytes; -1 is RESP2's null.
    Bulk,
    /// Bytes of what has no null: errors and verbatim strings.
    Blob,
    /// Elements; -1 is RESP2's null.
    Array,
    /// Elements of what has no null: sets and pushes.
    Elements,
    /// Pairs.
    Map,
    /// Pairs, and the value that they are about.
    Attribute,
}

/// Follows the framing of replies.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of a string at most.
    longest_value: usize,
    place: Place,
    digits: ArrayVec<u8, LENGTH_DIGITS>,
    /// How many values each open aggregate still lacks, the outermost first.
    lacking: ArrayVec<u64, DEEPEST>,
    /// Bytes of this reply so far.
    reply: usize,
}

impl Frames {
    pub(super) fn new(longest_value: usize) -> Self {
        let (digits, lacking) = (ArrayVec::new(), ArrayVec::new());
        Self { longest_value, place: Place::Type, digits, lacking, reply: 0 }
    }

    /// Takes the next bytes. After an error there is nothing more to follow.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Unacceptable> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let taken = match self.place {
                Place::String { left } => {
                    let taken = left.min(bytes.len());
                    self.place = match left - taken {
                        0 => Place::StringEnd { carriage_return: false },
                        left => Place::String { left },
                    };
                    taken
                }
                _ => {
                    self.step(byte)?;
                    1
                }
            };
            // A reply ends with a single byte, so that none of these belongs to the next one.
            bytes = if taken == 1 { rest } else { &bytes[taken..] };
            self.count(taken)?;
        }
        Ok(())
    }

    fn count(&mut self, taken: usize) -> Result<(), Unacceptable> {
        if self.place == Place::Type && self.lacking.is_empty() {
            self.reply = 0;
            return Ok(());
        }
        self.reply = self.reply.saturating_add(taken);
        if self.reply > self.longest_value.saturating_add(BESIDE_VALUE) { Err(Unacceptable::Excess) } else { Ok(()) }
    }

    fn step(&mut self, byte: u8) -> Result<(), Unacceptable> {
        self.place = match (self.place, byte) {
            (Place::Type, b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => Place::Line { read: 0 },
            (Place::Type, byte) => {
                self.digits.clear();
                Place::Length(Announced::by(byte).ok_or(Unacceptable::NotResp)?)
            }
            (Place::Line { .. }, b'\r') => Place::LineEnd,
            (Place::Line { .. }, b'\n') => return Err(Unacceptable::NotResp),
            (Place::Line { read }, _) if read == LONGEST_LINE => return Err(Unacceptable::Excess),
            (Place::Line { read }, _) => Place::Line { read: read + 1 },
            (Place::Length(announced), b'\r') => Place::LengthEnd(announced),
            (Place::Length(announced), b'0'..=b'9' | b'-') => {
                self.digits.try_push(byte).map_err(|_| Unacceptable::Excess)?;
                Place::Length(announced)
            }
            (Place::LengthEnd(announced), b'\n') => return self.announced(announced),
            (Place::StringEnd { carriage_return: false }, b'\r') => Place::StringEnd { carriage_return: true },
            (Place::LineEnd | Place::StringEnd { carriage_return: true }, b'\n') => {
                self.value_ended();
                return Ok(());
            }
            _ => return Err(Unacceptable::NotResp),
        };
        Ok(())
    }

    fn announced(&mut self, announced: Announced) -> Result<(), Unacceptable> {
        let has_null = matches!(announced, Announced::Bulk | Announced::Array);
        if has_null && self.digits.as_slice() == b"-1" {
            self.value_ended();
            return Ok(());
        }
        let length = number(&self.digits)?;
        if matches!(announced, Announced::Bulk | Announced::Blob) {
            let left = usize::try_from(length).map_err(|_| Unacceptable::Excess)?;
            if left > self.longest_value {
                return Err(Unacceptable::Excess);
            }
            self.place = if left == 0 { Place::StringEnd { carriage_return: false } } else { Place::String { left } };
            return Ok(());
        }
        let elements = match announced {
            Announced::Map => length.checked_mul(2),
            Announced::Attribute => length.checked_mul(2).and_then(|elements| elements.checked_add(1)),
            _ => Some(length),
        };
        let elements = elements.filter(|elements| *elements <= MOST_ELEMENTS).ok_or(Unacceptable::Excess)?;
        if elements == 0 {
            self.value_ended();
            return Ok(());
        }
        self.lacking.try_push(elements).map_err(|_| Unacceptable::Excess)?;
        self.place = Place::Type;
        Ok(())
    }

    /// A value is whole, and with it perhaps the aggregates that it is the last element of.
    fn value_ended(&mut self) {
        self.place = Place::Type;
        while let Some(lacking) = self.lacking.last_mut() {
            *lacking -= 1;
            if *lacking > 0 {
                return;
            }
            self.lacking.pop();
        }
    }
}

impl Announced {
    fn by(byte: u8) -> Option<Self> {
        Some(match byte {
            b'$' => Self::Bulk,
            b'!' | b'=' => Self::Blob,
            b'*' => Self::Array,
            b'~' | b'>' => Self::Elements,
            b'%' => Self::Map,
            b'|' => Self::Attribute,
            _ => return None,
        })
    }
}

/// A length: digits and nothing else. A null where there is none is no length either.
fn number(digits: &[u8]) -> Result<u64, Unacceptable> {
    if digits.is_empty() || digits.contains(&b'-') {
        return Err(Unacceptable::NotResp);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Unacceptable::NotResp)?;
    text.parse().map_err(|_| Unacceptable::Excess)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST_VALUE: usize = 100;

    fn whole(reply: &[u8]) -> Result<bool, Unacceptable> {
        let mut frames = Frames::new(LONGEST_VALUE);
        frames.follow(reply)?;
        Ok(frames.place == Place::Type && frames.lacking.is_empty())
    }

    /// A string of this many bytes, in which line ends and types mean nothing.
    fn bulk(length: usize) -> Vec<u8> {
        let text: Vec<u8> = b"\r\n$9\r\n*-1 ".iter().copied().cycle().take(length).collect();
        [format!("${length}\r\n").as_bytes(), &text, b"\r\n"].concat()
    }

    #[test]
    fn a_reply_of_every_type_passes_and_its_end_is_found() {
        for reply in [
            "+OK\r\n",
            "+\r\n",
            "-ERR no\r\n",
            ":1000\r\n",
            ":-7\r\n",
            ":+7\r\n",
            "$0\r\n\r\n",
            "$5\r\nhello\r\n",
            "$-1\r\n",
            "*0\r\n",
            "*-1\r\n",
            "*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*1\r\n*1\r\n_\r\n",
            "_\r\n",
            "#t\r\n",
            "#f\r\n",
            ",1.23\r\n",
            ",-inf\r\n",
            ",nan\r\n",
            "(3492890328409238509324850943850943825024385\r\n",
            "!21\r\nSYNTAX invalid syntax\r\n",
            "=15\r\ntxt:Some string\r\n",
            "%0\r\n",
            "%1\r\n+key\r\n*1\r\n:1\r\n",
            "|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n",
            "~2\r\n+a\r\n#t\r\n",
            "~0\r\n",
            ">2\r\n+invalidate\r\n*1\r\n+a\r\n",
        ] {
            assert_eq!(whole(reply.as_bytes()), Ok(true), "{reply:?}");
            for end in 1..reply.len() {
                assert_eq!(whole(&reply.as_bytes()[..end]), Ok(false), "{:?}", &reply[..end]);
            }
            assert_eq!(whole(reply.repeat(3).as_bytes()), Ok(true), "three of {reply:?}");
        }
    }

    #[test]
    fn the_answer_of_redis_to_a_login_passes() {
        let hello = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.0\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:9\r\n\
            $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*1\r\n%4\r\n$4\r\nname\r\n$2\r\nbf\r\n\
            $3\r\nver\r\n:20802\r\n$4\r\npath\r\n$5\r\n/a/bf\r\n$4\r\nargs\r\n*1\r\n$1\r\nx\r\n";
        assert_eq!(whole(hello.as_bytes()), Ok(true));
    }

    #[test]
    fn each_limit_is_the_last_that_passes() {
        let nested = |depth: usize| [b"*1\r\n".repeat(depth), b"_\r\n".to_vec()].concat();
        let line = |length: usize| [&b"+"[..], &vec![b'a'; length], b"\r\n"].concat();
        let elements = |sign: char, count: u64| format!("{sign}{count}\r\n").into_bytes();
        // Strings, each within its limit, that are too much together.
        let many = [elements('*', 1000), bulk(LONGEST_VALUE).repeat(1000)].concat();
        let many = [elements('*', 20), many.repeat(20)].concat();
        for (good, bad, what) in [
            (bulk(LONGEST_VALUE), bulk(LONGEST_VALUE + 1), "a string"),
            (format!("!{LONGEST_VALUE}\r\n").into(), format!("!{}\r\n", LONGEST_VALUE + 1).into(), "an error"),
            (nested(DEEPEST), nested(DEEPEST + 1), "nesting"),
            (line(LONGEST_LINE), line(LONGEST_LINE + 1), "a line"),
            (elements('*', MOST_ELEMENTS), elements('*', MOST_ELEMENTS + 1), "an array"),
            (elements('>', MOST_ELEMENTS), elements('>', MOST_ELEMENTS + 1), "a push"),
            (elements('%', MOST_ELEMENTS / 2), elements('%', MOST_ELEMENTS / 2 + 1), "a map"),
            (elements('|', MOST_ELEMENTS / 2 - 1), elements('|', MOST_ELEMENTS / 2), "an attribute"),
            (
                many[..LONGEST_VALUE + BESIDE_VALUE].to_vec(),
                many[..=LONGEST_VALUE + BESIDE_VALUE].to_vec(),
                "all of it",
            ),
        ] {
            assert!(whole(&good).is_ok(), "{what}");
            assert_eq!(whole(&bad), Err(Unacceptable::Excess), "{what}");
        }
        for length in ["536870912", "9223372036854775808", "99999999999999999999999999"] {
            for sign in "$!=*~>%|".chars() {
                assert_eq!(
                    whole(format!("{sign}{length}\r\n").as_bytes()),
                    Err(Unacceptable::Excess),
                    "{sign}{length}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_at_its_first_wrong_byte() {
        for (good, bad) in [
            ("", "HTTP/1.1 400"),
            ("", "\r\n"),
            ("", "\0"),
            ("$", "$\r\n"),
            ("$", "$x"),
            ("$3", "$3\n"),
            ("$3\r", "$3\r\r"),
            ("$3\r\nabc", "$3\r\nabcd"),
            ("$3\r\nabc\r", "$3\r\nabc\rx"),
            ("*", "*?"),
            ("*-2\r", "*-2\r\n"),
            ("%-1\r", "%-1\r\n"),
            ("$--1\r", "$--1\r\n"),
            ("+O", "+O\n"),
            ("+O\r", "+O\rK"),
            ("!-1\r", "!-1\r\n"),
            ("*1\r\n", "*1\r\n?"),
        ] {
            assert!(whole(good.as_bytes()).is_ok(), "{good:?}");
            assert_eq!(whole(bad.as_bytes()), Err(Unacceptable::NotResp), "{bad:?}");
        }
    }

    /// Bytes that look like replies, and are some now and then.
    fn replies() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![-2..20_i64, 90..110_i64, 1000..1030_i64, any::<i64>()];
        let announced = ("[$!=*~>%|]", length).prop_map(|(sign, length)| format!("{sign}{length}\r\n").into_bytes());
        let line = "[-+:_#,(][a-z0-9]{0,9}\r\n".prop_map(String::into_bytes);
        let string = (0..110_usize).prop_map(bulk);
        let noise = proptest::collection::vec(any::<u8>(), 0..4);
        let part = prop_oneof![4 => announced, 6 => line, 6 => string, 1 => noise];
        proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_are_split(
            bytes in replies(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut frames = Frames::new(LONGEST_VALUE);
            let in_pieces = cuts.windows(2).try_for_each(|piece| frames.follow(&bytes[piece[0]..piece[1]]));
            let mut at_once = Frames::new(LONGEST_VALUE);
            prop_assert_eq!(in_pieces, at_once.follow(&bytes));
            let mut byte_by_byte = Frames::new(LONGEST_VALUE);
            prop_assert_eq!(in_pieces, bytes.iter().try_for_each(|byte| byte_by_byte.follow(&[*byte])));
            if in_pieces.is_ok() {
                prop_assert_eq!((frames.place, &frames.lacking, frames.reply), (at_once.place, &at_once.lacking, at_once.reply));
            }
        }
    }
}
