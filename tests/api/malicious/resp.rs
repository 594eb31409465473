//! The little of RESP3 that a server needs: commands in, replies out.

/// Takes a whole command, which is an array of strings, from the front of what was read.
pub(crate) fn command(unread: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let (count, mut at) = length(unread, 0, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (bytes, start) = length(unread, at, b'$')?;
        words.push(unread.get(start..start + bytes)?.to_vec());
        at = start + bytes + 2;
    }
    if unread.len() < at {
        return None;
    }
    unread.drain(..at);
    Some(words)
}

/// The length that a line at this place gives, and where the next line begins.
fn length(bytes: &[u8], at: usize, sign: u8) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|end| end == b"\r\n")?;
    assert_eq!(rest[0], sign, "a client sends arrays of strings");
    let number = std::str::from_utf8(&rest[1..end]).expect("a number").parse().expect("a number");
    Some((number, at + end + 2))
}

pub(crate) fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(crate) fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

pub(crate) fn integer(value: i64) -> Vec<u8> {
    format!(":{value}\r\n").into_bytes()
}

pub(crate) fn error(line: &str) -> Vec<u8> {
    format!("-{line}\r\n").into_bytes()
}

pub(crate) fn null() -> Vec<u8> {
    b"_\r\n".to_vec()
}
