//! The words of a command line, so that a policy need not take it apart: a
//! word that a policy does not see is one that it does not refuse
//! (GHSA-6w5f-5wgr-qjg5; ADVERSARY C40).

use holdfast_proto::boot_log::decode::Text;

/// Splits at all white space and leaves quotation marks out; each word is
/// inert text.
///
/// Those who read a command line take it apart in different ways: the kernel
/// (`lib/cmdline.c`) drops double quotes around a parameter or a value and keeps
/// white space within them, systemd drops both kinds of quotes anywhere, scripts
/// of an initrd split at white space and know no quotes. A word that means
/// something to any of them is a word here; a quoted value of several words
/// comes as several.
pub(super) fn of(line: &[u8]) -> Vec<String> {
    line.split(|byte| is_space(*byte))
        .map(|word| {
            let bare = word.iter().filter(|byte| !matches!(byte, b'"' | b'\''));
            bare.copied().collect::<Vec<u8>>()
        })
        .filter(|word| !word.is_empty())
        .map(|word| Text::of(&word).to_string())
        .collect()
}

/// `isspace` of the kernel, which knows Latin-1's no-break space as well.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adv_c40_no_word_is_hidden() {
        for (line, words) in [
            ("", &[][..]),
            (
                " root=/dev/sda  ro\tquiet\n",
                &["root=/dev/sda", "ro", "quiet"],
            ),
            // Quotes hide nothing, wherever they are.
            (r#""init=/bin/sh" x"#, &["init=/bin/sh", "x"]),
            (r#"init="/bin/sh" x"#, &["init=/bin/sh", "x"]),
            (r#"in"it"='/bin/sh'"#, &["init=/bin/sh"]),
            (r#"x="y rd.break""#, &["x=y", "rd.break"]),
            (r#""" "#, &[]),
            ("a\u{b}init=/bin/sh\u{c}b", &["a", "init=/bin/sh", "b"]),
        ] {
            assert_eq!(of(line.as_bytes()), words, "{line:?}");
        }
        assert_eq!(of(b"a\xa0rd.break"), ["a", "rd.break"]);
        assert_eq!(
            of(b"a\x01\xff\xe2\x80\x8b"),
            [r"a\u{1}\xff\u{200b}"],
            "inert"
        );
    }
}
